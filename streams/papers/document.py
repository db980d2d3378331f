"""A document of headings, paragraphs, tables and code, as Markdown and as HTML; every text is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from schemas.escaped import harmless

SPECIAL: Final = re.compile(r"([\\`*\[\]|~$])|(?<![^\W_])(_)|(_)(?![^\W_])")
"""What Markdown would read as a mark, an underscore within a word excepted."""
LEADING: Final = re.compile(r"^(\d+)([.)])(?=\s|$)|^([#+=:-])")
ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.2rem; border-bottom: 1px solid #8886; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.9rem; }
th, td { border: 1px solid #8886; padding: 0.25rem 0.6rem; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { overflow-x: auto; padding: 0.8rem; border: 1px solid #8886; font-size: 0.85rem; }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of plain texts."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Code:
    """Lines that are shown as they are."""

    text: str


Block = Heading | Paragraph | Table | Code
UNKNOWN: Final = "not known"


def when(ts: int | None) -> str:
    """Return a time for people.

    Examples
    --------
    >>> when(1_700_000_000_000)
    '2023-11-14 22:13:20'
    """
    return UNKNOWN if ts is None else datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def fields(rows: Sequence[tuple[str, str]]) -> Table:
    """Return a table of names and values."""
    return Table(("field", "value"), rows)


def markdown(blocks: Sequence[Block]) -> str:
    r"""Return a document as Markdown; nothing in a text is taken for a mark or for HTML.

    Examples
    --------
    >>> print(markdown([Table(("by", "reason"), [("ada", "<b>*odd*</b> | outcomes of country_code")])]), end="")
    by | reason
    --- | ---
    ada | &lt;b&gt;\*odd\*&lt;/b&gt; \| outcomes of country_code
    """
    return "\n".join(_markdown(block) for block in blocks)


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_text(block.text)}\n"
    if isinstance(block, Paragraph):
        return f"{_text(block.text)}\n"
    if isinstance(block, Code):
        lines = harmless(block.text, keep="\n")
        fence = "`" * max(3, 1 + max((len(each) for each in re.findall("`+", lines)), default=0))
        return f"{fence}text\n{lines}\n{fence}\n"
    rows = [block.columns, ["---"] * len(block.columns)]
    return "\n".join(
        [_row(rows[0]), " | ".join(rows[1]), *(_row(row) for row in block.rows), ""],
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    text = " | ".join([_text(first), *(_inner(cell) for cell in others)])
    # Bars at the ends only where a cell at an end is empty.
    return text if cells[0] and cells[-1] else f"| {text} |"


def _text(text: str) -> str:
    """Escape a text at the beginning of a line."""
    return LEADING.sub(lambda found: f"{found[1]}\\{found[2]}" if found[1] else f"\\{found[3]}", _inner(text))


def _inner(text: str) -> str:
    """Escape a text within a line."""
    line = " ".join(harmless(text, keep="\n").split())
    line = SPECIAL.sub(lambda found: f"\\{found[0]}", line)
    return re.sub("[&<>]", lambda found: ENTITIES[found[0]], line)


def page(title: str, blocks: Sequence[Block]) -> str:
    """Return a document as one HTML file that loads nothing and runs nothing.

    Examples
    --------
    >>> "<p>&lt;script&gt;</p>" in page("card", [Paragraph("<script>")])
    True
    """
    body = "\n".join(_html(block) for block in blocks)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_escaped(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{_escaped(block.text)}</h{block.level}>"
    if isinstance(block, Paragraph):
        return f"<p>{_escaped(block.text)}</p>"
    if isinstance(block, Code):
        return f"<pre>{html.escape(harmless(block.text, keep=chr(10)))}</pre>"
    head = "".join(f'<th scope="col">{_escaped(each)}</th>' for each in block.columns)
    rows = "\n".join(f"<tr>{''.join(_cell(each) for each in row)}</tr>" for row in block.rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _cell(text: str) -> str:
    is_number = re.fullmatch(r"-?[0-9][0-9,]*(?:\.[0-9]+)?", text) is not None
    kind = ' class="number"' if is_number else ""
    return f"<td{kind}>{_escaped(text)}</td>"


def _escaped(text: str) -> str:
    return html.escape(harmless(text))
