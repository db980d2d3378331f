"""The cells of a data file: where a row stands, and how the file writes times and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal
from zoneinfo import ZoneInfo

from schemas.features import decimal as decimal_number

Row = Mapping[str, str]
RepeatedHour = Literal["reject", "first", "second"]

ISO: Final = "iso"
EPOCHS: Final[Mapping[str, int]] = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Names of the forms of a time that is a number since 1970-01-01 UTC; the microseconds in one unit."""
DIGITS: Final = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
COMMA_NUMBER: Final = re.compile(r"[+-]?[0-9]*,[0-9]+")
MISSING: Final = frozenset({"na", "n/a", "null", "none", "nil", "-", "?", "\\n", "#n/a"})
"""Cells, in lower case, that often stand for a missing value."""


class Cells(dict[str, str]):
    """A row of a data file: cells by column.

    Parameters
    ----------
    cells
        By column.
    place
        File and line, for messages.
    """

    __slots__ = ("place",)

    def __init__(self, cells: Mapping[str, str], place: str = "") -> None:
        super().__init__(cells)
        self.place = place

    def __missing__(self, column: str) -> str:
        raise NoColumn(column)


class NoColumn(KeyError):
    """A row has no column of that name."""


class WrongCell(ValueError):
    """A cell that cannot be read.

    Parameters
    ----------
    cell
        Its text.
    problem
        What is wrong with it, and what to do.
    """

    def __init__(self, cell: str, problem: str) -> None:
        super().__init__(f"{cell!r:.60} {problem}")
        self.cell, self.problem = cell, problem


@dataclass(frozen=True, slots=True)
class CellForm:
    """How a file writes times and numbers.

    Parameters
    ----------
    dates
        Forms of a time, tried in order: `iso`, `epoch_s`, `epoch_ms`, `epoch_us`, or a format of
        `datetime.strptime`.
    zone
        The zone of times without an offset; None: they are rejected.
    repeated
        Which of the two times is meant that a clock shows twice when it is set back.
    decimal
        The decimal sign.
    """

    dates: tuple[str, ...] = (ISO,)
    zone: tzinfo | None = None
    repeated: RepeatedHour = "reject"
    decimal: str = "."

    def time(self, text: str) -> int:
        """Read a time, in ms since 1970-01-01 UTC; what is finer is rounded.

        Raises
        ------
        WrongCell
            Naming the form that it should have.
        """
        for form in self.dates:
            if form in EPOCHS:
                if DIGITS.fullmatch(text.strip()):
                    return _epoch_ms(text.strip(), EPOCHS[form])
            elif (moment := moment_of(text, form)) is not None:
                return round(self._aware(moment, text).timestamp() * 1000)
        raise WrongCell(text, self._no_time(text))

    def number(self, text: str) -> float:
        """Read a number.

        Raises
        ------
        WrongCell
            Saying what to write instead.
        """
        try:
            return decimal_number(self.pointed(text))
        except ValueError:
            raise WrongCell(text, f"is not a number{cure_of_number(text, self.decimal)}") from None

    def pointed(self, text: str) -> str:
        """Return the text of a number with a decimal point.

        Raises
        ------
        WrongCell
            When a point stands in a file with decimal commas: it may be a thousands separator.
        """
        if self.decimal == ".":
            return text
        if "." in text:
            raise WrongCell(
                text,
                "has a point in a file with decimal commas; remove thousands separators, or set decimal='.'",
            )
        return text.replace(",", ".")

    def _aware(self, moment: datetime, text: str) -> datetime:
        if moment.tzinfo is not None:
            return moment
        zone = self.zone
        if zone is None:
            raise WrongCell(
                text,
                "has no time zone; set timezone= in DataFile(...), for example timezone='UTC' or 'Europe/Berlin'",
            )
        first = moment.replace(tzinfo=zone)
        if zone is UTC:
            return first
        second = first.replace(fold=1)
        early, late = first.utcoffset(), second.utcoffset()
        if early == late or early is None or late is None:
            return first
        if early < late:
            raise WrongCell(
                text,
                f"does not exist in {zone}, where clocks were set forward; correct timezone= or the cell",
            )
        if self.repeated == "reject":
            raise WrongCell(
                text,
                f"occurs twice in {zone}, where clocks were set back; write the offset, for example "
                f"{text}{_offset(early)}, or set repeated_hour='first' or 'second' in DataFile(...)",
            )
        return first if self.repeated == "first" else second

    def _no_time(self, text: str) -> str:
        if not text.strip():
            return "is empty; a time is required"
        if DIGITS.fullmatch(text.strip()) and self.dates == (ISO,):
            return f"is not an ISO date or time; for a number since 1970 set dates={_unit(text)!r} in DataFile(...)"
        if self.dates == (ISO,):
            return "is not an ISO date or time; set its format in DataFile(...), for example dates='%d.%m.%Y %H:%M'"
        return f"is not a time of the form {' or '.join(self.dates)}; correct the cell, or add its form to dates="


def moment_of(text: str, form: str) -> datetime | None:
    """Read a time of one form, `iso` or a format of `datetime.strptime`; None when it has another."""
    try:
        return datetime.fromisoformat(text.strip()) if form == ISO else datetime.strptime(text.strip(), form)
    except ValueError:
        return None


def zone_of(name: str) -> tzinfo:
    """Return a time zone of the IANA database.

    Raises
    ------
    ValueError
        When there is none of that name.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"timezone={name!r} is not in the IANA database, which has names such as 'UTC' and 'Europe/Berlin'"
        ) from None


def cure_of_number(text: str, decimal: str = ".") -> str:
    """Say what to do about a cell that should be a number; empty where nothing is known.

    Examples
    --------
    >>> cure_of_number("1_000")
    '; remove the underscores'
    >>> cure_of_number("NA")
    "; if it stands for a missing value, set missing=('NA',) in DataFile(...)"
    """
    text = text.strip()
    if "_" in text and text.replace("_", "").replace(".", "").isdigit():
        return "; remove the underscores"
    if decimal == "." and COMMA_NUMBER.fullmatch(text):
        return "; for a decimal comma set decimal=',' in DataFile(...); a thousands separator must be removed"
    if text.strip("+-").lower() in {"inf", "infinity"}:
        return "; leave the cell empty if the value is not known"
    if text.lower() in MISSING:
        return f"; if it stands for a missing value, set missing=({text!r},) in DataFile(...)"
    if any(sign.isdigit() for sign in text):
        return "; write digits with a decimal point, without units or separators"
    return ""


def _epoch_ms(text: str, microseconds: int) -> int:
    whole, _, part = text.partition(".")
    ms = (abs(int(whole)) * microseconds + 500) // 1000
    if part and microseconds > 1:
        ms = round(abs(float(text)) * microseconds / 1000)
    return -ms if text.startswith("-") else ms


def _unit(text: str) -> str:
    digits = len(text.strip().lstrip("+-").partition(".")[0])
    return "epoch_s" if digits <= 11 else "epoch_ms" if digits <= 14 else "epoch_us"


def _offset(offset: timedelta) -> str:
    minutes = offset // timedelta(minutes=1)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


# ------------------------------------------------------------------ in the callables of a task file

_form: ContextVar[CellForm] = ContextVar("form", default=CellForm())  # noqa: B039  frozen


@contextmanager
def reading_as(form: CellForm) -> Iterator[None]:
    """Let `millis` and `number` read cells in the form of a file."""
    token = _form.set(form)
    try:
        yield
    finally:
        _form.reset(token)


def millis(text: str, timezone: str = "") -> int:
    """Read a date or a time, in ms since 1970-01-01 UTC.

    In the callables of a `DataFile` it reads the times of that file: as `dates=` and `timezone=` say. Elsewhere it
    reads ISO dates and times.

    Parameters
    ----------
    text
        The date or time; a date is its midnight.
    timezone
        The zone of a time without an offset; default: that of the file.

    Raises
    ------
    ValueError
        When it cannot be read, or has no time zone.

    Examples
    --------
    >>> millis("2015-07-01", "UTC")
    1435708800000
    >>> millis("2015-07-01T12:00:00+02:00")
    1435744800000
    """
    form = _form.get()
    return (replace(form, zone=zone_of(timezone)) if timezone else form).time(text)


def number(text: str) -> float:
    """Read a number; in the callables of a `DataFile` with the decimal sign of that file.

    Raises
    ------
    ValueError
        When it is none.

    Examples
    --------
    >>> number("2.50")
    2.5
    """
    return _form.get().number(text)
