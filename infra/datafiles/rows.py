"""The rows of a data file or of a folder of data files."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.datafiles.delimited import delimited_rows
from infra.datafiles.json_lines import json_rows
from infra.datafiles.parquet import parquet_rows
from infra.datafiles.text import opened
from infra.files import digest
from schemas.errors import UsageError
from schemas.escaped import harmless
from streams.cells import Cells
from streams.datafile import DataFile

ROW_NUMBER: Final = "#"
"""A column that every file has: the row's number, from 1."""
DELIMITED: Final = (".csv", ".tsv", ".txt")
JSON_LINES: Final = (".jsonl", ".ndjson")
PARQUET: Final = (".parquet", ".pq")
KINDS: Final = "a data file must end in .csv, .tsv, .txt, .jsonl or .ndjson, also with .gz, or in .parquet"
CURES: Final = {
    ".xlsx": "; save the sheet as CSV",
    ".xls": "; save the sheet as CSV",
    ".json": "; write one object per line, and name the file .jsonl",
    ".zip": "; unpack it, or compress it with gzip",
}


@dataclass(frozen=True, slots=True)
class FileForm:
    """What is declared of a file of text, and which columns its task reads.

    Parameters
    ----------
    delimiter, encoding
        See `streams.DataFile`.
    needed
        Columns that must be there: they show which delimiter is right, and their bytes must be text.
    """

    delimiter: str = ""
    encoding: str = ""
    needed: Collection[str] = ()

    @staticmethod
    def of(data: DataFile, columns: Collection[str]) -> FileForm:
        """Return what a task declares."""
        return FileForm(data.delimiter, data.encoding, columns)


def rows(
    path: Path, form: FileForm | None = None, note: Callable[[str], None] = lambda found: None
) -> Iterator[Cells]:
    """Read a data file, or the files of a folder in the order of their names, row by row.

    A missing cell is the empty text. Memory does not grow with the file.

    Parameters
    ----------
    path
        The file or the folder.
    form
        What is declared of it.
    note
        Called with what was found and is not the usual form.

    Raises
    ------
    UsageError
        When the file is not there, is not of a known kind, or cannot be read: with line and column where known.
    """
    form = form or FileForm()
    number = 0
    columns: set[str] = set()
    for file in files(path):
        is_first = True
        for row in _file_rows(file, form, note):
            if is_first:
                is_first, columns = False, columns or set(row)
                if differing := sorted(columns ^ set(row)):
                    raise UsageError(
                        f"{row.place}: the columns differ from those of the first file: {', '.join(differing)}; "
                        "all files of a folder must have the same columns"
                    )
            number += 1
            row[ROW_NUMBER] = str(number)
            yield row


def files(path: Path) -> list[Path]:
    """Return the files that a path stands for: itself, or those of the folder, by name.

    Raises
    ------
    UsageError
        When there is none, or the folder holds something else.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UsageError(f"data file {path} does not exist")
    # Spark and others leave marks and checksums, with names that begin with _ or a dot.
    found = sorted(each for each in path.iterdir() if not each.name.startswith(("_", ".")))
    for each in found:
        if each.is_dir():
            raise UsageError(f"{path}: the folder {each.name} is in it; put the data files side by side")
        _kind(each)
    if not found:
        raise UsageError(f"{path}: the folder has no data files; {KINDS}")
    return found


def digest_of(path: Path) -> str:
    """SHA-256 of a data file's bytes, in hex; of a folder, of its files' names and digests."""
    if path.is_file():
        return digest(path)
    whole = "\n".join(f"{each.name} {digest(each)}" for each in files(path))
    return hashlib.sha256(whole.encode()).hexdigest()


def is_text_file(path: Path) -> bool:
    """Whether a data file is text, by its name."""
    return _kind(path) not in PARQUET


def _kind(path: Path) -> str:
    """Return the suffix that says how a file is read, without that of its compression."""
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    if suffix not in (*DELIMITED, *JSON_LINES) and (suffix not in PARQUET or name.endswith(".gz")):
        raise UsageError(f"{path}: {KINDS}{CURES.get(suffix, '')}")
    return suffix


def _file_rows(path: Path, form: FileForm, note: Callable[[str], None]) -> Iterator[Cells]:
    kind = _kind(path)
    if kind in PARQUET:
        yield from parquet_rows(path, form.encoding, form.needed, note)
        return
    done = 0
    try:
        with opened(path, form.encoding) as file:
            if kind in JSON_LINES:
                read = json_rows(file, path, form.encoding)
            else:
                delimiter = form.delimiter or ("\t" if kind == ".tsv" else "")
                read = delimited_rows(file, path, delimiter, form.encoding, form.needed, note)
            for row in read:
                yield row
                done += 1
    except (OSError, EOFError, zlib.error) as error:
        packed = path.name.lower().endswith(".gz")
        cure = "; it is not a gzip file, or damaged: copy it again" if packed else ""
        raise UsageError(harmless(f"{path} cannot be read after {done:,} row(s): {error}{cure}")) from error
    except UnicodeError as error:
        raise UsageError(
            f"{path} cannot be read after {done:,} row(s): {error}; set encoding= in DataFile(...)"
        ) from error
