"""How the rows of a data file become requests and outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from schemas.codec.checks import TaskKind, check_ts, check_value, make_request
from schemas.dictionary import Dictionary
from schemas.errors import BadRecord, UsageError
from schemas.event_time import before, millis_of
from schemas.records import Outcome, Request, Value

Row = Mapping[str, str]


def millis(text: str) -> int:
    """Read a date or a time as milliseconds UTC; without an offset it is taken for UTC.

    Examples
    --------
    >>> millis("2015-07-01")
    1435708800000
    >>> millis("2015-07-01T12:00:00+02:00")
    1435744800000
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


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
        The column with the request's event time (ISO date or time), or a callable that gives milliseconds.
    outcome
        A callable on the row that gives `(time in milliseconds, value)`, None, or a list of such pairs
        (corrections, in order).
    path
        Where the data lies beside the task file; `--data` overrides it.
    """

    request_id: str | Callable[[Row], str]
    ts: str | Callable[[Row], int]
    outcome: Callable[[Row], tuple[int, Value] | Iterable[tuple[int, Value]] | None]
    path: str = ""

    def events(
        self,
        rows: Iterable[Row],
        features: Dictionary,
        kind: TaskKind | None = None,
        earliest: datetime | None = None,
    ) -> Iterator[Event]:
        """Read rows as events, in the order of the rows.

        Parameters
        ----------
        rows
            Cells by column.
        features
            The task's dictionary: it says which columns must be there.
        kind
            The task's kind, to bring the outcomes' values into the form that they have on the wire; None
            leaves them as they are.
        earliest
            The task's; None takes every time from 1970 on.

        Raises
        ------
        UsageError
            Naming the row and what is wrong with it.
        """
        earliest_ms = millis_of(earliest) if earliest else 0
        for number, row in enumerate(rows, start=1):
            if number == 1:
                _check_columns(row, features)
            try:
                event = self._event(row, features, kind)
                _check_earliest(event, earliest_ms)
            except KeyError as error:
                raise _no_column(number, error, row) from error
            except (BadRecord, ValueError) as error:
                raise UsageError(f"row {number}: {error}") from error
            except Exception as error:  # from the task file's own callables
                raise UsageError(f"row {number}: {type(error).__name__}: {error}") from error
            yield event

    def _event(self, row: Row, features: Dictionary, kind: TaskKind | None) -> Event:
        request_id = row[self.request_id] if isinstance(self.request_id, str) else self.request_id(row)
        ts = millis(row[self.ts]) if isinstance(self.ts, str) else self.ts(row)
        _check_time("ts", ts)
        request: Request = make_request(request_id, ts, features.canonical(features.parse(row)))
        outcomes: Any = self.outcome(row)
        pairs = [] if outcomes is None else [outcomes] if isinstance(outcomes, tuple) else list(outcomes)
        for when, _ in pairs:
            _check_time("the outcome's time", when)
        return Event(
            request,
            tuple(
                Outcome(
                    request_id,
                    when,
                    check_value(kind, value) if kind else value,
                    reason="no value in the data file" if value is None else None,
                )
                for when, value in pairs
            ),
        )


def _check_columns(row: Row, features: Dictionary) -> None:
    """Reject a file that lacks a feature's column: a misspelled one would be missing in every row."""
    for each in features:
        column = each.column or each.name
        if column not in row and each.personal_data != "left_out":
            raise _no_column(1, repr(column), row)


def _no_column(number: int, name: object, row: Row) -> UsageError:
    return UsageError(f"row {number}: column {name} is missing; the columns are {', '.join(row)}")


def _check_time(what: str, ts: object) -> None:
    if isinstance(ts, bool) or not isinstance(ts, int):
        raise TypeError(f"{what} must be whole milliseconds, not {ts!r:.60}; see streams.millis")
    check_ts(ts)


def _check_earliest(event: Event, earliest_ms: int) -> None:
    for ts in (event.request.ts, *(each.ts for each in event.outcomes)):
        if ts < earliest_ms:
            raise ValueError(f"{before(ts, earliest_ms)}; to accept it, set earliest= of the task")


def in_time_order(events: Iterable[Event]) -> list[Event]:
    """Order events by request time, rows of equal time as they stand."""
    return sorted(events, key=lambda event: event.request.ts)
