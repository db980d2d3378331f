"""One micro-batch, one Kafka transaction: its outputs and the offsets of its inputs, all or nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, Producer, TopicPartition

from infra.hooks import Hooks, installed
from infra.kafka.aborted import FENCED, LOST, GenerationLost, ProducerFenced
from infra.kafka.acknowledging import SILENCE, Acknowledging
from infra.kafka.buffers import Partition
from infra.kafka.call_thread import CallThread, CallTimedOut
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import metadata_of
from schemas.errors import BrokerError, TransactionAborted

TIMEOUT_MS = 10_000
INIT_TIMEOUT_S = 30.0
OFFSETS_S = 4.0
"""Sending offsets takes milliseconds. After a broker's return it may hang (ADR 21), and everything behind it."""
GRACE_S = 1.0
"""A call of librdkafka that has not ended so long after its time-out is given up."""
COORDINATORS = "__transaction_state"
"""An internal topic of Kafka; the first transaction of a cluster creates it."""
MAX_RECORD_BYTES = 6 * 1024 * 1024

log = logging.getLogger(__name__)

Headers = list[tuple[str, str | bytes | None]]


class OutRecord(NamedTuple):
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int | None = None
    """None: placed by its key, as Java's producers place it."""
    headers: Headers | None = None


out_record: Callable[[tuple[Any, ...]], OutRecord] = partial(tuple.__new__, OutRecord)
"""Makes one of all its fields, in half the time of the class's own call, which is a function in Python."""


class TransactionRunner:
    """Writes transactions, one after the other, in a thread of its own.

    Parameters
    ----------
    transactional_id
        Stable for a worker's slot: whoever initialises it ends what an earlier holder left open.
    timeout_ms
        After how long the broker aborts a transaction that its producer left open.
    properties
        Further librdkafka properties of the producer.
    hooks
        Called at the points of a transaction; by default those of the process.
    last_point
        The point between the records and the commit; it may be set anew between two transactions.
    cluster
        Learns what becomes of the transactions.
    stamps
        By topic: its id, which is written with each offset of it. An offset without it was moved by somebody else,
        or belongs to another topic of that name. It may change while the runner lives.

    Notes
    -----
    Not for use by several tasks at the same time; one runner per channel.
    """

    def __init__(
        self,
        connection: Connection,
        transactional_id: str,
        *,
        timeout_ms: int = TIMEOUT_MS,
        properties: Mapping[str, Any] | None = None,
        hooks: Hooks | None = None,
        last_point: str = "between-produce-and-commit",
        cluster: Acknowledging | None = None,
        stamps: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._stamps = stamps
        self.note = ""
        """Written beside the stamp of each offset: progress that it does not say, without a space."""
        self._cluster = cluster or Acknowledging()
        self._hooks, self.last_point = hooks or installed(), last_point
        self.transactional_id = transactional_id
        self._timeout_s = timeout_ms / 1000
        self._config = connection.config(
            **{
                "transactional.id": transactional_id,
                "transaction.timeout.ms": timeout_ms,
                "message.timeout.ms": timeout_ms,
                "linger.ms": 0,
                # After a commit the broker answers CONCURRENT_TRANSACTIONS for a moment; the default waits 100 ms.
                "retry.backoff.ms": 2,
                # librdkafka's own default disagrees with Java on 862 of 1,000 keys.
                "partitioner": "murmur2_random",
                "message.max.bytes": MAX_RECORD_BYTES,
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 1_048_576,
                **(properties or {}),
            }
        )
        self._producer: Producer | None = None
        self._thread = CallThread(f"transactions-{transactional_id}")

    def __repr__(self) -> str:
        return f"<TransactionRunner {self.transactional_id}>"

    async def start(self) -> None:
        """Initialise the transactional id now: what an earlier holder left open is aborted or completed.

        Raises
        ------
        BrokerError
            The cluster does not answer within 30 s.
        """
        await self._in_thread(self._open)

    def fence(self, timeout_s: float) -> None:
        """End what a holder of this transactional id has left open, and hold it no longer; blocks.

        Raises
        ------
        BrokerError
            The cluster does not answer within `timeout_s`.
        """
        self._open(timeout_s)
        self._discard()

    async def commit(
        self, records: Iterable[OutRecord], offsets: Mapping[Partition, int], metadata: bytes
    ) -> None:
        """Do as `run` does, in the runner's thread."""
        await self._in_thread(self.run, list(records), offsets, metadata)

    async def close(self) -> None:
        """End the thread; an open transaction is aborted."""
        with suppress(TransactionAborted):
            await self._in_thread(self._discard)
        self._thread.end()

    def run(self, records: Iterable[OutRecord], offsets: Mapping[Partition, int], metadata: bytes) -> None:
        """Write records and commit offsets in one transaction; blocks.

        Parameters
        ----------
        offsets
            For each input partition the offset at which its next reader goes on.
        metadata
            The group metadata of the generation in which the input was fetched.

        Raises
        ------
        GenerationLost, ProducerFenced
            Somebody else has the partitions, or this transactional id.
        TransactionAborted
            Nothing was written, or so it must be taken: the result of a time-out is only known from the
            group's committed offsets. The input is to be read again from those. Its `certain` says which.
        """
        self._hooks.transaction_begins(self.transactional_id)
        self._cluster.began(self.transactional_id, time.monotonic())
        try:
            self._run(records, offsets, metadata)
            self._cluster.acknowledged(self.transactional_id)
        finally:
            self._cluster.ended(self.transactional_id)
        self._hooks.reached("after-commit")

    def _run(self, records: Iterable[OutRecord], offsets: Mapping[Partition, int], metadata: bytes) -> None:
        try:
            producer = self._producer or self._open()
        except BrokerError as error:
            self._silent(str(error))
            raise TransactionAborted(str(error), certain=True) from error
        try:
            self._write(producer, records, offsets, metadata)
        except (TransactionAborted, CallTimedOut):
            raise
        except (KafkaException, BufferError) as error:
            raise self._recover(producer, error) from error
        except BaseException:
            # Not Kafka's: such as records that cannot be made. Nothing of it may stay open.
            self._discard()
            raise

    def _write(
        self,
        producer: Producer,
        records: Iterable[OutRecord],
        offsets: Mapping[Partition, int],
        metadata: bytes,
    ) -> None:
        self._hooks.reached("before-produce")
        producer.begin_transaction()
        _produce(producer, records)
        self._hooks.reached("after-produce")
        if offsets:
            places = [
                TopicPartition(*partition, offset, metadata_of(self._stamps.get(partition[0], ""), self.note))
                for partition, offset in offsets.items()
            ]
            # librdkafka forgets this time-out while the group's coordinator that it knows is gone (ADR 21).
            limit_s = min(OFFSETS_S, self._timeout_s)
            with self._thread.limited(limit_s + GRACE_S):
                producer.send_offsets_to_transaction(places, metadata, limit_s)
        self._hooks.reached(self.last_point)
        self._hooks.transaction_commits(self.transactional_id, producer)
        # Flushes first, and fails if any record could not be delivered.
        producer.commit_transaction(self._timeout_s)

    def _open(self, timeout_s: float = INIT_TIMEOUT_S) -> Producer:
        self._discard()
        producer = Producer(self._config, logger=CLIENT_LOG)
        try:
            # Without a connected broker librdkafka repeats its search for the coordinator only after half a second.
            producer.list_topics(COORDINATORS, timeout_s)
            producer.init_transactions(timeout_s)
        except KafkaException as error:
            message = f"{self.transactional_id} cannot be initialised: {error.args[0].str()}"
            if error.args[0].code() in FENCED:
                raise ProducerFenced(message) from error
            raise BrokerError(message) from error
        self._producer = producer
        return producer

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # Without it, the object's end would wait for records that nobody wants any more.
            producer.purge()

    def _recover(self, producer: Producer, error: KafkaException | BufferError) -> TransactionAborted:
        """End a failed transaction, and say what the caller is to make of it."""
        cause = error.args[0] if isinstance(error, KafkaException) else None
        code = cause.code() if cause is not None else None
        what = f"{self.transactional_id}: {cause.str() if cause is not None else error}"
        if code in SILENCE:
            self._silent(str(cause))
        if code in FENCED:
            # Not replaced at once: initialising would fence who took over, and this process may be the zombie.
            self._discard()
            return ProducerFenced(f"{what}; another process has this transactional id")
        certain = False
        if cause is not None and cause.txn_requires_abort():
            try:
                producer.abort_transaction(self._timeout_s)
                certain = True  # what has begun to commit cannot be aborted any more
            except KafkaException as second:
                what += f"; aborting: {second.args[0].str()}"
                self._replace()
        else:
            # A time-out, or any state librdkafka cannot go on from: the outcome is unknown until the next producer
            # of this transactional id is initialised.
            self._replace()
        if code in LOST:
            return GenerationLost(f"{what}; the group has removed this consumer", certain=certain)
        return TransactionAborted(what, certain=certain)

    def _silent(self, why: str) -> None:
        self._cluster.failed(self.transactional_id, time.monotonic(), why)

    def _replace(self) -> None:
        self._discard()
        try:
            self._open()
        except (BrokerError, TransactionAborted) as error:
            log.warning("%s; retrying with the next transaction", error)

    async def _in_thread(self, function: Any, *arguments: Any) -> None:
        try:
            await self._thread.call(function, *arguments)
        except CallTimedOut:
            # A new producer of this transactional id fences the one that hangs.
            self._thread = self._thread.successor()
            self._silent("the offsets were not accepted")
            await self._thread.call(self._replace)
            text = f"{self.transactional_id}: sending offsets did not end within {OFFSETS_S:g} s"
            raise TransactionAborted(text, certain=True) from None  # nobody has asked to commit it


def _produce(producer: Producer, records: Iterable[OutRecord]) -> None:
    # One by one: `produce_batch` is no faster, carries no headers and ignores the partition of a row.
    produce = producer.produce
    for topic, key, value, partition, headers in records:
        if partition is None and headers is None:
            produce(topic, value, key)
        else:
            produce(topic, value, key, -1 if partition is None else partition, headers=headers)
