"""Where a history is read from: the committed records of a task's topics, up to a fixed end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.inbound import Message
from infra.kafka.admin import topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError
from schemas.topics import TaskTopics

TIMEOUT_S = 20.0


class Source(Protocol):
    """Port: committed records by topic and partition."""

    def partitions(self, topic: str) -> int:
        """Give the number of a topic's partitions."""

    def topic_id(self, topic: str) -> str:
        """Give the id that the topic got when it was created."""

    def first(self, topic: str, partition: int) -> int:
        """Give the oldest offset that is still there."""

    def ends(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Give the offsets after all that is written now, open transactions included."""

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """Give the committed records of a range, in order; waits until no transaction in it is open."""


class KafkaSource:
    """A cluster's topics, read outside any consumer group."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        config: dict[str, Any] = {"group.id": "riverloop-verify", "enable.auto.commit": False, "log_level": 0}
        self._consumer = Consumer(connection.config(**config))

    def __enter__(self) -> KafkaSource:
        return self

    def __exit__(self, *failure: object) -> None:
        self._consumer.close()

    def partitions(self, topic: str) -> int:
        """See `Source.partitions`.

        Raises
        ------
        BrokerError
            When the topic does not exist, or the cluster does not answer.
        """
        address = self._connection.bootstrap
        try:
            found = self._consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
        except KafkaException as error:
            reason = self._connection.hide(error.args[0].str())
            raise BrokerError(f"no Kafka cluster answers at {address}: {reason}") from error
        if found.error is not None or not found.partitions:
            message = f"topic {topic} does not exist on {address}; run: riverloop topics create"
            raise BrokerError(message)
        return len(found.partitions)

    def size(self, task: str) -> int:
        """Give about how many steps a verification of a task takes, for a progress bar."""
        topics = TaskTopics(task)
        read = (
            *(topics.requests, topics.predictions, topics.outcomes, topics.dead_letters, topics.join_state),
            *(topics.log, topics.log),  # it is read a second time to be refolded
        )
        places = [(topic, number) for topic in read for number in range(self.partitions(topic))]
        ends = self.ends(sorted(set(places)))
        return sum(ends[place] - self.first(*place) for place in places)

    def topic_id(self, topic: str) -> str:
        """See `Source.topic_id`."""
        return topic_id(self._connection, topic)

    def first(self, topic: str, partition: int) -> int:
        """See `Source.first`."""
        try:
            offsets = self._consumer.get_watermark_offsets(
                TopicPartition(topic, partition), timeout=TIMEOUT_S
            )
        except KafkaException as error:
            reason = self._connection.hide(error.args[0].str())
            raise BrokerError(f"the beginning of {topic}[{partition}] is unknown: {reason}") from error
        if offsets is None:
            raise BrokerError(
                f"the beginning of {topic}[{partition}] is unknown: no answer in {TIMEOUT_S:.0f} s"
            )
        return int(offsets[0])

    def ends(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """See `Source.ends`."""
        return end_offsets(self._connection, places, committed=False)

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """See `Source.read`."""
        if start < end:
            yield from read_all(self._connection, topic, partition, start, end)
