"""The join's memory: what it holds per request id, what a batch has changed, and what is due when."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Protocol

from schemas.state import HeldState


class StateStore(Protocol):
    """Port: the committed state of one partition's join."""

    def get(self, request_id: str) -> HeldState | None:
        """Give what is held of a request id; None when nothing is."""

    def apply(self, changes: Mapping[str, HeldState | None]) -> None:
        """Take over the changes of a committed batch; None forgets."""

    def items(self) -> Iterator[tuple[str, HeldState]]:
        """Go through everything that is held, in any order."""


class MemoryStore:
    """A `StateStore` in a dict."""

    def __init__(self) -> None:
        self._held: dict[str, HeldState] = {}

    def get(self, request_id: str) -> HeldState | None:
        """See `StateStore.get`."""
        return self._held.get(request_id)

    def apply(self, changes: Mapping[str, HeldState | None]) -> None:
        """See `StateStore.apply`."""
        for request_id, state in changes.items():
            if state is None:
                self._held.pop(request_id, None)
            else:
                self._held[request_id] = state

    def items(self) -> Iterator[tuple[str, HeldState]]:
        """See `StateStore.items`."""
        return iter(self._held.items())


Due = tuple[int, int, str]
"""(due time, offset of the prediction, request id): the order in which things fall due."""


class Timers:
    """What falls due when, in the order of (due time, request position).

    A timer whose request has moved on meanwhile is not removed but passed over when it comes up: the caller
    compares it with the state. What a batch pushed and popped becomes lasting by `commit` only.
    """

    def __init__(self) -> None:
        self._heap: list[Due] = []
        self._pushed: list[Due] = []
        """A heap too: the timers of the batch at work."""
        self._popped: list[Due] = []

    def push(self, due: Due) -> None:
        """Note that something falls due."""
        heapq.heappush(self._pushed, due)

    def pop(self, until: Due) -> Due | None:
        """Take the earliest that is due before or at `until`; None when there is none."""
        heap = self._heap
        if self._pushed and (not heap or self._pushed[0] < heap[0]):
            heap = self._pushed
        if not heap or heap[0] > until:
            return None
        due = heapq.heappop(heap)
        if heap is self._heap:
            self._popped.append(due)
        return due

    def next_due(self) -> int | None:
        """Give the time at which the next thing falls due, or fell due for something that has moved on."""
        return min((heap[0][0] for heap in (self._heap, self._pushed) if heap), default=None)

    def commit(self) -> None:
        """Keep what was pushed and forget what was popped."""
        for due in self._pushed:
            heapq.heappush(self._heap, due)
        self._pushed.clear()
        self._popped.clear()

    def rollback(self) -> None:
        """Put back what was popped and forget what was pushed since the last commit."""
        for due in self._popped:
            heapq.heappush(self._heap, due)
        self._pushed.clear()
        self._popped.clear()
