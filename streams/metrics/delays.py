"""Spans of time in bins of equal ratio: their quantiles."""

from __future__ import annotations

import math
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

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    @property
    def n(self) -> int:
        """Spans."""
        return sum(self.counts.values())

    def add(self, span_ms: int) -> None:
        """Add a span in ms; one below 1 counts as 0."""
        at = 0 if span_ms < 1 else int(math.log2(span_ms) * PER_OCTAVE) + 1
        self.counts[at] = self.counts.get(at, 0) + 1

    def quantile(self, q: float) -> float:
        """Return a quantile (nearest rank) in ms, within 2.2 %; NaN of nothing."""
        left = max(1, math.ceil(q * self.n))
        for at in sorted(self.counts):
            left -= self.counts[at]
            if left <= 0:
                return 0.0 if at == 0 else 2.0 ** ((at - 0.5) / PER_OCTAVE)
        return math.nan

    def snapshot(self) -> list[tuple[int, int]]:
        """Return the counts as plain values."""
        return sorted(self.counts.items())

    def restore(self, state: list[tuple[int, int]]) -> None:
        """Take over what `snapshot` gave."""
        self.counts = dict(state)
