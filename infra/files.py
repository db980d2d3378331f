"""Data files: CSV, compressed CSV, Parquet, as rows of text cells."""

from __future__ import annotations

import csv
import gzip
import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from schemas.errors import UsageError

ENCODING = "utf-8-sig"
"""UTF-8, with or without the mark that spreadsheets put in front."""
ROW_NUMBER = "#"
"""A column that every file has: the row's number, from 1."""

MAX_LINE = 4 * 1024 * 1024


def rows(path: Path) -> Iterator[Mapping[str, str]]:
    """Read a data file row by row; a missing cell is the empty text.

    Raises
    ------
    UsageError
        When the file is not there, is not of a known kind, or cannot be read.
    """
    if not path.is_file():
        raise UsageError(f"data file {path} does not exist")
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path)
        elif path.name.endswith(".csv.gz"):
            with gzip.open(path, "rt", encoding=ENCODING, newline="") as file:
                yield from _numbered(file, path)
        elif path.suffix == ".csv":
            with path.open(encoding=ENCODING, newline="") as file:
                yield from _numbered(file, path)
        else:
            raise UsageError(f"{path}: a data file must end in .csv, .csv.gz or .parquet")
    except (OSError, UnicodeDecodeError, csv.Error, EOFError, zlib.error) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _numbered(file: TextIO, path: Path) -> Iterator[Mapping[str, str]]:
    reader = csv.DictReader(_lines(file, path))
    header = reader.fieldnames or ()
    if not header:
        raise UsageError(f"{path} is empty: it needs a header and rows")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UsageError(f"{path}: the header names {', '.join(twice)} twice")
    for number, row in enumerate(reader, start=1):
        if None in row or None in row.values():
            raise UsageError(f"{path}, row {number}: its number of cells differs from the header's")
        row[ROW_NUMBER] = str(number)
        yield row


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Give lines of bounded length: a few compressed bytes can stand for one that fills the memory."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise UsageError(f"{path} cannot be read: it has a line of more than {MAX_LINE:,} characters")
        yield line


def _parquet(path: Path) -> Iterator[Mapping[str, str]]:
    try:
        import pyarrow  # noqa: PLC0415  an extra, and slow to import
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise UsageError("Parquet files need the extra: pip install 'riverloop[parquet]'") from None
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches():
            for record in batch.to_pylist():
                number += 1
                row = {str(key): _cell(value) for key, value in record.items()}
                row[ROW_NUMBER] = str(number)
                yield row
    except pyarrow.ArrowException as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def _cell(value: object) -> str:
    # NaN is what pandas writes for a missing number.
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
