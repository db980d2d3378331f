"""Reading committed records of many partitions, and single ones by their places, with clients that stay open."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)

from infra.kafka.admin import client_of, code_of, failed
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import PartitionOffsets, Place
from infra.kafka.reading import COMMITTED
from schemas.errors import BrokerError

TIMEOUT_S: Final = 10.0
STALLED_S: Final = 20.0
AGAIN_S: Final = 0.1
"""A single record that has not come after this time is asked for once more: now and then librdkafka (2.16) begins
to fetch a new assignment only at its next timer, a second later."""
AT_ONCE: Final = 1000


class TopicState(NamedTuple):
    """A topic as the cluster has it."""

    topic_id: str
    partitions: int


class TopicReader:
    """Reads topics outside any group; blocks. To be closed.

    All methods raise BrokerError where the cluster refuses or does not answer.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin = client_of(connection)
        self._offsets = PartitionOffsets(connection)
        self._many: Consumer | None = None
        self._one: Consumer | None = None

    def close(self) -> None:
        """End the clients."""
        for each in (self._many, self._one):
            if each is not None:
                each.close()
        self._offsets.close()
        self._admin.__exit__(None, None, None)

    def topics(self, names: Collection[str]) -> dict[str, TopicState]:
        """Describe topics; those that do not exist are left out."""
        found = {}
        futures = self._admin.describe_topics(TopicCollection([*names]), request_timeout=TIMEOUT_S)
        for name, future in futures.items():
            try:
                topic = future.result()
            except KafkaException as error:
                if code_of(error) == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise failed(self._connection, f"topic {name} is unknown", error) from error
            found[name] = TopicState(str(topic.topic_id), len(topic.partitions))
        return found

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """Return the offsets below which all transactions have ended."""
        return self._offsets.ends(places, TIMEOUT_S)

    def firsts(self, places: Collection[Place]) -> dict[Place, int]:
        """Return the oldest offsets."""
        return self._offsets.firsts(places, TIMEOUT_S)

    # ------------------------------------------------------------------ records

    def read(self, ranges: Mapping[Place, tuple[int, int]]) -> Iterator[Message]:
        """Read the records from a first offset to an end that `ends` gave, of several partitions at once.

        What was deleted is passed over.
        """
        if self._many is None:
            self._many = self._consumer({"queued.min.messages": 20_000})
        yield from self._read(self._many, ranges)

    def records(self, places: Collection[tuple[str, int, int]]) -> dict[tuple[str, int, int], Message]:
        """Read single records, by topic, partition and offset; those that are gone are left out."""
        if self._one is None:
            self._one = self._consumer({"queued.min.messages": 1})
        found = {}
        # One after the other, so that no records are made of what is fetched behind each.
        for each in places:
            for message in self._read(self._one, {each[:2]: (each[2], each[2] + 1)}, 1):
                found[each] = message
        return found

    def _consumer(self, properties: Mapping[str, Any]) -> Consumer:
        config = {**COMMITTED, "group.id": "riverloop-audit", "fetch.wait.max.ms": 10, **properties}
        return Consumer(self._connection.config(**config), logger=CLIENT_LOG)

    def _read(
        self, consumer: Consumer, ranges: Mapping[Place, tuple[int, int]], at_once: int = AT_ONCE
    ) -> Iterator[Message]:
        left = {place: end for place, (start, end) in ranges.items() if start < end}
        if not left:
            return
        consumer.assign([TopicPartition(*place, ranges[place][0]) for place in left])
        moved, again = time.monotonic(), False
        try:
            while left:
                messages = consumer.consume(1, 0.02)
                if messages:
                    messages += consumer.consume(at_once - 1, 0) if at_once > 1 else []
                    moved = time.monotonic()
                elif not again and at_once == 1 and time.monotonic() > moved + AGAIN_S:
                    again = True
                    consumer.assign([TopicPartition(*place, ranges[place][0]) for place in left])
                elif time.monotonic() > moved + STALLED_S:
                    topic, partition = next(iter(left))
                    raise BrokerError(f"{topic}[{partition}]: no record came for {STALLED_S:.0f} s")
                for message in messages:
                    yield from self._take(consumer, message, left)
        finally:
            consumer.unassign()

    def _take(self, consumer: Consumer, message: Message, left: dict[Place, int]) -> Iterator[Message]:
        place, error = (message.topic() or "", message.partition() or 0), message.error()
        if place not in left:
            return  # what was fetched behind the end
        offset, end = message.offset() or 0, left[place]
        if error is None:
            if offset < end:
                yield message
            if offset + 1 >= end:
                left.pop(place, None)
        elif error.code() == KafkaError._PARTITION_EOF:
            if offset >= end:
                del left[place]
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            first = self.firsts([place])[place]
            if first >= end:
                del left[place]
            else:
                consumer.incremental_unassign([TopicPartition(*place)])
                consumer.incremental_assign([TopicPartition(*place, first)])
        elif not error.retriable():
            raise failed(self._connection, f"reading {place[0]}", KafkaException(error))
