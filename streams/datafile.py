"""How the rows of a data file become requests and outcomes."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from schemas.codec.checks import TaskKind
from schemas.dictionary import Dictionary
from schemas.errors import TaskError
from schemas.event_time import millis_of
from schemas.records import Outcome, Request, Value
from streams.cells import RepeatedHour, Row, millis, zone_of
from streams.found import declared_dates

__all__ = ["DataFile", "Event", "LeftOut", "Row", "in_time_order", "left_out", "millis"]


@dataclass(frozen=True, slots=True)
class Event:
    """One row: a request, and what became of it."""

    request: Request
    outcomes: tuple[Outcome, ...]
    """In the order in which they were reported; empty when none ever was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """How a data file maps to requests and outcomes.

    Parameters
    ----------
    request_id
        The column with the request's id, or a callable on the row.
    ts
        The column with the request's event time, or a callable that gives milliseconds.
    outcome
        A callable on the row that gives `(time in milliseconds, value)`, None, or a list of such pairs
        (corrections, in order).
    path
        Where the data lies beside the task file, a file or a folder of files; `--data` overrides it.
    delimiter
        What separates the cells of a line; empty: found.
    encoding
        Of text, as Python names it; empty: UTF-8, or UTF-16 with its mark.
    decimal
        The decimal sign of the features' cells and of `streams.number`: `.` or `,`; empty: found.
    dates
        The form of times, or several: `iso`, `epoch_s`, `epoch_ms`, `epoch_us`, or a format of
        `datetime.strptime`; empty: found in the column `ts`.
    timezone
        The zone of times without an offset, such as `UTC` or `Europe/Berlin`; empty: they are rejected.
    repeated_hour
        Which of the two times is meant that a clock shows twice when it is set back.
    missing
        Cells that mean a missing value, beside the empty one.
    """

    request_id: str | Callable[[Row], str]
    ts: str | Callable[[Row], int]
    outcome: Callable[[Row], tuple[int, Value] | Iterable[tuple[int, Value]] | None]
    path: str = ""
    delimiter: str = ""
    encoding: str = ""
    decimal: str = ""
    dates: str | tuple[str, ...] = ()
    timezone: str = ""
    repeated_hour: RepeatedHour = "reject"
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        where = "DataFile(...): "
        delimiter: object = self.delimiter
        missing: object = self.missing
        if not isinstance(delimiter, str) or len(delimiter) > 1 or delimiter in {'"', "\n"}:
            raise TaskError(f"{where}delimiter={self.delimiter!r} must be one character, such as ';'")
        if self.decimal not in {"", ".", ","}:
            raise TaskError(f"{where}decimal={self.decimal!r} must be '.' or ','")
        if self.repeated_hour not in get_args(RepeatedHour):
            raise TaskError(
                f"{where}repeated_hour={self.repeated_hour!r} must be 'reject', 'first' or 'second'"
            )
        if not isinstance(missing, tuple | list) or not all(isinstance(each, str) for each in missing):
            raise TaskError(f"{where}missing={self.missing!r} must be a tuple of texts, such as ('NA',)")
        try:
            "".encode(self.encoding or "utf-8")
        except (LookupError, TypeError):
            raise TaskError(
                f"{where}encoding={self.encoding!r} is unknown to Python; it knows 'cp1252' and 'latin-1'"
            ) from None
        try:
            declared_dates(self.dates)
            if self.timezone:
                zone_of(self.timezone)
        except (ValueError, TypeError) as error:
            raise TaskError(f"{where}{error}") from None

    def columns(self, features: Dictionary) -> tuple[str, ...]:
        """Return the columns that a file must have; callables may read others, and added features may lie there."""
        own = (each for each in (self.request_id, self.ts) if isinstance(each, str))
        kept = (each.column or each.name for each in features.asked if each.personal_data != "left_out")
        return tuple(dict.fromkeys([*own, *kept]))

    def events(
        self,
        rows: Iterable[Row],
        features: Dictionary,
        kind: TaskKind | None = None,
        earliest: datetime | None = None,
        note: Callable[[str], None] = lambda found: None,
    ) -> Iterator[Event]:
        """Read rows as events, in the order of the rows.

        Parameters
        ----------
        rows
            Cells by column; `streams.cells.Cells` where messages are to name their places.
        features
            The task's dictionary: it says which columns must be there.
        kind
            The task's kind, to bring the outcomes' values into the form that they have on the wire; None
            leaves them as they are.
        earliest
            The task's; None takes every time from 1970 on.
        note
            Called with each form of times and numbers that was found in the file and is not the usual one.

        Raises
        ------
        UsageError
            Naming the row, where possible its column and cell, and what to do.
        """
        from streams.reading import RowReader  # noqa: PLC0415  it reads what is declared here

        return RowReader(self, features, kind, millis_of(earliest) if earliest else 0, note).over(rows)


def in_time_order(events: Iterable[Event], limit: int | None = None) -> list[Event]:
    """Order events by request time, rows of equal time as they stand; with a limit only the first ones."""
    if limit is None:
        return sorted(events, key=_asked)
    return heapq.nsmallest(limit, events, key=_asked)


def _asked(event: Event) -> int:
    return event.request.ts


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of a file's rows nothing is learned from, with an example of each."""

    duplicates: int = 0
    """Rows whose request id an earlier row has: they are not joined."""
    duplicate: str = ""
    before_request: int = 0
    """Outcomes more than the task's tolerance before their request: they are rejected."""
    before: str = ""

    def __bool__(self) -> bool:
        return bool(self.duplicates or self.before_request)

    def sentences(self) -> list[str]:
        """Say what is left out, a sentence for each kind."""
        said = []
        if self.duplicates:
            said.append(
                f"{self.duplicates:,} row(s) repeat the request id of an earlier row and are left out, "
                f"such as {self.duplicate!r:.60}"
            )
        if self.before_request:
            said.append(
                f"{self.before_request:,} outcome(s) lie before their request and are left out, such as that of "
                f"{self.before!r:.60}; if clocks differ, set tolerance= of the task"
            )
        return said


def left_out(events: Iterable[Event], tolerance_ms: int) -> LeftOut:
    """Count what of a file is left out.

    Examples
    --------
    >>> events = [Event(Request(name, 5, {}), (Outcome(name, 4, True),)) for name in ("a", "b", "a")]
    >>> left_out(events, 0)
    LeftOut(duplicates=1, duplicate='a', before_request=3, before='a')
    """
    asked: dict[str, int] = {}
    duplicates = before_request = 0
    duplicate = before = ""
    for event in events:
        name = event.request.request_id
        if name in asked:
            duplicates += 1
            duplicate = duplicate or name
        first = asked.setdefault(name, event.request.ts)
        for outcome in event.outcomes:
            if outcome.ts < first - tolerance_ms:
                before_request += 1
                before = before or name
    return LeftOut(duplicates, duplicate, before_request, before)
