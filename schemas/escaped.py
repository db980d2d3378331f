"""Text that others have sent, escaped: it cannot steer a terminal, or break a line of a log."""

from __future__ import annotations

from typing import Final

MAX_TEXT: Final = 200
"""Characters of a value that are shown."""


def line(text: str, most: int = MAX_TEXT) -> str:
    r"""Give a text on one line, cut to a length, without what would steer a terminal.

    Examples
    --------
    >>> line("a\x1b[2Jb\u202e\n")
    'a\\x1b[2Jb\\u202e\\n'
    """
    cut = harmless(text[:most])
    return cut if len(text) <= most else f"{cut}… ({len(text):,} characters)"


def harmless(text: str, keep: str = "") -> str:
    r"""Escape what would steer a terminal, but for the characters that are kept.

    Examples
    --------
    >>> harmless("red \x1b[31m")
    'red \\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable() or each in keep
        else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )
