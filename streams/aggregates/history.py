"""The earlier requests of one entity, in the order of their event times."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from schemas.records import FeatureValue
from streams.aggregates.aggregate import Aggregate

Row = tuple[FeatureValue | None, ...]
"""A request's values of the features that are aggregated; None: missing."""


class History:
    """What is kept of an entity's requests: times, ids, and the values that are aggregated.

    Parameters
    ----------
    columns
        Number of values in a row.
    """

    __slots__ = ("columns", "ids", "offsets", "times")

    def __init__(self, columns: int) -> None:
        self.times = array("q")
        """Event times (ms), ascending."""
        self.offsets = array("q")
        """Offsets of the requests, ascending among those of equal time."""
        self.ids: list[str] = []
        self.columns: tuple[list[FeatureValue | None], ...] = tuple([] for _ in range(columns))

    def __len__(self) -> int:
        return len(self.times)

    def add(self, ts: int, offset: int, request_id: str, row: Row) -> None:
        """Add a request at its place."""
        place = bisect_right(self.times, ts)
        while place and self.times[place - 1] == ts and self.offsets[place - 1] > offset:
            place -= 1
        self.times.insert(place, ts)
        self.offsets.insert(place, offset)
        self.ids.insert(place, request_id)
        for column, value in zip(self.columns, row, strict=True):
            column.insert(place, value)

    def remove(self, ts: int, request_id: str) -> tuple[int, Row]:
        """Remove a request; gives its offset and values."""
        place = self._place(ts, request_id)
        del self.times[place], self.ids[place]
        return self.offsets.pop(place), tuple(column.pop(place) for column in self.columns)

    def find(self, ts: int, request_id: str) -> tuple[int, Row]:
        """Return a request's offset and values."""
        place = self._place(ts, request_id)
        return self.offsets[place], tuple(column[place] for column in self.columns)

    def _place(self, ts: int, request_id: str) -> int:
        place = bisect_left(self.times, ts)
        while self.ids[place] != request_id:
            place += 1
        return place

    def aggregate(
        self, aggregate: Aggregate, column: int | None, ts: int, without: str = ""
    ) -> FeatureValue | None:
        """Return an aggregate at a time; None where it does not exist.

        Parameters
        ----------
        column
            Place of the values; None: requests are counted.
        without
            The id of a request that is not to count.
        """
        start, end = bisect_left(self.times, ts - aggregate.window_ms), bisect_left(self.times, ts)
        if column is None:
            return end - start - (1 if without and without in self.ids[start:end] else 0)
        if aggregate.how == "last":
            return next((value for value in self._newest(column, start, end, without)), None)
        values = [value for value in self.columns[column][start:end] if value is not None]
        if without and without in self.ids[start:end]:
            values = [*self._newest(column, start, end, without)]
        return _of(aggregate, values)

    def _newest(self, column: int, start: int, end: int, without: str) -> Iterator[FeatureValue]:
        values = self.columns[column]
        for place in range(end - 1, start - 1, -1):
            value = values[place]
            if value is not None and self.ids[place] != without:
                yield value


def _of(aggregate: Aggregate, values: Sequence[FeatureValue]) -> FeatureValue | None:
    if aggregate.how == "count":
        return len(values)
    if aggregate.how == "distinct":
        return len(set(values))
    if aggregate.how == "mean" and not values:
        return None
    try:
        # Rounded once, so that neither the order nor what was removed before shows in the last bits.
        total = math.fsum(map(float, values))
    except OverflowError:
        return None
    found = total / len(values) if aggregate.how == "mean" else total
    return found + 0.0 if math.isfinite(found) else None  # -0.0 + 0.0 is 0.0
