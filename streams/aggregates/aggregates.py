"""The aggregates of one partition of a task's requests: what was counted, and what a request sees of it.

Nothing here reads a clock. What is counted, and what is forgotten, follows from the requests in the order of their
offsets alone, wherever a batch was cut.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from schemas.records import FeatureValue, Request
from schemas.state import AggregatesPosition, CountedRequest
from streams.aggregates.aggregate import ENTITY_KEY, LATENESS, Aggregate, values_of
from streams.aggregates.history import History, Row
from streams.datafile import Event
from streams.task import Task

MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class AggregateRules:
    """What a task's aggregates are, and how long their requests are kept.

    Attributes
    ----------
    lateness_ms
        How far a request's time may lie before stream time: beyond it, its aggregates do not exist.
    """

    aggregates: tuple[Aggregate, ...]
    lateness_ms: int = LATENESS // MS

    @classmethod
    def of(cls, task: Task) -> AggregateRules:
        """Return the rules of a task that has aggregates."""
        return cls(tuple(task.aggregates), task.lateness // MS)

    @property
    def by(self) -> str:
        """What names the entity."""
        return self.aggregates[0].by

    @property
    def values(self) -> tuple[str, ...]:
        """The features whose values are kept."""
        return values_of(self.aggregates)

    @property
    def kept_ms(self) -> int:
        """How long before stream time requests are kept: for the longest window of the latest request."""
        return max(each.window_ms for each in self.aggregates) + self.lateness_ms

    def entity(self, request: Request) -> str | None:
        """Return whose request it is; None where it does not say."""
        if self.by == ENTITY_KEY:
            return request.entity_key
        found = request.features.get(self.by)
        return None if found is None else str(found)


def request_key(task: Task) -> Callable[[Request], str | None]:
    """Return what gives the key with which a request lies where it belongs; None: its id will do."""
    return AggregateRules.of(task).entity if task.aggregates else lambda request: None


def aggregated(task: Task, events: Sequence[Event]) -> list[Event]:
    """Return a file's events, in the order of their times, with all features, as serving would have made them.

    Raises
    ------
    BadRecord
        An aggregate is missing that the dictionary requires.
    """
    if not task.aggregates:
        return list(events)
    state, names = Aggregates(AggregateRules.of(task)), {each.name for each in task.aggregates}
    complete = list[Event]()
    for offset, event in enumerate(events):
        found = state.take(event.request, offset)
        state.commit()
        own = {name: value for name, value in event.request.features.items() if name not in names}
        request = replace(event.request, features=task.features.complete(own, found))
        complete.append(replace(event, request=request))
    return complete


class Aggregates:
    """The aggregates of one partition.

    Parameters
    ----------
    rules
        The task's.

    Notes
    -----
    `take` changes the state at once and keeps how to undo it: `commit` after the transaction, or `rollback`.
    """

    def __init__(self, rules: AggregateRules) -> None:
        self.rules = rules
        self.stream_time = -1
        """Newest event time of the requests taken (ms); -1: none yet."""
        self.next_offset = 0
        """Of the partition of requests."""
        self._columns = {name: place for place, name in enumerate(rules.values)}
        self._of = [(each, self._columns.get(each.value)) for each in rules.aggregates]
        self._kept_ms, self._lateness_ms = rules.kept_ms, rules.lateness_ms
        self._histories: dict[str, History] = {}
        self._counted: dict[str, tuple[str, int]] = {}
        """By request id: whose it is, and its time."""
        self._oldest: list[tuple[int, str]] = []
        """Heap of (time, request id), also of some that are not counted any more."""
        self._added: dict[str, None] = {}
        self._dropped: dict[str, CountedRequest] = {}
        """Of the batch: what it has added, and what it has dropped of what was committed."""
        self._committed = (self.stream_time, self.next_offset)

    def __len__(self) -> int:
        """Return how many requests are kept."""
        return len(self._counted)

    @property
    def entities(self) -> int:
        """How many entities have requests that are kept."""
        return len(self._histories)

    # ------------------------------------------------------------------ requests

    def take(self, request: Request, offset: int) -> dict[str, FeatureValue | None]:
        """Return the aggregates of a request, and count it for those that come after it.

        Returns
        -------
        dict
            By aggregate; None where one does not exist: of nothing, of a request that names no entity, or of one
            that came too late for all requests of its window to be known.
        """
        ts, name = request.ts, request.request_id
        if ts > self.stream_time:
            self.stream_time = ts
            self._forget(ts - self._kept_ms)
        self.next_offset = offset + 1
        entity = self.rules.entity(request)
        if entity is None:
            return {each.name: None for each, _ in self._of}
        found = self._seen(entity, ts, name)
        if name not in self._counted and ts >= self.stream_time - self._kept_ms:
            row = tuple(request.features.get(each) for each in self._columns)
            self._put(entity, ts, offset, name, row)
            self._added[name] = None
        return found

    def too_late(self, ts: int) -> bool:
        """Whether a request of that time would come too late."""
        return ts < self.stream_time - self._lateness_ms

    def _seen(self, entity: str, ts: int, name: str) -> dict[str, FeatureValue | None]:
        if self.too_late(ts):
            return {each.name: None for each, _ in self._of}
        history = self._histories.get(entity) or History(len(self._columns))
        without = name if name in self._counted else ""
        return {each.name: history.aggregate(each, column, ts, without) for each, column in self._of}

    def _put(self, entity: str, ts: int, offset: int, name: str, row: Row) -> None:
        history = self._histories.get(entity)
        if history is None:
            history = self._histories[entity] = History(len(self._columns))
        history.add(ts, offset, name, row)
        self._counted[name] = entity, ts
        heapq.heappush(self._oldest, (ts, name))

    def _forget(self, before: int) -> None:
        """Drop all requests before a time."""
        oldest = self._oldest
        while oldest and oldest[0][0] < before:
            ts, name = heapq.heappop(oldest)
            entity, counted = self._counted.get(name, ("", -1))
            if counted == ts:  # else it is of a batch that was dropped, or was sent again since
                self._drop(name, entity, ts)

    def _drop(self, name: str, entity: str, ts: int) -> None:
        dropped = self._take_out(name, entity, ts)
        if name in self._added:
            del self._added[name]
        else:
            self._dropped[name] = dropped

    def _take_out(self, name: str, entity: str, ts: int) -> CountedRequest:
        history = self._histories[entity]
        offset, row = history.remove(ts, name)
        if not history:
            del self._histories[entity]
        del self._counted[name]
        return self._record(entity, ts, offset, row)

    def _record(self, entity: str, ts: int, offset: int, row: Row) -> CountedRequest:
        values = {each: value for each, value in zip(self._columns, row, strict=True) if value is not None}
        return CountedRequest(entity, ts, offset, values)

    # ------------------------------------------------------------------ batches

    def changes(self) -> Iterator[tuple[str, CountedRequest | None]]:
        """Return what the batch has changed, by request id; None: it is dropped."""
        for name in self._dropped:
            if name not in self._added:
                yield name, None
        for name in self._added:
            entity, ts = self._counted[name]
            yield name, self._record(entity, ts, *self._histories[entity].find(ts, name))

    @property
    def changed(self) -> bool:
        """Whether the batch has taken anything."""
        return self._committed != (self.stream_time, self.next_offset)

    def position(self, requests_id: str = "") -> AggregatesPosition:
        """Return how far the state is, with the batch at work."""
        stream_time = None if self.stream_time < 0 else self.stream_time
        return AggregatesPosition(stream_time, self.next_offset, requests_id, self.rules.by)

    def commit(self) -> None:
        """Keep the batch's changes: its transaction has committed."""
        self._added, self._dropped = {}, {}
        self._committed = (self.stream_time, self.next_offset)

    def rollback(self) -> None:
        """Undo the batch's changes: its transaction is known not to have committed."""
        for name in self._added:
            self._take_out(name, *self._counted[name])
        for name, each in self._dropped.items():
            self._put_back(name, each)
        self.stream_time, self.next_offset = self._committed
        self.commit()

    # ------------------------------------------------------------------ the changelog

    def load(self, name: str, counted: CountedRequest | None) -> None:
        """Take over a record of the changelog, into a state that has taken no request; the last of an id counts."""
        if (known := self._counted.get(name)) is not None:
            self._take_out(name, *known)
        if counted is not None:
            self._put_back(name, counted)

    def go_on(self, position: AggregatesPosition) -> None:
        """Go on where the changelog left off; the last position counts."""
        self.stream_time = -1 if position.stream_time is None else position.stream_time
        self.next_offset = position.requests
        self._committed = (self.stream_time, self.next_offset)

    def _put_back(self, name: str, each: CountedRequest) -> None:
        row = tuple(each.values.get(column) for column in self._columns)
        self._put(each.entity, each.ts, each.offset, name, row)
