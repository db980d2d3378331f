"""Reads the rows of a data file as a task's `DataFile` says, and says of a row that cannot be read what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from schemas.codec.checks import TaskKind, check_id, check_ts, check_value, make_request
from schemas.dictionary import Dictionary
from schemas.errors import BadRecord, UsageError
from schemas.escaped import harmless
from schemas.event_time import before
from schemas.features import Feature, Integer, Number
from schemas.near import sent_as
from schemas.records import Outcome, Request
from streams.cells import ISO, CellForm, Cells, NoColumn, Row, WrongCell, cure_of_number, reading_as, zone_of
from streams.datafile import DataFile, Event
from streams.found import declared_dates, found_dates, found_decimal

FRACTION: Final = re.compile(r"[+-]?[0-9]*[.,][0-9]+")
SAMPLE: Final = 1_000
"""Rows in which the form of times and numbers is looked for."""


class RowReader:
    """Reads rows as events.

    Parameters
    ----------
    data, features, kind
        The task's `data`, `features` and `kind`; without a kind the outcomes' values stay as they are.
    earliest_ms
        The first event time that the task accepts.
    note
        Called with each unusual form that was found.
    """

    def __init__(
        self,
        data: DataFile,
        features: Dictionary,
        kind: TaskKind | None,
        earliest_ms: int,
        note: Callable[[str], None],
    ) -> None:
        self._data, self._features, self._kind, self._note = data, features, kind, note
        self._earliest_ms = earliest_ms
        self._missing = frozenset(data.missing)
        read = [each for each in features if each.personal_data != "left_out"]
        self._by_column = {each.column or each.name: each for each in read}
        self._numbers = [name for name, each in self._by_column.items() if isinstance(each, Number | Integer)]
        self._form = CellForm()

    def over(self, rows: Iterable[Row]) -> Iterator[Event]:
        """Read rows; see `DataFile.events`."""
        ahead = iter(rows)
        sample = list(islice(ahead, SAMPLE))
        if sample:
            self._check_columns(sample[0])
            self._form = self._found([self._cells(row) for row in sample])
        for number, given in enumerate(chain(sample, ahead), start=1):
            row = self._cells(given)
            place = _place(given, number)
            request = self._request(row, place)
            yield Event(request, self._outcomes(row, place, request.request_id))

    # ------------------------------------------------------------------ the form

    def _found(self, sample: list[Row]) -> CellForm:
        data = self._data
        dates = declared_dates(data.dates)
        if not dates:
            dates = (ISO,)
            if isinstance(data.ts, str):
                column = data.ts
                with _Place(self, sample[0], _place(sample[0], 1), "ts", column):
                    dates = found_dates(row[column] for row in sample)
                if dates != (ISO,):
                    self._note(f"times have the form {dates[0]}, with or without a time of day")
        decimal = data.decimal
        if not decimal:
            # Features that serving adds need no column.
            numbers = [name for name in self._numbers if name in sample[0]]
            decimal = found_decimal(row[name] for row in sample for name in numbers)
            if decimal == ",":
                self._note("numbers have a decimal comma")
        zone = zone_of(data.timezone) if data.timezone else None
        return CellForm(dates, zone, data.repeated_hour, decimal)

    def _cells(self, row: Row) -> Cells:
        if not self._missing or not self._missing.intersection(row.values()):
            return row if isinstance(row, Cells) else Cells(row)
        cells = {name: "" if cell in self._missing else cell for name, cell in row.items()}
        return Cells(cells, row.place if isinstance(row, Cells) else "")

    def _check_columns(self, row: Row) -> None:
        """Refuse a file that lacks a column: a misspelled one would be missing in every row."""
        for name in self._data.columns(self._features):
            if name not in row:
                place = getattr(row, "place", "") or "row 1"
                raise UsageError(f"{place}: {no_column(name, row)}")

    # ------------------------------------------------------------------ a row

    def _request(self, row: Row, place: str) -> Request:
        data = self._data
        with _Place(self, row, place, "request_id", data.request_id) as at:
            request_id = row[data.request_id] if isinstance(data.request_id, str) else data.request_id(row)
            if not isinstance(request_id, str):
                raise WrongValue(f"request_id must be text, not {request_id!r:.60}")
            check_id(request_id)
            at.enter("ts", data.ts)
            ts = self._form.time(row[data.ts]) if isinstance(data.ts, str) else data.ts(row)
            self._check_time("ts", ts)
            at.enter("", None)
            features = self._features.canonical(self._features.parse(self._pointed(row)))
            made: Request = make_request(request_id, ts, features)
        return made

    def _outcomes(self, row: Row, place: str, request_id: str) -> tuple[Outcome, ...]:
        data, kind = self._data, self._kind
        with _Place(self, row, place, "outcome", data.outcome):
            found: Any = data.outcome(row)
            pairs = [] if found is None else [found] if isinstance(found, tuple) else list(found)
            made = []
            for when, value in pairs:
                self._check_time("the outcome's time", when)
                reason = "no value in the data file" if value is None else None
                made.append(
                    Outcome(request_id, when, check_value(kind, value) if kind else value, reason=reason)
                )
        return tuple(made)

    def _pointed(self, row: Row) -> Row:
        if self._form.decimal == ".":
            return row
        cells = dict(row)
        for name in self._numbers:
            cells[name] = self._form.pointed(row[name])
        return cells

    def _check_time(self, what: str, ts: object) -> None:
        if isinstance(ts, bool) or not isinstance(ts, int):
            raise WrongValue(f"{what} must be whole milliseconds, not {ts!r:.60}; see streams.millis")
        check_ts(ts)
        if ts < self._earliest_ms:
            raise WrongValue(f"{before(ts, self._earliest_ms)}; to accept it, set earliest= of the task")

    # ------------------------------------------------------------------ what is wrong

    @property
    def form(self) -> CellForm:
        """The form of times and numbers in the file."""
        return self._form

    def column_of(self, name: str) -> str:
        """Return the column of a feature."""
        feature = self._features.by_name.get(name)
        return (feature.column or feature.name) if feature else ""

    def is_personal(self, column: str) -> bool:
        """Whether a column's cells must not be shown."""
        feature = self._by_column.get(column)
        return (column not in self._by_column and column in self._left_out) or (
            feature is not None and feature.personal_data != "none"
        )

    @property
    def _left_out(self) -> set[str]:
        return {each.column or each.name for each in self._features if each.personal_data == "left_out"}

    def cure(self, column: str, cell: str, reason: str) -> str:
        """Say what to do about the cell of a feature that is rejected; empty where nothing is known."""
        feature: Feature | None = self._by_column.get(column)
        if feature is None or feature.personal_data != "none":
            return ""
        if reason == "missing_field":
            return "; fill the cell, or give the feature optional=True or missing="
        if not isinstance(feature, Number | Integer):
            return ""
        if isinstance(feature, Integer) and FRACTION.fullmatch(cell):
            return "; declare it as a Number"
        return cure_of_number(cell, self._form.decimal)


class WrongValue(ValueError):
    """A value that a callable of the task file has given and that cannot be; the message says why."""


class _Place:
    """Turns what goes wrong within it into a sentence: place, column, cell, problem, cure."""

    def __init__(self, reader: RowReader, row: Row, place: str, part: str, source: object) -> None:
        self._reader, self._row, self._place = reader, row, place
        self._reading = reading_as(reader.form)
        self.enter(part, source)

    def enter(self, part: str, source: object) -> None:
        """Note which parameter of the `DataFile` is at work: a column, or a callable."""
        self._part, self._source = part, source

    def __enter__(self) -> _Place:
        self._reading.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._reading.__exit__(None, None, None)
        if isinstance(error, Exception):
            raise UsageError(harmless(self._sentence(error))) from error

    def _sentence(self, error: Exception) -> str:
        row, reader = self._row, self._reader
        column = self._source if isinstance(self._source, str) else ""
        if isinstance(error, NoColumn):
            return f"{self._place}: {self._failed()}{no_column(error.args[0], row)}"
        if isinstance(error, BadRecord):
            name = error.field.removeprefix("features.")
            if name != error.field:
                column = reader.column_of(name)
            cell = row.get(column, "")
            cure = reader.cure(column, cell, error.reason)
            return f"{self._at(column)}: {self._failed()}{error.message}{cure}"
        if isinstance(error, WrongCell):
            column = column or next((name for name, cell in row.items() if cell == error.cell), "")
            return f"{self._at(column, error.cell)}: {self._failed()}{error.problem}"
        if isinstance(error, WrongValue):
            return f"{self._at(column)}: {error}"
        message = str(error)
        column = column or next((name for name, cell in row.items() if cell and repr(cell) in message), "")
        return f"{self._at(column)}: {self._failed()}{type(error).__name__}: {' '.join(message.split())}"

    def _at(self, column: str, text: str | None = None) -> str:
        if not column or column not in self._row:
            return self._place if text is None else f"{self._place}, {text!r:.60}"
        if self._reader.is_personal(column):
            return f"{self._place}, column {column!r}"
        return f"{self._place}, column {column!r}, cell {self._row[column]!r:.60}"

    def _failed(self) -> str:
        return f"{self._part}= of the DataFile failed: " if callable(self._source) else ""


def no_column(name: str, row: Row) -> str:
    """Say that a column is missing, and which there are."""
    near = sent_as(name, row, {name}).replace("was it sent as", "is it")
    there = ", ".join(list(row)[:30])
    return (
        f"column {name!r} is missing; the columns are {there}{near or '; correct the name in the task file'}"
    )


def _place(row: Row, number: int) -> str:
    return getattr(row, "place", "") or f"row {number}"
