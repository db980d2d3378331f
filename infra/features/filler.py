"""Fills a store of features from `T.features`: each worker its own, or the log's owner the one that all share."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from infra.features.redis_store import RedisFeatures
from infra.features.store import FeatureStore, Put
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.watching import seen_topics
from schemas.errors import BadRecord, BrokerError, FeaturesUnavailable
from schemas.feature_row import FeatureRow, RowKey, decode_key, decode_row, encode_key, encode_row
from schemas.topics import PARTITIONER

AT_ONCE: Final = 500
POLL_S: Final = 0.2
RETRY_S: Final = 1.0
LOOK_S: Final = 1.0
"""How often the store is asked whether it was wiped."""
log = logging.getLogger(__name__)


class _Moved(Exception):
    """The store's progress is not what this worker left there: it was wiped, or another worker fills it."""


class FeatureFiller:
    """A thread that reads the topic into the store.

    A row that comes after a newer one of the same entity is not written, and the owner sends the newer one to the
    topic again: else compaction would leave the older.

    Parameters
    ----------
    names
        By view: the names that the task's look-ups read; other values are passed over.
    owns
        Whether this worker owns the task's log.
    counts
        Rows are counted here: `feature_rows`, and `feature_rows_unreadable`.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        store: FeatureStore,
        names: Mapping[str, Sequence[str]],
        owns: Callable[[], bool],
        counts: Counter[str],
    ) -> None:
        self._connection, self._topic, self._store, self._names = connection, topic, store, names
        self._owns, self._counts = owns, counts
        self._shared = store if isinstance(store, RedisFeatures) else None
        self._stale: dict[RowKey, None] = {}
        """Rows of which the topic has an older record behind the newest."""
        self._at: dict[int, int] = {}
        """By partition: what the store has noted as read."""
        self._topic_id = ""
        self._stopping = threading.Event()
        self.caught_up = threading.Event()
        """Set once the store has what lay on the topic at the start; at once where it is shared."""
        self._thread = threading.Thread(target=self._run, name=f"fill {topic}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        if self._shared is not None:
            self.caught_up.set()
        self._thread.start()

    def stop(self) -> None:
        """End; nobody waits for the thread, which ends within a poll."""
        self._stopping.set()

    def _run(self) -> None:
        said = 0.0
        while not self._stopping.is_set():
            try:
                if self._shared is None or self._owns():
                    self._fill()
            except _Moved:
                log.info("%s: the feature store is filled from where it is now", self._topic)
                continue
            except (BrokerError, KafkaException, FeaturesUnavailable) as error:
                if time.monotonic() > said:
                    log.warning(
                        "%s: filling the feature store again in %g s: %s", self._topic, RETRY_S, error
                    )
                    said = time.monotonic() + 30
            self._stopping.wait(RETRY_S)

    def _fill(self) -> None:
        seen = seen_topics(self._connection, [self._topic]).get(self._topic)
        if seen is None:
            raise BrokerError(f"topic {self._topic} does not exist; run: riverloop topics create")
        self._topic_id = seen.topic_id
        self._at = {} if self._shared is None else self._shared.progress(self._topic, self._topic_id)
        places = [
            TopicPartition(self._topic, number, self._at.get(number, 0)) for number in range(seen.partitions)
        ]
        config: dict[str, Any] = {
            # librdkafka wants a name although no group is joined and nothing is committed.
            "group.id": "riverloop-features",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
        consumer = Consumer(self._connection.config(**config), logger=CLIENT_LOG)
        behind = set(range(seen.partitions))
        look_at = time.monotonic() + LOOK_S
        try:
            consumer.assign(places)
            while not self._stopping.is_set() and (self._shared is None or self._owns()):
                messages = self._records(consumer.consume(AT_ONCE, POLL_S), behind)
                if messages:
                    self._take(messages)
                if not behind:
                    self.caught_up.set()
                    if self._stale and self._owns():
                        self._send_again()
                if self._shared is not None and time.monotonic() > look_at:
                    if self._shared.progress(self._topic, self._topic_id) != self._at:
                        raise _Moved
                    look_at = time.monotonic() + LOOK_S
        finally:
            consumer.close()

    def _records(self, messages: list[Message], behind: set[int]) -> list[Message]:
        found = []
        for message in messages:
            error, number = message.error(), message.partition() or 0
            if error is None:
                found.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                behind.discard(number)
            elif error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise BrokerError(f"{self._topic} cannot be read: {self._connection.hide(error.str())}")
        return found

    def _take(self, messages: list[Message]) -> None:
        rows: list[FeatureRow] = []
        after: dict[int, int] = {}
        for message in messages:
            after[message.partition() or 0] = (message.offset() or 0) + 1
            try:
                value = message.value()
                if value is None:
                    self._write(rows)
                    rows = []
                    self._delete(decode_key(message.key()))
                    continue
                row = decode_row(value)
            except BadRecord as bad:
                self._counts["feature_rows_unreadable"] += 1
                place = f"{self._topic}[{message.partition()}]@{message.offset()}"
                log.warning("%s: a row is passed over: %s", place, bad.message)
                continue
            if (names := self._names.get(row.key.view)) is not None:
                values = {name: row.values[name] for name in names if name in row.values}
                rows.append(replace(row, values=values))
        self._write(rows)
        if self._shared is not None:
            for number, offset in after.items():
                before = self._at.get(number)
                if not self._shared.advance(self._topic, self._topic_id, number, before, offset):
                    raise _Moved
                self._at[number] = offset

    def _write(self, rows: list[FeatureRow]) -> None:
        if not rows:
            return
        for row, put in zip(rows, self._store.write(rows, self._names), strict=True):
            if put is Put.OLDER:
                self._stale[row.key] = None
            else:
                self._stale.pop(row.key, None)
        self._counts["feature_rows"] += len(rows)

    def _delete(self, key: RowKey) -> None:
        self._stale.pop(key, None)
        if (names := self._names.get(key.view)) is not None:
            self._store.delete(key, names)

    def _send_again(self) -> None:
        """Send the newest rows to the topic, behind the older ones that came later."""
        keys = [*self._stale]
        rows = [row for row in self._store.read(keys, self._names) if row is not None]
        send_rows(self._connection, self._topic, rows)
        self._stale.clear()


def send_rows(connection: Connection, topic: str, rows: Sequence[FeatureRow]) -> None:
    """Send rows to the topic, and wait until Kafka has them.

    Raises
    ------
    BrokerError
        When it does not take them all.
    """
    _send(connection, topic, [(encode_key(row.key), encode_row(row)) for row in rows])


def send_tombstones(connection: Connection, topic: str, keys: Sequence[RowKey]) -> None:
    """Delete rows on the topic; raises as `send_rows`."""
    _send(connection, topic, [(encode_key(key), None) for key in keys])


def _send(connection: Connection, topic: str, records: Sequence[tuple[bytes, bytes | None]]) -> None:
    failed: list[str] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(connection.hide(error.str()))

    properties: dict[str, Any] = {"partitioner": PARTITIONER, "enable.idempotence": True, "linger.ms": 5}
    producer = Producer(connection.config(**properties), logger=CLIENT_LOG)
    for key, value in records:
        while True:
            try:
                producer.produce(topic, value, key, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(20)
    if failed or left:
        why = failed[0] if failed else "no answer within 20 s"
        raise BrokerError(f"{topic}: {len(failed) + left} of {len(records)} rows were not written: {why}")


def read_topic(
    connection: Connection,
    topic: str,
    store: FeatureStore,
    names: Mapping[str, Sequence[str]],
    timeout_s: float = 60.0,
) -> None:
    """Read all of the topic into a store.

    Raises
    ------
    BrokerError
        When that takes too long.
    """
    filler = FeatureFiller(connection, topic, store, names, lambda: False, Counter())
    filler.start()
    try:
        if not filler.caught_up.wait(timeout_s):
            raise BrokerError(f"{topic} could not be read within {timeout_s:g} s; see the log")
    finally:
        filler.stop()
