"""The lines of a file of text, of bounded length, in a declared or found encoding."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from schemas.errors import UsageError

MAX_LINE: Final = 4 * 1024 * 1024
GUESS: Final = "cp1252"
"""The encoding that a message tries out for a text that is not UTF-8: that of Windows in western Europe."""


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a file of text, compressed if its name ends in .gz.

    A byte that is no text in the encoding becomes a surrogate, which `not_text` names.

    Parameters
    ----------
    path
        The file.
    encoding
        As declared; empty: UTF-8, or UTF-16 where its mark stands in front.
    """
    packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if packed else path.open("rb") as file:
        if not encoding:
            is_wide = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
            encoding = "utf-16" if is_wide else "utf-8"
        if codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"
        with io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline="") as text:
            yield text


def found_encoding(path: Path) -> str:
    """Return the encoding of a text file that is not UTF-8 as far as its beginning shows; empty where it is."""
    with opened(path, "") as text:
        start = text.read(MAX_LINE)
    return "" if is_text(start) else GUESS


def lines(text: TextIO, path: Path) -> Iterator[str]:
    """Yield lines of bounded length: a few compressed bytes can stand for one that fills the memory."""
    number = 0
    while line := text.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise UsageError(f"{path}, line {number}: the line has more than {MAX_LINE:,} characters")
        yield line


def is_text(cell: str) -> bool:
    """Whether a cell's bytes were text in the file's encoding."""
    return cell.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in cell)


def not_text(cell: str, encoding: str) -> str:
    """Say what is wrong with a cell whose bytes are no text, and what it would be in another encoding."""
    raw = cell.encode(encoding or "utf-8", "surrogateescape")
    try:
        guess = f"encoding={GUESS!r} in DataFile(...), with which it reads {raw.decode(GUESS)!r:.60}"
    except UnicodeDecodeError:
        guess = "encoding= in DataFile(...)"
    return f"{raw!r:.80} is not {encoding or 'UTF-8'}; set {guess}"
