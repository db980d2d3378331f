"""The join's state in the native table: what `Overlay` over a store in memory is in Python, and one thing.

`Join` reads and changes it request by request, as it does an overlay, and lets the table take what it can on its
own: `TableOverlay.take`. Entries and changes come out as bytes then, as the codec writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from schemas.state import JoinPosition, JoinRecord, Resolution
from schemas.written import WrittenEntry
from streams.join.join_rules import JoinRules
from streams.join.pending import Due, due_of, early_size

NOTHING: Final[frozenset[Due]] = frozenset()


class Taken(NamedTuple):
    """What the table took of some records."""

    taken: int
    stream_time: int
    most_waiting: int
    predictions: int
    """Next offset."""
    outcomes: int
    """Next offset."""
    counters: list[tuple[str, int]]
    """What to add to each, in the order in which they were raised."""
    entries: list[WrittenEntry]


class TableStore:
    """The committed state of one partition's join, in the native table.

    Parameters
    ----------
    table
        The compiled module's `Table`.
    rules
        Those that it was made with.
    """

    def __init__(self, table: Any, rules: JoinRules) -> None:
        self._table, self._rules = table, rules
        self._position: JoinPosition | None = None

    def overlay(self) -> TableOverlay:
        """Give what a batch changes: the same state, which `commit` makes lasting."""
        return TableOverlay(self._table, self._rules, self._commit)

    def _commit(self, position: JoinPosition | None) -> None:
        self._position = position or self._position

    def get(self, request_id: str) -> JoinRecord | None:
        """See `StateStore.get`."""
        found: JoinRecord | None = self._table.get(request_id)
        return found

    def due(self) -> Iterator[Due]:
        """See `StateStore.due`."""
        return iter(self._table.due())

    def items(self) -> Iterator[tuple[str, JoinRecord]]:
        """See `StateStore.items`."""
        return ((name, self._table.get(name)) for name in self._table.ids())

    def waiting(self) -> Mapping[int, int]:
        """See `StateStore.waiting`."""
        return MappingProxyType(self._table.cohorts)

    def early_bytes(self) -> int:
        """See `StateStore.early_bytes`."""
        return self._table.early_bytes  # type: ignore[no-any-return]

    def position(self) -> JoinPosition | None:
        """See `StateStore.position`."""
        return self._position

    def close(self) -> None:
        """See `StateStore.close`."""


class TableChanges:
    """What the batch at work has changed."""

    added = dropped = NOTHING
    """The due index is that of the batch."""

    def __init__(self, table: Any) -> None:
        self._table = table

    @property
    def states(self) -> dict[str, JoinRecord | None]:
        """By request id; None forgets."""
        changed: dict[str, JoinRecord | None] = self._table.changed()
        return changed

    @property
    def waiting(self) -> Mapping[int, int]:
        """How many requests wait, by cohort."""
        return MappingProxyType(self._table.cohorts)

    @property
    def early_bytes(self) -> int:
        """Memory of all early outcomes."""
        return self._table.early_bytes  # type: ignore[no-any-return]

    def records(self) -> list[tuple[bytes, JoinRecord | Resolution | bytes | None]]:
        """Give what the changelog gets, by key; None is a tombstone."""
        found: list[tuple[bytes, JoinRecord | Resolution | bytes | None]] = self._table.records()
        return found


class TableOverlay:
    """Reads and changes the table; see `Overlay`, which it stands for."""

    def __init__(
        self, table: Any, rules: JoinRules, committed: Callable[[JoinPosition | None], None]
    ) -> None:
        self._table, self._rules, self._committed = table, rules, committed
        self.changes = TableChanges(table)

    @property
    def waiting(self) -> int:
        """How many requests wait, with the batch at work."""
        return self._table.waiting  # type: ignore[no-any-return]

    @property
    def oldest(self) -> int | None:
        """See `Overlay.oldest`."""
        return self._table.oldest  # type: ignore[no-any-return]

    def get(self, request_id: str) -> JoinRecord | None:
        """See `Overlay.get`."""
        return self._table.get(request_id)  # type: ignore[no-any-return]

    def put(self, request_id: str, state: JoinRecord | None) -> None:
        """See `Overlay.put`."""
        before: JoinRecord | None = self._table.get(request_id)
        early = self._table.early_bytes - _early(before) + _early(state)
        due = None if state is None else due_of(self._rules, request_id, state)[:2]
        waits = state is not None and state.status == "waiting"
        self._table.put(request_id, state, due, waits, early)

    def first_due(self) -> Due | None:
        """See `Overlay.first_due`."""
        return self._table.first_due()  # type: ignore[no-any-return]

    def commit(self, position: JoinPosition | None) -> None:
        """See `Overlay.commit`."""
        self._table.commit()
        self._committed(position)

    def rollback(self) -> None:
        """See `Overlay.rollback`."""
        self._table.rollback()

    def take(
        self, items: list[Any], start: int, stream_time: int, most: int, predictions: int, outcomes: int
    ) -> Taken:
        """Take records that were scanned, from one of them on, up to the first that is the reference's.

        That one has changed nothing. The others have done what `Join` does with them.
        """
        taken, time, waited, *places, counters, entries = self._table.take(
            items, start, stream_time, most, predictions, outcomes
        )
        return Taken(
            taken, time, waited, places[0], places[1], counters, [WrittenEntry(each) for each in entries]
        )


def _early(state: JoinRecord | None) -> int:
    return sum(map(early_size, state.early)) if state is not None and state.early else 0
