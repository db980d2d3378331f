"""How fast a counter grows, from the times at which its values became known."""

from __future__ import annotations

from collections import deque
from typing import Final

WINDOW_MS: Final = 10_000
"""A rate is over the observations of so long; the newest one before them is where it begins."""
GRACE_MS: Final = 2_500
"""News is expected within so long: silence beyond it counts as time in which nothing happened."""


class Rate:
    """The growth of one counter per second.

    What an observation says is true at its own time, which is not when it is asked for: metrics come once a
    second, and only while there is something to count. A counter that falls began anew, and so does its rate.
    """

    __slots__ = ("_seen", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        """The newest value; None while there is none."""
        self._seen: deque[tuple[int, float]] = deque()

    def observe(self, at_ms: int, value: float) -> None:
        """Take an observation; one that is older than the newest is skipped.

        Parameters
        ----------
        at_ms
            When it was true, ms.
        """
        seen = self._seen
        if seen and at_ms < seen[-1][0]:
            return
        if self.value is not None and value < self.value:
            seen.clear()
        self.value = value
        if seen and at_ms == seen[-1][0]:
            seen.pop()
        seen.append((at_ms, value))
        while len(seen) > 2 and seen[1][0] <= at_ms - WINDOW_MS:
            seen.popleft()

    def per_second(self, now_ms: int) -> float | None:
        """Return the rate at a time, 1/s; None before two observations.

        After a silence much longer than the gaps before it nothing happens any more.

        Examples
        --------
        >>> rate = Rate()
        >>> for at, value in ((0, 0), (1000, 50), (2000, 100)):
        ...     rate.observe(at, value)
        >>> rate.per_second(2500), rate.per_second(6500), rate.per_second(20_000)
        (50.0, 25.0, 0.0)
        """
        if len(self._seen) < 2:
            return None
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        if now_ms - end > max(WINDOW_MS, 2 * (end - self._seen[-2][0])):
            return 0.0
        return 1000 * (last - first) / (max(end, now_ms - GRACE_MS) - start)
