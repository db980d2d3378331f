"""What a worker counts of its HTTP calls: by route and status, and how long they took."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

from streams.metrics.histogram import ANSWER_S, Histogram

UNMATCHED: Final = "unmatched"
"""The route of calls that no path takes: the path itself would be a label without bounds."""


class HttpMeter:
    """Counts calls. Its labels are bounded: the routes there are, and the statuses that riverloop answers with.

    Examples
    --------
    >>> meter = HttpMeter()
    >>> meter.add("/tasks/{task}/outcomes", 202, 0.004)
    >>> meter.calls, meter.spans["/tasks/{task}/outcomes"].count
    (Counter({('/tasks/{task}/outcomes', 202): 1}), 1)
    """

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, int]] = Counter()
        """By route and status."""
        self.spans: dict[str, Histogram] = defaultdict(lambda: Histogram(ANSWER_S))
        """By route: seconds from the call to its answer."""

    def add(self, route: str, status: int, took_s: float | None) -> None:
        """Count a call; `took_s` is None where the answer goes on until somebody ends it."""
        self.calls[route, status] += 1
        if took_s is not None:
            self.spans[route].add(took_s)
