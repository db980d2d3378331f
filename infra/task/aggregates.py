"""The aggregates of a task in this worker: one state for each of its partitions of requests."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Final

from infra.hooks import reached
from infra.inbound import FORWARDED, Inbound, Message
from infra.kafka.buffers import Partition
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import Headers, OutRecord
from infra.task.context import TaskContext
from infra.task.entity_places import EntityPlaces
from infra.task.resume import Resume
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from infra.trusted import unreadable_state
from schemas.errors import BadRecord, RecordsGone, TransactionAborted, Unreadable
from schemas.escaped import line
from schemas.records import FeatureValue, Request
from schemas.state import POSITION_KEY, AggregatesPosition, CountedRequest
from streams.aggregates.aggregates import Aggregates
from streams.positions import Place

Found = dict[str, FeatureValue | None]
SAID_AT: Final = frozenset({1, 10, 100, 1000, 10_000})
"""Numbers of misplaced requests with which a warning is written."""
log = logging.getLogger(__name__)


class PartitionAggregates:
    """The aggregates of a partition on Kafka.

    Parameters
    ----------
    requests_id
        Id of the topic that the offsets are of.
    restored
        Whether the changelog says where to go on.
    """

    def __init__(self, state: Aggregates, requests_id: str, *, restored: bool) -> None:
        self.state, self.requests_id, self.restored = state, requests_id, restored


class AggregatesAgent:
    """The aggregates of the partitions that are assigned to this worker.

    Parameters
    ----------
    resume
        Finds whether the changelog is whole.
    """

    def __init__(
        self, context: TaskContext, current: CurrentTopics, resume: Resume, statistics: Statistics
    ) -> None:
        self.context, self._current, self._resume = context, current, resume
        self._counts = statistics.counts
        self._places = EntityPlaces(context)
        self.rules = self._places.rules
        self.partitions: dict[int, PartitionAggregates] = {}
        self._batch: dict[int, PartitionAggregates] = {}
        """Those that the batch at work has used."""
        dictionary = context.task.features
        by = dictionary.by_name.get(self.rules.by)
        self._hashed = (by.personal_data if by else dictionary.entity_key) == "tokenised"

    # ------------------------------------------------------------------ state

    def restored(self, partition: int) -> PartitionAggregates:
        """Rebuild a partition's aggregates from their changelog (blocks); see `JoinAgent.restored`.

        Raises
        ------
        RecordsGone
            The changelog has lost records, or is of other aggregates.
        Unreadable
            The last record of a key is none of ours.
        BrokerError
            The cluster does not answer.
        """
        started, topic = time.monotonic(), self.context.topics.aggregates
        place = (topic, partition)
        end = end_offsets(self.context.connection, [place], committed=False)[place]
        self._resume.settled({Partition(*place): 0})
        state, position = Aggregates(self.rules), None
        for name, record in self._changes(place, end):
            if isinstance(record, AggregatesPosition):
                position = record
                state.go_on(record)
            else:
                state.load(name, record)
        if position is not None and position.by != self.rules.by:
            raise RecordsGone(
                f"{topic} has the aggregates by {position.by}, and the task file says by={self.rules.by}. Give the "
                f"task another name; or, to begin with none, stop its workers, delete the topic {topic} and run: "
                f"riverloop topics create TASK --partitions {self.context.partitions}; riverloop topics accept "
                f"TASK {topic}"
            )
        requests = self.context.topics.requests
        requests_id = self._current.stamps.get(requests, "")
        if position is not None and position.requests_id not in {"", requests_id}:
            state.next_offset = 0  # a topic that was made again counts its offsets anew
        name, took = self.context.task.name, time.monotonic() - started
        about = (name, partition, len(state), state.entities, took)
        log.info("%s: aggregates of partition %d restored: %d requests of %d entities, in %.2f s", *about)
        return PartitionAggregates(state, requests_id, restored=position is not None)

    def _changes(
        self, place: Place, end: int
    ) -> Iterator[tuple[str, CountedRequest | AggregatesPosition | None]]:
        """Read the changelog; the last record of a key counts, whatever lay under it before."""
        bad: dict[bytes, Unreadable] = {}
        for message in read_all(self.context.connection, *place, None, end):
            reached("in-restore")
            key = bytes(message.key() or b"")
            bad.pop(key, None)
            try:
                yield key.decode(), self._read(key, message)
            except (BadRecord, UnicodeDecodeError) as error:
                why = error if isinstance(error, BadRecord) else BadRecord("malformed", "its key is no text")
                bad[key] = unreadable_state(message, why)
        for first in bad.values():
            raise first

    def _read(self, key: bytes, message: Message) -> CountedRequest | AggregatesPosition | None:
        if message.value() is None:
            return None
        record = self.context.codec.decode_aggregates(message.value())
        if isinstance(record, AggregatesPosition) != (key == POSITION_KEY):
            raise BadRecord("wrong_record", f"a {type(record).__name__} lies under the key {key!r:.100}")
        return record

    def forget(self, partition: int) -> None:
        """Drop a partition that is no longer ours."""
        self.partitions.pop(partition, None)

    def discard(self, state: PartitionAggregates) -> None:
        """Let go of a restored state that is not to be used: nothing to do."""

    @property
    def next_offsets(self) -> dict[int, int]:
        """By partition of requests: the offset behind the last that was taken, where the changelog says so."""
        return {number: at.state.next_offset for number, at in self.partitions.items() if at.restored}

    # ------------------------------------------------------------------ a batch

    def begin(self) -> None:
        """Begin a batch."""
        self._batch = {}

    def take(self, request: Request, item: Inbound) -> Found | OutRecord | None:
        """Count a request; gives its aggregates.

        Returns
        -------
        dict, OutRecord or None
            A record where it lies on the wrong partition, and is forwarded; None where it was answered before.

        Raises
        ------
        TransactionAborted
            The partition was given up, or restored, meanwhile.
        """
        if (right := self._place(request, item)) is not None:
            return self._forward(item, *right) if self.passed(item) else None
        at = self._at(item)
        if at is None:  # it names no entity, and lies where there is no state
            return dict.fromkeys((each.name for each in self.rules.aggregates), None)
        offset = item.message.offset() or 0
        if offset < at.state.next_offset:
            return None
        found = at.state.take(request, offset)
        if at.state.too_late(request.ts):
            self._counts["aggregates_too_late"] += 1
        return found

    def passed(self, item: Inbound) -> bool:
        """Take note of a request that cannot be used; gives whether it is new."""
        at, offset = self._at(item), item.message.offset() or 0
        if at is None:
            return True
        new = offset >= at.state.next_offset
        at.state.next_offset = max(at.state.next_offset, offset + 1)
        return new

    def _at(self, item: Inbound) -> PartitionAggregates | None:
        """Return the state of a record's partition; None for one beyond those that have a state."""
        number = item.partition
        if number >= self.context.partitions:
            return None
        at = self.partitions.get(number)
        if at is None or self._batch.setdefault(number, at) is not at:
            text = f"{self.context.task.name}: a partition of the batch was given up while it was served"
            raise TransactionAborted(text, certain=True)
        return at

    # ------------------------------------------------------------------ requests on the wrong partition

    def _place(self, request: Request, item: Inbound) -> tuple[bytes, int] | None:
        """Return an entity's key and partition where its request lies on another one."""
        number = item.partition
        if item.header(FORWARDED) is not None and number < self.context.partitions:
            return None
        if self._hashed and self.rules.entity(request) is not None:
            request = self.context.codec.decode_sent(item.message.value())
        found = self._places.place(request)
        return None if found is None or found[1] == number else found

    def _forward(self, item: Inbound, key: bytes, right: int) -> OutRecord:
        self._counts["requests_misplaced"] += 1
        if (count := self._counts["requests_misplaced"]) in SAID_AT:
            log.warning(
                "%s: %d requests lay on another partition than that of their %s and were forwarded; the last one, "
                "%s, comes from %s: its producer saves that with key=%s and partitioner=murmur2_random",
                *(self.context.task.name, count, self.rules.by, item.at),
                line((item.header("client.id") or b"an unnamed client").decode(errors="replace")),
                self.rules.by,
            )
        headers: Headers = [(FORWARDED, str(item.at).encode())]
        return OutRecord(self.context.topics.requests, key, item.message.value(), right, headers)

    # ------------------------------------------------------------------ the end of a batch

    def outputs(self) -> Iterator[OutRecord]:
        """Return what the batch writes to the changelog."""
        topic, codec = self.context.topics.aggregates, self.context.codec
        for number, at in self._batch.items():
            for name, counted in at.state.changes():
                yield OutRecord(
                    topic, name.encode(), None if counted is None else codec.encode(counted), number
                )
            if at.state.changed:
                yield OutRecord(topic, POSITION_KEY, codec.encode(at.state.position(at.requests_id)), number)

    def commit(self) -> None:
        """Make the batch's changes the state: its transaction has committed."""
        for at in self._batch.values():
            at.state.commit()
        self._batch = {}

    def rollback(self, partitions: Iterable[int]) -> None:
        """Drop what a batch has changed in partitions: its transaction is known not to have committed."""
        for number in partitions:
            if (at := self.partitions.get(number)) is not None:
                at.state.rollback()
        self._batch = {}
