"""Delay drift: outcomes come slower or faster than they used to.

Outcomes are seen when they come, so a stream shows its short delays first, and all delays seem to grow until the
longest have had time to pass. So delays are compared only up to a bound, and from a moment on by which a delay of
that bound could have been seen since the stream's beginning. Ranks are compared: each delay becomes its place among
a thousand of the reference (Mann and Whitney 1947), so that its unit and its shape do not matter. And the means of
some ranks are compared, since outcomes that belong together (a group's bookings) come with the same delay.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from dataclasses import replace
from typing import Any, Final

from streams.drift.detector import Change, Detector
from streams.seasons import KEPT, month, year_ago

REFERENCE: Final = 1_000
"""Delays in the reference, and outcomes before the bound is set."""


class DelayRanks:
    """Makes a number of each outcome's delay: its rank in [0, 1] within the reference."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._seen = 0
        self._bound: int | None = None
        """Longest delay that is compared, in ms."""
        self._reference: list[int] = []

    def of(self, asked: int, came: int) -> float | None:
        """Return the rank of a delay; None while the reference is not complete, or beyond the bound.

        Parameters
        ----------
        asked, came
            Event times of the request and of its outcome, in ms.
        """
        if self._first is None:
            self._first = asked
        self._first = min(self._first, asked)
        self._seen += 1
        if self._bound is None:
            if self._seen >= REFERENCE:
                self._bound = max(came - self._first, 0)
            return None
        delay = came - asked
        if delay > self._bound:
            return None
        reference = self._reference
        if len(reference) < REFERENCE:
            insort(reference, delay)
            return None
        return (bisect_left(reference, delay) + bisect_right(reference, delay)) / (2 * REFERENCE)

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        return self._first, self._seen, self._bound, list(self._reference)

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        self._first, self._seen, self._bound, self._reference = state


TOGETHER: Final = 25
"""Ranks of which the detector gets the mean."""


class DelayDrift:
    """Watches the ranks of delays with a detector."""

    def __init__(self, detector: Detector) -> None:
        self.ranks, self.detector = DelayRanks(), detector
        self._sum, self._count = 0.0, 0
        self._months: dict[int, tuple[int, float]] = {}
        """By month of event time: means of ranks, and their sum."""

    def update(self, asked: int, came: int) -> Change | None:
        """Take an outcome: event times of request and outcome, in ms. Up means slower."""
        rank = self.ranks.of(asked, came)
        if rank is None:
            return None
        self._sum += rank
        self._count += 1
        if self._count < TOGETHER:
            return None
        mean, self._sum, self._count = self._sum / TOGETHER, 0.0, 0
        self._remember(came, mean)
        change = self.detector.update(mean)
        if change is None or self._came_before(came, change):
            return None
        found = change.evidence
        counts = (found.reference_count * TOGETHER, found.recent_count * TOGETHER)
        statistic = "difference of mean ranks"
        evidence = replace(found, statistic=statistic, reference_count=counts[0], recent_count=counts[1])
        return replace(change, evidence=evidence)

    def _remember(self, ts: int, mean: float) -> None:
        now = month(ts)
        count, total = self._months.get(now, (0, 0.0))
        self._months[now] = count + 1, total + mean
        newest = max(self._months)
        self._months = {each: sums for each, sums in self._months.items() if each > newest - KEPT}

    def _came_before(self, ts: int, change: Change) -> bool:
        """Whether delays are more like those of the same season a year ago than like those before the change."""
        seen = [self._months[each] for each in year_ago(ts) if each in self._months]
        count, total = sum(n for n, _ in seen), sum(each for _, each in seen)
        recent, reference = change.evidence.recent, change.evidence.reference
        if not count or recent is None or reference is None:
            return False
        return abs(recent - total / count) < abs(recent - reference) / 2

    def snapshot(self) -> Any:
        """Return the state."""
        return self.ranks.snapshot(), self.detector.snapshot(), (self._sum, self._count), dict(self._months)

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        ranks, detector, (self._sum, self._count), months = state
        self._months = dict(months)
        self.ranks.restore(ranks)
        self.detector.restore(detector)
