"""How a data file writes times and numbers, found in its first rows where the task file does not say it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from typing import Final

from streams.cells import COMMA_NUMBER, DIGITS, EPOCHS, ISO, WrongCell, moment_of

DAYS: Final = ("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d")
CLOCKS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
THOUSANDS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")


def found_dates(cells: Iterable[str]) -> tuple[str, ...]:
    """Find the form of a column of times.

    Parameters
    ----------
    cells
        The column's first cells.

    Returns
    -------
    tuple
        `("iso",)`, also where no other form is found; or the formats of one order of day, month and year, with
        and without a time of day.

    Raises
    ------
    WrongCell
        When days cannot be told from months.

    Examples
    --------
    >>> found_dates(["2024-01-02", "2024-01-03T08:00:00"])
    ('iso',)
    >>> found_dates(["03/02/2024 08:00", "25/02/2024 08:00"])[:2]
    ('%d/%m/%Y', '%d/%m/%Y %H:%M')
    """
    days: list[str] = []
    first = ""
    for cell in cells:
        if not cell.strip():
            continue
        if not days:
            first = cell
            if moment_of(cell, ISO) is not None or DIGITS.fullmatch(cell.strip()):
                return (ISO,)
            days = [day for day in DAYS if _is_of(cell, day)]
            if not days:
                return (ISO,)
        elif len(days) > 1:
            # A cell of another form is rejected when it is read.
            days = [day for day in days if _is_of(cell, day)] or days
    if len(days) > 1:
        forms = " or ".join(f"dates='{day}'" for day in days)
        raise WrongCell(
            first, f"and the following cells do not show which is the day; set {forms} in DataFile(...)"
        )
    return tuple(day + clock for day, clock in product(days, CLOCKS)) or (ISO,)


def _is_of(cell: str, day: str) -> bool:
    return any(moment_of(cell, day + clock) is not None for clock in CLOCKS)


def declared_dates(dates: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return declared forms of a time as a tuple; a date's format also stands for it with a time of day.

    Raises
    ------
    ValueError
        When one is neither a name nor a format.

    Examples
    --------
    >>> declared_dates("epoch_ms")
    ('epoch_ms',)
    >>> declared_dates("%d/%m/%Y")[:2]
    ('%d/%m/%Y', '%d/%m/%Y %H:%M')
    """
    forms: list[str] = []
    given: tuple[object, ...] = (dates,) if isinstance(dates, str) else tuple(dates)
    for form in given:
        if not isinstance(form, str) or (form != ISO and form not in EPOCHS and "%" not in form):
            names = ", ".join((ISO, *EPOCHS))
            raise ValueError(f"dates={form!r} is none of {names}, and no format such as '%d.%m.%Y %H:%M'")
        forms += [form + clock for clock in CLOCKS] if form in DAYS else [form]
    return tuple(forms)


def found_decimal(cells: Iterable[str]) -> str:
    """Find the decimal sign: a comma only where no number has a point, and one comma parts no thousands.

    Examples
    --------
    >>> found_decimal(["120,5", "18"]), found_decimal(["1,234"]), found_decimal(["120,5", "1.5"])
    (',', '.', '.')
    """
    commas = False
    for cell in map(str.strip, cells):
        if "." in cell:
            return "."
        commas = commas or (COMMA_NUMBER.fullmatch(cell) is not None and not THOUSANDS.fullmatch(cell))
    return "," if commas else "."
