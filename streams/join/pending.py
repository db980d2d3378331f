"""The join's memory: what it holds per request id, and in which order that falls due."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from schemas.state import EarlyOutcome, JoinPosition, JoinRecord
from streams.join.join_rules import JoinRules

Due = tuple[int, int, str]
"""(due time, offset of the prediction or -1, request id): the order in which things fall due."""


EARLY_BYTES: Final = 800
"""Memory of an early outcome beside its texts, as measured with CPython 3.11."""


@dataclass(slots=True)
class Changes:
    """What one committed batch changes: a store takes it over whole, or not at all."""

    states: dict[str, JoinRecord | None] = field(default_factory=dict)
    """By request id; None forgets."""
    opened: set[str] = field(default_factory=set)
    """Request ids whose predictions came with this batch."""
    dropped: set[Due] = field(default_factory=set)
    """What has left the due index; it goes before what is added."""
    added: set[Due] = field(default_factory=set)
    """What has come into it."""
    waiting: dict[int, int] = field(default_factory=dict)
    """How many requests wait after the batch, all in all, by the beginning of their cohort (`JoinRules.cohort`)."""
    early_bytes: int = 0
    """Memory of all early outcomes after the batch (`early_size`)."""
    position: JoinPosition | None = None
    """How far the join is after the batch; None leaves it as it was."""


class StateStore(Protocol):
    """Port: the committed state of one partition's join, with an index of what falls due.

    Exactly one entry of the index belongs to each id that is held, that of `due_of`; the caller sees to it.
    """

    def get(self, request_id: str) -> JoinRecord | None:
        """Give what is held of a request id; None when nothing is."""

    def due(self) -> Iterator[Due]:
        """Go through the due index in its order; may be left early, and ends to be valid with `apply`."""

    def apply(self, changes: Changes) -> None:
        """Take over a committed batch: states, index, waiting requests and position at once."""

    def items(self) -> Iterator[tuple[str, JoinRecord]]:
        """Go through everything that is held, in any order."""

    def waiting(self) -> Mapping[int, int]:
        """Return how many requests wait by cohort, after the last batch."""

    def early_bytes(self) -> int:
        """Return the memory of all early outcomes (`early_size`), after the last batch."""

    def position(self) -> JoinPosition | None:
        """Return the join's position after the last batch; None at the beginning."""

    def close(self) -> None:
        """Let go of what the store holds open; it is not used afterwards."""


class MemoryStore:
    """A `StateStore` in a dict and a heap."""

    def __init__(self) -> None:
        self._pending: dict[str, JoinRecord] = {}
        self._heap: list[Due] = []
        self._dropped: set[Due] = set()
        """What is still in the heap and not due any more; never more than half of it, and some."""
        self._waiting: Mapping[int, int] = {}
        self._early_bytes = 0
        self._position: JoinPosition | None = None

    def get(self, request_id: str) -> JoinRecord | None:
        """See `StateStore.get`."""
        return self._pending.get(request_id)

    def due(self) -> Iterator[Due]:
        """See `StateStore.due`."""
        heap, dropped = self._heap, self._dropped
        # The smallest come first without being taken out: below each place of a heap lie two that are not smaller.
        edge = [(heap[0], 0)] if heap else []
        while edge:
            due, place = heapq.heappop(edge)
            for below in (2 * place + 1, 2 * place + 2):
                if below < len(heap):
                    heapq.heappush(edge, (heap[below], below))
            if due not in dropped:
                yield due

    def apply(self, changes: Changes) -> None:
        """See `StateStore.apply`."""
        pending, heap, dropped = self._pending, self._heap, self._dropped
        for request_id, state in changes.states.items():
            if state is None:
                pending.pop(request_id, None)
            else:
                pending[request_id] = state
        dropped |= changes.dropped
        for due in changes.added:
            if due in dropped:
                dropped.remove(due)  # it is in the heap still
            else:
                heapq.heappush(heap, due)
        while heap and heap[0] in dropped:
            dropped.remove(heapq.heappop(heap))
        if len(dropped) > len(heap) // 2 + 100:
            self._heap = [due for due in heap if due not in dropped]
            heapq.heapify(self._heap)
            self._dropped = set()
        self._waiting, self._early_bytes = changes.waiting, changes.early_bytes
        self._position = changes.position or self._position

    def items(self) -> Iterator[tuple[str, JoinRecord]]:
        """See `StateStore.items`."""
        return iter(self._pending.items())

    def waiting(self) -> Mapping[int, int]:
        """See `StateStore.waiting`."""
        return self._waiting

    def early_bytes(self) -> int:
        """See `StateStore.early_bytes`."""
        return self._early_bytes

    def position(self) -> JoinPosition | None:
        """See `StateStore.position`."""
        return self._position

    def close(self) -> None:
        """See `StateStore.close`."""


def early_size(early: EarlyOutcome) -> int:
    """Give about how many bytes of memory an early outcome takes: by its content alone, so everywhere the same.

    Examples
    --------
    >>> from schemas.records import Outcome, Position
    >>> at = Position("outcomes", 0, 7)
    >>> early_size(EarlyOutcome(Outcome("a-1", 5, None, reason="lost"), at, 6))
    807
    >>> early_size(EarlyOutcome(Outcome("a-1", 5, None, reason="weg, tja…"), at, 6))
    839
    """
    outcome, value = early.outcome, early.outcome.value
    texts = (outcome.request_id, outcome.reason, outcome.reporter, value if isinstance(value, str) else None)
    # Python keeps up to four bytes for each character of a text that is not ASCII.
    return EARLY_BYTES + sum(len(each) * (1 if each.isascii() else 4) for each in texts if each)


def due_of(rules: JoinRules, request_id: str, pending: JoinRecord) -> Due:
    """Give when something happens to what is held if nothing else comes.

    Examples
    --------
    >>> from schemas.records import Position
    >>> rules = JoinRules(
    ...     horizon_ms=100, revision_horizon_ms=1000, early_horizon_ms=50, grace_ms=10, max_ahead_ms=300
    ... )
    >>> due_of(rules, "a", JoinRecord(Position("predictions", 0, 7), 5))
    (105, 7, 'a')
    """
    if pending.request_ts is None:
        return min(each.outcome.ts for each in pending.early) + rules.early_horizon_ms, -1, request_id
    remembered = rules.revision_horizon_ms if pending.status == "closed" else 0
    offset = pending.prediction_at.offset if pending.prediction_at else -1
    return pending.request_ts + rules.horizon_ms + remembered, offset, request_id
