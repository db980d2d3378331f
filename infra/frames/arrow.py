"""Rows as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from functools import cache
from typing import Any, Final

from schemas.errors import UsageError
from schemas.event_time import EPOCH
from streams.rows import ColumnType, Row, Rows

BATCH: Final = 4_096
"""Rows that are held as Python objects at most."""
NO_DAY: Final = "__HIVE_DEFAULT_PARTITION__"
"""Stands for the day of a time outside the years 1 to 9999, as Hive names what is null."""


@cache
def libraries() -> tuple[Any, Any]:
    """Import pyarrow and pyarrow.parquet.

    Raises
    ------
    UsageError
        They are not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415  an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise UsageError("tables need the extra: pip install 'riverloop[parquet]'") from None
    return pyarrow, parquet


@cache
def _types() -> Mapping[ColumnType, Any]:
    arrow, _ = libraries()
    text, number = arrow.string(), arrow.int64()
    place = [("topic", text), ("partition", number), ("offset", number)]
    return {
        **{"text": text, "long": number, "double": arrow.float64(), "boolean": arrow.bool_()},
        **{"time": arrow.timestamp("ms", "UTC"), "texts": arrow.list_(text), "position": arrow.struct(place)},
        **{"map_text": arrow.map_(text, text), "map_long": arrow.map_(text, number)},
        "map_double": arrow.map_(text, arrow.float64()),
    }


def day_of(ts: int) -> str:
    """Return the day of a time in ms, UTC, as the folders name it.

    Examples
    --------
    >>> day_of(1_709_251_199_999), day_of(-1), day_of(10**15)
    ('2024-02-29', '1969-12-31', '__HIVE_DEFAULT_PARTITION__')
    """
    try:
        return str(_day(ts // 86_400_000))
    except OverflowError:
        return NO_DAY


@cache
def _day(number: int) -> date:
    return (EPOCH + timedelta(days=number)).date()


class TableBuilder:
    """Collects rows; what is full becomes Arrow's columns, which take a fraction of the memory.

    Parameters
    ----------
    rows
        What has made them.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._arrow, _ = libraries()
        self._batch: list[Row] = []
        self._tables: list[Any] = []
        self._days: list[str] = []
        self.count = 0
        """Rows collected."""

    def add(self, row: Row) -> None:
        """Take a row."""
        self._batch.append(row)
        self.count += 1
        if len(self._batch) >= BATCH:
            self._pack()

    def _pack(self) -> None:
        columns = [self._column(name, typed) for name, typed in self._rows.columns.items()]
        self._tables.append(self._arrow.table(columns, names=list(self._rows.columns)))
        self._days += [day_of(row["ts"]) for row in self._batch]
        self._batch = []

    def _column(self, name: str, typed: ColumnType) -> Any:
        values = [row.get(name) for row in self._batch]
        if typed.startswith("map_"):
            values = [None if each is None else list(each.items()) for each in values]
        return self._arrow.array(values, _types()[typed])

    def table(self) -> Any:
        """Return all rows as one table, in their order, and begin anew."""
        if self._batch or not self._tables:
            self._pack()
        tables, self._tables, self._days, self.count = self._tables, [], [], 0
        return self._arrow.concat_tables(tables, promote_options="default")

    def by_day(self) -> dict[str, Any]:
        """Return the rows of each day in their order, the earliest day first, and begin anew."""
        if self._batch:
            self._pack()
        places: dict[str, list[int]] = {}
        for place, day in enumerate(self._days):
            places.setdefault(day, []).append(place)
        whole = self.table()
        return {day: whole.take(self._arrow.array(places[day])) for day in sorted(places)}
