"""Names that may be counted and shown: those of the contract and of the dictionary, never a sender's text."""

from __future__ import annotations

from typing import Final

from schemas.dictionary import Dictionary
from schemas.records import Outcome, Prediction, Request

OTHER: Final = "other"
"""Stands for every other name."""
_FIELDS: Final = frozenset(name for each in (Request, Outcome, Prediction) for name in each.__slots__)


def known_paths(dictionary: Dictionary) -> frozenset[str]:
    """Return the paths at which a record of a task may be at fault.

    Examples
    --------
    >>> from schemas.dictionary import Number
    >>> paths = known_paths(Dictionary(Number(name="price")))
    >>> "features.price" in paths, "request_id" in paths, "features.colour" in paths
    (True, True, False)
    """
    return _FIELDS | {f"features.{each.name}" for each in dictionary}
