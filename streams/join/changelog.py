"""A store filled from the join's changelog, some records at a time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from schemas.state import HeldState, JoinPosition
from streams.join.overlay import Overlay
from streams.join.pending import StateStore
from streams.join.rules import JoinRules

AT_ONCE: Final = 2000
"""Records that are taken over together: memory stays flat however long the changelog is."""

Change = tuple[str, HeldState | None] | JoinPosition
"""A record of the changelog: what became of a request id, or how far the join was."""


def fill(store: StateStore, rules: JoinRules, changes: Iterable[Change]) -> int:
    """Bring a store up to date; gives the number of changes.

    The last change of a request id counts. So a store that holds a prefix of the changelog may be filled from
    any place before the prefix's end.

    Parameters
    ----------
    store
        Empty, or filled from the same changelog before.
    rules
        Those with which its due index was made.
    changes
        In the changelog's order.
    """
    overlay, count = Overlay(store, rules), 0
    source = iter(changes)
    while batch := list(islice(source, AT_ONCE)):
        position: JoinPosition | None = None
        for change in batch:
            if isinstance(change, JoinPosition):
                position = change
            else:
                overlay.put(*change)
        overlay.commit(position)
        count += len(batch)
    return count
