"""Spans of time counted by fixed bounds, as Prometheus counts them."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

FRESHNESS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0)
"""Bounds for what should take well below a second, and may take minutes in a failover."""
ANSWER_S: Final = (0.001, 0.0025, *FRESHNESS_S)
"""The same for answers, which a caller waits for."""


class Histogram:
    """Counts of spans by upper bound.

    Parameters
    ----------
    bounds_s
        Upper bounds in seconds, rising; a last one without bound is added.

    Examples
    --------
    >>> spans = Histogram((0.1, 1.0))
    >>> for span_s in (0.05, 0.1, 0.5, 7.0):
    ...     spans.add(span_s)
    >>> spans.buckets()
    [(0.1, 2), (1.0, 3)]
    >>> spans.count
    4
    """

    def __init__(self, bounds_s: tuple[float, ...] = FRESHNESS_S) -> None:
        self.bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    @property
    def count(self) -> int:
        """Spans."""
        return sum(self._counts)

    def add(self, span_s: float, count: int = 1) -> None:
        """Count a span `count` times."""
        self._counts[bisect_left(self.bounds_s, span_s)] += count
        self.sum_s += span_s * count

    def buckets(self) -> list[tuple[float, int]]:
        """Return (upper bound in seconds, spans up to it), cumulative; those above the last are in `count` only."""
        total, found = 0, []
        for bound, count in zip(self.bounds_s, self._counts, strict=False):
            total += count
            found.append((bound, total))
        return found

    def status(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"count": self.count, "sum_s": self.sum_s, "buckets": self.buckets()}
