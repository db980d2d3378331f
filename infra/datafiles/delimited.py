"""Delimited text: CSV with its delimiter found, and every row at fault named by its line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Final, TextIO

from infra.datafiles.text import is_text, lines, not_text
from schemas.errors import UsageError
from streams.cells import Cells

DELIMITERS: Final = ",;\t|"
SAMPLE: Final = 50
"""Lines in which the delimiter is looked for."""
NAMES: Final = {"\t": "a tab", ",": "a comma", ";": "a semicolon"}


def delimited_rows(
    file: TextIO,
    path: Path,
    delimiter: str,
    encoding: str,
    needed: Collection[str],
    note: Callable[[str], None],
) -> Iterator[Cells]:
    """Read delimited text row by row.

    Parameters
    ----------
    file, path
        The file, and its path for messages.
    delimiter, encoding
        As declared; empty: found.
    needed
        Columns by which the delimiter is known.
    note
        Called with a delimiter that was found and is no comma.

    Raises
    ------
    UsageError
        With line, column and cell.
    """
    text = lines(file, path)
    ahead = list(islice(text, SAMPLE))
    found = delimiter or _found(ahead, needed)
    if found != "," and not delimiter:
        note(f"{path.name}: the delimiter is {NAMES.get(found, repr(found))}")
    spaced = _is_spaced(ahead, found)
    reader = csv.reader(chain(ahead, text), delimiter=found, skipinitialspace=spaced, strict=True)
    header: list[str] = []
    while True:
        place = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{place}: {error}{_cure(str(error))}") from error
        if cells is None:
            break
        if not cells:
            continue
        for number, cell in () if "".join(cells).isascii() else enumerate(cells):
            if not is_text(cell):
                name = header[number] if number < len(header) else f"number {number + 1}"
                raise UsageError(f"{place}, column {name!r}: {not_text(cell, encoding)}")
        if not header:
            header = _checked(cells, place)
            continue
        if len(cells) != len(header):
            raise UsageError(f"{place}: {_wrong_count(cells, header, found)}")
        yield Cells(dict(zip(header, cells, strict=True)), place)
    if not header:
        raise UsageError(f"{path} is empty: it needs a header and rows")


def _found(sample: list[str], needed: Collection[str]) -> str:
    """Return the delimiter under which the header has the needed columns, and all rows as many cells."""

    def fits(delimiter: str) -> tuple[bool, bool, int]:
        try:
            table = [row for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            return (False, False, 0)
        if not table:
            return (False, False, 0)
        if len(sample) == SAMPLE and len(table) > 2:
            table.pop()  # it may go on
        header = table[0]
        named = bool(needed) and set(needed) <= {name.strip() for name in header} | {"#"}
        even = len(header) > 1 and all(len(row) == len(header) for row in table)
        return (named, even, len(header))

    return max(DELIMITERS, key=fits)  # the first of equals


def _is_spaced(sample: list[str], delimiter: str) -> bool:
    """Whether a space follows each delimiter of the header."""
    try:
        header = next(csv.reader(sample, delimiter=delimiter), [])
    except csv.Error:
        return False
    return len(header) > 1 and all(name.startswith(" ") for name in header[1:])


def _checked(header: list[str], place: str) -> list[str]:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UsageError(f"{place}: the header names {', '.join(twice)} twice; rename or remove one of them")
    return header


def _cure(problem: str) -> str:
    if "field larger" in problem or "unexpected end" in problem:
        return "; a quotation mark may be open"
    return (
        "; within a cell in quotation marks each of them must be doubled"
        if "expected after" in problem
        else ""
    )


def _wrong_count(cells: list[str], header: list[str], delimiter: str) -> str:
    said = f"the row has {len(cells)} cell(s), the header {len(header)}"
    if len(cells) < len(header):
        return f"{said}: {', '.join(header[len(cells) :])} missing; add them, empty where nothing is known"
    rest = ", ".join(f"{cell!r:.30}" for cell in cells[len(header) :])
    sign = NAMES.get(delimiter, repr(delimiter))
    return f"{said}: {rest} too many; put cells that contain {sign} in quotation marks"
