"""Spans of time in bins of equal ratio: quantiles that can be merged exactly and taken back."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

PER_OCTAVE: Final = 16
"""Bins per doubling: a bin's middle is within 2.2 % of every span in it (HdrHistogram's idea, in log bins)."""


class Delays:
    """Counts of spans by bin.

    Examples
    --------
    >>> delays = Delays()
    >>> for ms in (0, 900, 1000, 1100):
    ...     delays.add(ms)
    >>> [round(delays.quantile(q)) for q in (0.25, 0.5, 1.0)]
    [0, 919, 1093]
    """

    __slots__ = ("counts", "total_ms")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.total_ms = 0

    @property
    def n(self) -> int:
        """Spans."""
        return sum(self.counts.values())

    def add(self, span_ms: int, by: int = 1) -> None:
        """Add a span in ms; one below 1 counts as 0. With -1 take it back."""
        at = 0 if span_ms < 1 else int(math.log2(span_ms) * PER_OCTAVE) + 1
        self.total_ms += by * span_ms
        self._add(at, by)

    def _add(self, at: int, by: int) -> None:
        now = self.counts.get(at, 0) + by
        if now:
            self.counts[at] = now
        else:
            self.counts.pop(at, None)

    def merge(self, other: Delays) -> None:
        """Add another's spans."""
        self.total_ms += other.total_ms
        for at, count in other.counts.items():
            self._add(at, count)

    def quantile(self, q: float) -> float:
        """Return a quantile (nearest rank) in ms, within 2.2 %; NaN of nothing."""
        left = max(1, math.ceil(q * self.n))
        for at in sorted(self.counts):
            left -= self.counts[at]
            if left <= 0:
                return 0.0 if at == 0 else 2.0 ** ((at - 0.5) / PER_OCTAVE)
        return math.nan

    def buckets(self, bounds_s: Iterable[float]) -> list[tuple[float, int]]:
        """Return how many spans are at most each bound, in seconds: a cumulative histogram, to a bin's width."""
        rows = sorted(
            (0.0 if at == 0 else 2.0 ** ((at - 0.5) / PER_OCTAVE) / 1000, n) for at, n in self.counts.items()
        )
        return [(bound, sum(count for middle, count in rows if middle <= bound)) for bound in bounds_s]

    def snapshot(self) -> tuple[int, list[tuple[int, int]]]:
        """Return the counts as plain values."""
        return (self.total_ms, sorted(self.counts.items()))

    def restore(self, state: tuple[int, list[tuple[int, int]]]) -> None:
        """Take over what `snapshot` gave."""
        self.total_ms, rows = state
        self.counts = dict(rows)
