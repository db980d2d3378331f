"""What the columns of a data file hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from streams.cells import COMMA_NUMBER, EPOCHS, ISO, MISSING, CellForm, WrongCell, moment_of
from streams.found import found_dates, found_decimal

Type = Literal["empty", "boolean", "integer", "number", "time", "text"]

WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
BOOLEANS: Final[Mapping[str, bool]] = {
    "true": True, "false": False, "yes": True, "no": False, "t": True, "f": False, "y": True, "n": False,
}  # fmt: skip
TIME_NAME: Final = re.compile(r"(^|_)(ts|time|timestamp|date|datetime|at|epoch)(_|$)")
SINCE_MS, UNTIL_MS = 946_684_800_000, 4_102_444_800_000
"""2000 and 2100."""


def words_of(name: str) -> str:
    """Return a column's name in lower case, its words separated by `_`.

    Examples
    --------
    >>> words_of("PlacedAt"), words_of("Order ID")
    ('placed_at', 'order_id')
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")


@dataclass(slots=True)
class Column:
    """What a column holds."""

    name: str
    type: Type
    missing: int
    """Rows without a value."""
    levels: Counter[str]
    """Its cells."""
    dates: tuple[str, ...] = ()
    """The form of a column of times."""
    markers: frozenset[str] = field(default_factory=frozenset)
    """Cells that stand for a missing value."""
    doubt: str = ""
    """What is not certain about it."""
    cells: Sequence[str] = ()
    """In the order of the rows."""

    @property
    def words(self) -> str:
        """Its name, in words."""
        return words_of(self.name)

    @property
    def is_unique(self) -> bool:
        """Whether no cell occurs twice, and none is missing."""
        return not self.missing and len(self.levels) == len(self.cells)

    def numbers(self, decimal: str) -> list[float]:
        """Return its cells as numbers."""
        form = CellForm(decimal=decimal)
        return [form.number(cell) for cell in self.levels]


def columns_of(rows: Sequence[Mapping[str, str]]) -> tuple[list[Column], str]:
    """Return the columns of rows, and the decimal sign."""
    names = [name for name in rows[0] if name != "#"]
    cells = {name: [row[name].strip() for row in rows] for name in names}
    decimal = "."
    for column in cells.values():
        present = [cell for cell in column if cell and cell.lower() not in MISSING]
        if found_decimal(present) == "," and all(
            COMMA_NUMBER.fullmatch(c) or WHOLE.fullmatch(c) for c in present
        ):
            decimal = ","
    found = [_column(name, cells[name], decimal) for name in names]
    markers = frozenset().union(*(each.markers for each in found))
    for each in found:
        each.missing = sum(not cell or cell in markers for cell in each.cells)
        for marker in markers:
            del each.levels[marker]
    return found, decimal


def _column(name: str, cells: list[str], decimal: str) -> Column:
    present = [cell for cell in cells if cell]
    markers = frozenset(cell for cell in present if cell.lower() in MISSING)
    values = [cell for cell in present if cell not in markers]
    missing = len(cells) - len(present)
    if not present:
        return Column(name, "empty", missing, Counter(), cells=cells)
    found: Type = "text"
    dates: tuple[str, ...] = ()
    doubt = ""
    if values:
        dates, doubt = _times(words_of(name), values)
        found = "time" if dates else _type(values, decimal)
    if found == "text":  # where the marker may be a level like any other
        return Column(name, found, missing, Counter(present), cells=cells)
    return Column(name, found, missing, Counter(values), dates, markers, doubt, cells)


def _type(values: list[str], decimal: str) -> Type:
    lower = {value.lower() for value in values}
    if lower <= BOOLEANS.keys() or lower == {"0", "1"}:
        return "boolean"
    if all(WHOLE.fullmatch(value) for value in lower):
        # A code such as a postcode has leading zeros, which a number would lose.
        return "text" if any(len(value) > 1 and value.startswith("0") for value in lower) else "integer"
    form = CellForm(decimal=decimal)
    try:
        for value in lower:
            form.number(value)
    except WrongCell:
        return "text"
    return "number"


def _times(words: str, values: list[str]) -> tuple[tuple[str, ...], str]:
    """Return the form of times and what is in doubt about it; an empty form for what are no times."""
    named = TIME_NAME.search(words)
    if all(WHOLE.fullmatch(value) for value in values):
        if not named:
            return (), ""
        if all(len(value) == 8 and moment_of(value, ISO) for value in values):
            return (ISO,), ""
        for unit, microseconds in EPOCHS.items():
            if all(SINCE_MS <= int(value) * microseconds // 1000 < UNTIL_MS for value in values):
                return (unit,), ""
        return (), ""
    try:
        dates, doubt = found_dates(values), ""
    except WrongCell:
        dates, doubt = ("%d/%m/%Y",), "the day may be the month: then it is '%m/%d/%Y'"
        dates = tuple(dates[0] + clock for clock in ("", " %H:%M", " %H:%M:%S"))
    if all(any(moment_of(value, form) is not None for form in dates) for value in values):
        return dates, doubt
    return (), ""
