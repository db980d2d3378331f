"""Writes the records of a workload to the topics."""

from __future__ import annotations

import random
from typing import Any, Final

from confluent_kafka import Producer

from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.partitioner import partition_of
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.topics import PARTITIONER, TaskTopics
from tests.faults.workload.plan import SentRecord

MAX_RECORD_BYTES: Final = 4 * 1024 * 1024


class WorkloadProducer:
    """Sends planned records, as Avro, as JSON, or as the malformed bytes that they are.

    Parameters
    ----------
    connection, codec, topics, partitions
        Of the task.
    seed
        Of the choice of misplaced outcomes.
    """

    def __init__(
        self, connection: Connection, codec: Codec, topics: TaskTopics, partitions: int, seed: int
    ) -> None:
        self.records = 0
        """Records sent."""
        self.misplaced = 0
        """Outcomes sent to a wrong partition."""
        self._connection, self._codec, self._topics = connection, codec, topics
        self._partitions = partitions
        self._random = random.Random(seed)
        self._failed: list[str] = []
        self._client = self._new_client()

    def renew(self) -> None:
        """Use a new client: topics may have been recreated."""
        self._client = self._new_client()

    def send_request(self, record: SentRecord) -> None:
        """Send a request."""
        self._send(self._topics.requests, record)

    def send_outcome(self, record: SentRecord, misplaced: float = 0.0) -> None:
        """Send an outcome, with a probability of `misplaced` to a wrong partition if its record allows that."""
        partition = -1
        if record.movable and misplaced and self._random.random() < misplaced:
            right = partition_of(record.key.encode(), self._partitions)
            partition = (right + 1) % self._partitions
            self.misplaced += partition != right
        self._send(self._topics.outcomes, record, partition)

    def flush(self, timeout_s: float) -> bool:
        """Wait for acknowledgements; returns whether all have arrived."""
        return self._client.flush(timeout_s) == 0

    def check(self) -> None:
        """Check that no record was undeliverable.

        Raises
        ------
        BrokerError
            When one was.
        """
        if self._failed:
            raise BrokerError(f"records could not be delivered: {self._failed[0]}")

    def _send(self, topic: str, record: SentRecord, partition: int = -1) -> None:
        content = record.record
        value = content if isinstance(content, bytes) else self._codec.encode(content, json=record.json)
        while True:
            try:
                self._client.produce(topic, value, record.key.encode(), partition, self._delivered)
                break
            except BufferError:
                self._client.poll(0.1)
        self.records += 1

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}: {error.str()}")

    def _new_client(self) -> Producer:
        settings = {
            "enable.idempotence": True,
            "linger.ms": 2,
            "partitioner": PARTITIONER,
            "message.max.bytes": MAX_RECORD_BYTES,
            "client.id": "riverloop-faults",
            "delivery.report.only.error": True,
            # Partitions that are added are used at once; librdkafka's default is five minutes.
            "topic.metadata.refresh.interval.ms": 1000,
        }
        return Producer(self._connection.config(**settings), logger=CLIENT_LOG)
