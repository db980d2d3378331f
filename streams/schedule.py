"""The order in which the world would have sent a file's events: what must be known before each request.

Rules of River's `stream.simulate_qa`, checked on real data: before a request at time t everything due at or
before t is handled, in the order of (due time, request position); at the end what still waits is drained.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from schemas.records import Outcome, Request
from streams.datafile import Event


@dataclass(frozen=True, slots=True)
class Sync:
    """A point in time up to which the input is complete."""

    ts: int
    """Everything due at or before this time is to be resolved."""
    outcomes: tuple[Outcome, ...]
    """The outcomes due since the last sync point, in order."""


def schedule(events: Iterable[Event], horizon_ms: int) -> Iterator[Request | Sync]:
    """Put a sync point before every request before which anything is due, and one at the end.

    Parameters
    ----------
    events
        In the order of their request times.
    horizon_ms
        A request without an outcome by `ts + horizon_ms` falls due there too.

    Examples
    --------
    >>> from schemas.records import Outcome, Request
    >>> events = [Event(Request("a", 0, {}), (Outcome("a", 5, True),)), Event(Request("b", 5, {}), ())]
    >>> for step in schedule(events, horizon_ms=30):
    ...     print(type(step).__name__, step.ts, len(getattr(step, "outcomes", ())))
    Request 0 0
    Sync 5 1
    Request 5 0
    Sync 35 0
    """
    due: list[tuple[int, int, int, Outcome | None]] = []
    ts = 0
    for position, event in enumerate(events):
        ts = event.request.ts
        if due and due[0][0] <= ts:
            yield Sync(ts, tuple(_take(due, ts)))
        deadline = ts + horizon_ms
        # An outcome before its request is rejected by the join, so the request falls due at its deadline too.
        in_time = any(ts <= outcome.ts <= deadline for outcome in event.outcomes)
        for index, outcome in enumerate(event.outcomes):
            heapq.heappush(due, (outcome.ts, position, index, outcome))
        if not in_time:
            heapq.heappush(due, (deadline, position, -1, None))
        yield event.request
    if due:
        last = max(ts, max(due)[0])
        yield Sync(last, tuple(_take(due, last)))


def _take(due: list[tuple[int, int, int, Outcome | None]], ts: int) -> Iterator[Outcome]:
    while due and due[0][0] <= ts:
        outcome = heapq.heappop(due)[3]
        if outcome is not None:
            yield outcome
