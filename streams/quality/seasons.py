"""What the requests of a year ago were like, month by month."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streams.quality.tally import Counts, Total
from streams.seasons import KEPT, month, year_ago


def added(feature: str, *windows: Total) -> Counts:
    """Return the counts of a feature in several windows together."""
    found = Counts()
    for each in windows:
        found.add(each.of(feature))
    return found


class Seasons:
    """Counts of the features by month of event time, for a year."""

    def __init__(self) -> None:
        self._months: dict[int, Total] = {}

    def add(self, ts: int, window: Total) -> None:
        """Add a window that ends at an event time (ms)."""
        now = month(ts)
        total = self._months.setdefault(now, Total())
        for name, counts in window.features.items():
            total.features.setdefault(name, Counts()).add(counts)
        newest = max(self._months)
        for old in [each for each in self._months if each <= newest - KEPT]:
            del self._months[old]

    def year_ago(self, ts: int, feature: str) -> tuple[Counts, ...]:
        """Return a feature's counts of that season of the year before: of its month, the nearer one, and both."""
        own, neighbour = (self._months.get(each, Total()).of(feature) for each in year_ago(ts))
        both = Counts()
        both.add(own)
        both.add(neighbour)
        return own, neighbour, both

    def state(self) -> dict[int, Any]:
        """Return the counts as plain data."""
        return {each: total.state() for each, total in self._months.items()}

    def restore(self, state: Mapping[int, Any]) -> None:
        """Take over what `state` gave."""
        self._months = {each: Total.of_state(total) for each, total in state.items()}
