"""The join's changelog: what a batch writes to it, and a store filled from it, some records at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from schemas.state import RESOLVED, JoinPosition, JoinRecord, Resolution
from streams.join.join_rules import JoinRules
from streams.join.overlay import overlay_of
from streams.join.pending import Changes, StateStore
from streams.native.table import TableChanges, TableStore

AT_ONCE: Final = 2000
"""Records that are taken over together: memory stays flat however long the changelog is."""

Change = tuple[str, JoinRecord | Resolution | None] | JoinPosition
"""A record of the changelog: what is held of a request id, how it was resolved, or how far the join was."""


def records(
    changes: Changes | TableChanges,
) -> Iterable[tuple[bytes, JoinRecord | Resolution | bytes | None]]:
    """Give what a batch writes, by key; None is a tombstone.

    What the native table holds comes as the bytes that the codec writes of it.

    A prediction is written once: when its request is resolved in a later batch, a `Resolution` lies beside it under
    a key of its own.
    """
    return changes.records() if isinstance(changes, TableChanges) else _of(changes)


def _of(changes: Changes) -> Iterator[tuple[bytes, JoinRecord | Resolution | None]]:
    for request_id, state in changes.states.items():
        key = request_id.encode()
        if state is None:
            yield key, None
            yield RESOLVED + key, None
        elif state.resolution is None or request_id in changes.opened:
            yield key, state
        else:
            yield RESOLVED + key, state.resolution


def fill(store: StateStore | TableStore, rules: JoinRules, changes: Iterable[Change]) -> int:
    """Bring a store up to date; gives the number of changes.

    The last change of a request id counts. So a store that holds a prefix of the changelog may be filled from
    any place before the prefix's end. A resolution of a request of which the prefix holds nothing is skipped:
    the prefix has forgotten it.

    Parameters
    ----------
    store
        Empty, or filled from the same changelog before.
    rules
        Those with which its due index was made.
    changes
        In the changelog's order.
    """
    overlay, count = overlay_of(store, rules), 0
    source = iter(changes)
    while batch := list(islice(source, AT_ONCE)):
        position: JoinPosition | None = None
        for change in batch:
            if isinstance(change, JoinPosition):
                position = change
                continue
            request_id, state = change
            if isinstance(state, Resolution):
                pending = overlay.get(request_id)
                if pending is None or pending.prediction is None:
                    continue
                state = replace(pending, resolution=state)
            overlay.put(request_id, state)
        overlay.commit(position)
        count += len(batch)
    return count
