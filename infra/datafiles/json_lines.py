"""JSON lines: an object in each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TextIO

from infra.datafiles.text import is_text, lines, not_text
from schemas.errors import UsageError
from streams.cells import Cells

SAMPLE: Final = 1_000
"""Objects whose keys are the columns: writers leave out what is missing."""


class _Twice(ValueError):
    """An object names a key twice."""


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


def json_rows(file: TextIO, path: Path, encoding: str) -> Iterator[Cells]:
    """Read JSON lines row by row.

    A number keeps its digits, null and NaN are missing, an object or a list within a row is its JSON text. A key
    that a row lacks is missing, where one of the first 1,000 rows has it.

    Raises
    ------
    UsageError
        With the line.
    """
    read = _objects(file, path, encoding)
    sample = list(islice(read, SAMPLE))
    if not sample:
        raise UsageError(f"{path} is empty: it needs an object in each line")
    columns = dict.fromkeys((name for row in sample for name in row), "")
    for row in chain(sample, read):
        unknown = row.keys() - columns.keys()
        if unknown:
            raise UsageError(
                f"{row.place}: key {min(unknown)!r:.60} is in none of the first {SAMPLE:,} rows; "
                "write it into the first row, with null where it is missing"
            )
        yield Cells(columns | row, row.place)


def _objects(file: TextIO, path: Path, encoding: str) -> Iterator[Cells]:
    for number, line in enumerate(lines(file, path), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        if not is_text(line):
            raise UsageError(f"{place}: {not_text(line.strip(), encoding)}")
        try:
            found = json.loads(
                line,
                parse_int=_Number,
                parse_float=_Number,
                parse_constant=_Number,
                object_pairs_hook=_object,
            )
        except _Twice as error:
            raise UsageError(f"{place}: key {error} stands there twice; remove one of them") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{place}: no JSON: {error}; each line must be one object") from error
        if not isinstance(found, dict):
            raise UsageError(f'{place}: a {type(found).__name__}, not an object such as {{"id": 1}}')
        yield Cells({name: _cell(value) for name, value in found.items()}, place)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(repr(next(name for name in names if names.count(name) > 1)))
    return made


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, _Number) and value == "NaN"):
        return ""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return a nested value with its numbers as numbers."""
    if isinstance(value, _Number):
        return float(value) if set(value) & set(".eEnN") else int(value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
