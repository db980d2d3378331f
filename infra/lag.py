"""Lag in seconds: how long ago a partition ended where its reader stands now."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Final

KEPT: Final = 720
"""Ends that are remembered of a partition: an hour, asked for every 5 s. A longer lag is reported as an hour."""


class EndTimes:
    """Remembers when each partition ended where.

    Offsets tell how many records wait, and nothing of how long: a thousand records are a second of one task and
    a day of another. Between two ends that were asked for, records are taken to have come evenly (Lightbend's
    kafka-lag-exporter does the same), so the error is at most the time between two askings.

    Examples
    --------
    >>> ends = EndTimes()
    >>> for now_s, end in ((0.0, 100), (5.0, 200), (10.0, 200)):
    ...     ends.note("requests[0]", now_s, end)
    >>> ends.age_s("requests[0]", 200, 10.0), ends.age_s("requests[0]", 150, 10.0)
    (0.0, 7.5)
    """

    def __init__(self) -> None:
        self._ends: dict[Hashable, deque[tuple[float, int]]] = {}

    def note(self, partition: Hashable, now_s: float, end: int) -> None:
        """Remember that a partition ends at an offset now."""
        ends = self._ends.setdefault(partition, deque(maxlen=KEPT))
        if ends and end < ends[-1][1]:  # the topic was made anew
            ends.clear()
        if len(ends) > 1 and ends[-1][1] == ends[-2][1] == end:
            ends.pop()  # of a standstill, its begin and its end say all
        ends.append((now_s, end))

    def age_s(self, partition: Hashable, offset: int, now_s: float) -> float:
        """Give for how long the record at an offset has been there (s); 0 when there is none yet."""
        ends = self._ends.get(partition)
        if not ends or offset >= ends[-1][1]:
            return 0.0
        later_s, later = ends[-1]
        for earlier_s, earlier in reversed(ends):
            if earlier <= offset:
                share = (offset - earlier) / (later - earlier)
                return now_s - (earlier_s + share * (later_s - earlier_s))
            later_s, later = earlier_s, earlier
        return now_s - later_s
