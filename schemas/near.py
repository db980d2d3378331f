"""Which of the names that a sender used may stand for one that is missing."""

from __future__ import annotations

from collections.abc import Container, Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Final

NAME_SHOWN: Final = 60
"""Characters of a sender's name that are compared and shown."""
MOST: Final = 20
"""Unknown names that are compared; a sender decides how many there are."""


def sent_as(missing: str, sent: Iterable[str], known: Container[str]) -> str:
    """Ask whether a missing field was sent under another name; empty where none is near.

    Examples
    --------
    >>> sent_as("country", ["value", "contry"], {"value", "country"})
    "; was it sent as 'contry'?"
    >>> sent_as("country", ["value"], {"value", "country"})
    ''
    """
    unknown = islice((name for name in sent if name not in known), MOST)
    near = get_close_matches(missing[:NAME_SHOWN], [name[:NAME_SHOWN] for name in unknown], 1)
    return f"; was it sent as {near[0]!r}?" if near else ""
