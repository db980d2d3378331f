"""The join's state as the batch at work sees it: what is committed, under what the batch has changed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from schemas.state import JoinPosition, JoinRecord
from streams.join.join_rules import JoinRules
from streams.join.pending import Changes, Due, StateStore, due_of, early_size
from streams.native.table import TableOverlay, TableStore


class Overlay:
    """Reads and changes over a store, which changes by `commit` only.

    Parameters
    ----------
    store
        What is committed.
    rules
        From which follows when what is held falls due.
    """

    def __init__(self, store: StateStore, rules: JoinRules) -> None:
        self._store, self._rules = store, rules
        self.waiting = sum(store.waiting().values())
        """How many requests wait, with the batch at work."""
        self._fresh()

    def _fresh(self) -> None:
        store = self._store
        self.changes = Changes(waiting=dict(store.waiting()), early_bytes=store.early_bytes())
        """What `commit` will apply."""
        self._heap: list[Due] = []
        """What the batch added to the due index, with what it dropped of that again."""
        self._cursor: Iterator[Due] | None = None
        """Through the committed index, opened when it is first asked for."""
        self._head: Due | None = None
        """Where it stands; None at its end."""

    @property
    def oldest(self) -> int | None:
        """Where the oldest cohort of the requests that wait begins (ms); None when none waits."""
        return min(self.changes.waiting, default=None)

    def get(self, request_id: str) -> JoinRecord | None:
        """Give what is held of a request id; None when nothing is."""
        states = self.changes.states
        return states[request_id] if request_id in states else self._store.get(request_id)

    def put(self, request_id: str, state: JoinRecord | None) -> None:
        """Hold something of a request id; None forgets."""
        changes, before = self.changes, self.get(request_id)
        changes.states[request_id] = state
        if (
            state is not None
            and state.prediction is not None
            and (before is None or before.prediction is None)
        ):
            changes.opened.add(request_id)
        self._count(before, -1)
        self._count(state, 1)
        was = None if before is None else due_of(self._rules, request_id, before)
        due = None if state is None else due_of(self._rules, request_id, state)
        if was == due:
            return
        if was is not None:
            if was in changes.added:
                changes.added.remove(was)
            else:
                changes.dropped.add(was)
        if due is not None:
            changes.added.add(due)
            heapq.heappush(self._heap, due)

    def _count(self, state: JoinRecord | None, by: int) -> None:
        if state is None:
            return
        if state.early:
            self.changes.early_bytes += by * sum(map(early_size, state.early))
        if state.status != "waiting" or state.request_ts is None:
            return
        waiting, cohort = self.changes.waiting, self._rules.cohort(state.request_ts)
        waiting[cohort] = waiting.get(cohort, 0) + by
        if not waiting[cohort]:
            del waiting[cohort]
        self.waiting += by

    def first_due(self) -> Due | None:
        """Give what falls due first; None when nothing is held."""
        heap, added, dropped = self._heap, self.changes.added, self.changes.dropped
        while heap and heap[0] not in added:
            heapq.heappop(heap)
        if self._cursor is None:
            self._cursor = self._store.due()
            self._head = next(self._cursor, None)
        while self._head is not None and self._head in dropped:
            self._head = next(self._cursor, None)
        head = self._head
        if heap and (head is None or heap[0] < head):
            return heap[0]
        return head

    def commit(self, position: JoinPosition | None) -> None:
        """Make the changes lasting."""
        changes = self.changes
        changes.position = position
        self._cursor = None  # it ends before the store changes
        self._store.apply(changes)
        self._fresh()

    def rollback(self) -> None:
        """Drop the changes."""
        self._fresh()
        self.waiting = sum(self.changes.waiting.values())


def overlay_of(store: StateStore | TableStore, rules: JoinRules) -> Overlay | TableOverlay:
    """Return what a batch sees of a store, and changes."""
    return store.overlay() if isinstance(store, TableStore) else Overlay(store, rules)
