"""Parquet files: read in pieces of a row group, each type as the text of its cells."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

from schemas.errors import UsageError
from schemas.escaped import harmless
from streams.cells import Cells

BATCH_ROWS: Final = 4_096
BUFFER_BYTES: Final = 1024 * 1024
"""Read at once of a column: without a buffer, a whole row group's column is held in memory."""


def parquet_rows(
    path: Path, encoding: str, needed: Collection[str], note: Callable[[str], None]
) -> Iterator[Cells]:
    """Read a Parquet file row by row.

    BINARY is text in the declared encoding, by default UTF-8; in a column that the task does not need, bytes that
    are no text become hexadecimal digits. Times are given as ISO text, lists and structures as JSON. `note` is
    called once for each column with times finer than a microsecond.

    Raises
    ------
    UsageError
        With row and column.
    """
    try:
        import pyarrow  # noqa: PLC0415  an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise UsageError("Parquet files need the extra: pip install 'riverloop[parquet]'") from None
    done = 0
    noted: set[str] = set()

    def once(found: str) -> None:
        if found not in noted:
            noted.add(found)
            note(f"{path.name}: {found}")

    try:
        with parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False) as file:
            names = file.schema_arrow.names
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UsageError(f"{path} names {', '.join(twice)} twice; rename or remove one of them")
            for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
                columns = [
                    _cells(batch.column(at), f"{path}, row", done, name, encoding, name in needed, once)
                    for at, name in enumerate(names)
                ]
                for number, cells in enumerate(zip(*columns, strict=True), start=done + 1):
                    yield Cells(dict(zip(names, cells, strict=True)), f"{path}, row {number}")
                done += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        message = " ".join(str(error).split())
        raise UsageError(harmless(f"{path} cannot be read after {done:,} row(s): {message}")) from error


def _cells(
    column: Any,
    place: str,
    done: int,
    name: str,
    encoding: str,
    needed: bool,
    note: Callable[[str], None],
) -> list[str]:
    """Return the text of a column's cells."""
    from pyarrow import types  # noqa: PLC0415  see above

    kind = column.type
    if types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if types.is_timestamp(kind) and kind.unit == "ns":
        column = _microseconds(column, name, note)
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError) as error:
        values = []
        for number in range(len(column)):
            try:
                values.append(column[number].as_py())
            except (ValueError, OverflowError):
                raise UsageError(
                    f"{place} {done + number + 1}, column {name!r}: {error}; Python cannot hold it, so write "
                    "the column as text"
                ) from error
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return [
            "" if value is None else _text(value, f"{place} {done + number}", name, encoding, needed)
            for number, value in enumerate(values, start=1)
        ]
    if types.is_nested(kind):
        return ["" if value is None else json.dumps(value, default=str) for value in values]
    return [_cell(value) for value in values]


def _microseconds(column: Any, name: str, note: Callable[[str], None]) -> Any:
    """Cut nanoseconds, which neither Python's times nor event times can hold."""
    import pyarrow  # noqa: PLC0415  see above

    coarse = pyarrow.timestamp("us", column.type.tz)
    try:
        return column.cast(coarse)
    except pyarrow.ArrowInvalid:
        note(
            f"column {name!r} has times finer than a microsecond, which are cut: event times are milliseconds"
        )
        return column.cast(coarse, safe=False)


def _text(value: bytes, place: str, name: str, encoding: str, needed: bool) -> str:
    try:
        return value.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if not needed:
            return value.hex()
    raise UsageError(
        f"{place}, column {name!r}, cell {value!r:.60}: BINARY that is not {encoding or 'UTF-8'} text; "
        "set encoding= in DataFile(...), or write the column as text"
    )


def _cell(value: object) -> str:
    # NaN is what pandas writes for a missing number.
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value)
