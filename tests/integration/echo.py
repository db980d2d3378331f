"""An exactly-once echo for tests: every record of the inputs once on the output, or a sentence about which not."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # public

from infra.hooks import Hooks
from infra.kafka.admin import client_of
from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import TransactionAborted


def create_topics(connection: Connection, names: Iterable[str], partitions: int) -> None:
    """Create plain topics and wait for them."""
    new = [NewTopic(name, partitions, 1) for name in names]
    with client_of(connection) as admin:
        for future in admin.create_topics(new, operation_timeout=20).values():
            future.result()


class Feeder:
    """Writes numbered records to topics at a steady rate, in a thread, until stopped.

    Parameters
    ----------
    rates
        Records per second for each topic.
    """

    def __init__(self, connection: Connection, rates: Mapping[str, int], partitions: int) -> None:
        self.counts = dict.fromkeys(rates, 0)
        self._connection, self._rates, self._partitions = connection, rates, partitions
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder")

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more; all counted records are acknowledged afterwards."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        producer = Producer(self._connection.config(**{"linger.ms": 2}))
        while not self._stopping.wait(0.02):
            producer.poll(0)
            for topic, rate in self._rates.items():
                for n in range(self.counts[topic], self.counts[topic] + max(1, rate // 50)):
                    producer.produce(topic, b"%s %d" % (topic.encode(), n), b"%d" % n, n % self._partitions)
                    self.counts[topic] += 1
        assert producer.flush(30) == 0


def read_committed(
    connection: Connection, topic: str, partitions: int, timeout_s: float = 30.0
) -> list[Message]:
    """Read all that is committed on a topic, by a consumer that has nothing to do with ours."""
    # The broker answers a commit before it has marked the partitions: the end to wait for is that of all records.
    ends = end_offsets(connection, [(topic, number) for number in range(partitions)], committed=False)
    consumer = Consumer(
        connection.config(
            **{
                "group.id": f"{topic}-reader",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,
            }
        )
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    found: list[Message] = []
    open_partitions = {number for (_, number), end in ends.items() if end > 0}
    deadline = time.monotonic() + timeout_s
    while open_partitions and time.monotonic() < deadline:
        for message in consumer.consume(5000, 0.05):
            if message.error() is None:
                found.append(message)
            elif (message.offset() or 0) >= ends[topic, message.partition() or 0]:
                open_partitions.discard(message.partition() or 0)
    consumer.close()
    assert not open_partitions, f"{topic}: partitions {open_partitions} did not end in time"
    return found


def differences(
    connection: Connection, inputs: Mapping[str, int], output: str, partitions: int
) -> dict[str, int]:
    """Count the records of the inputs (topic, count) that are missing on the output, and those there twice."""
    values = Counter(message.value() for message in read_committed(connection, output, partitions))
    wanted = {b"%s %d" % (topic.encode(), n) for topic, count in inputs.items() for n in range(count)}
    return {
        "lost": len(wanted - values.keys()),
        "doubled": sum(1 for count in values.values() if count > 1),
        "foreign": len(values.keys() - wanted),
    }


class EchoMember:
    """One member of a group that echoes its channels' records onto a topic, one transaction per batch."""

    def __init__(
        self,
        connection: Connection,
        group_id: str,
        name: str,
        channels: list[Channel],
        output: str,
        *,
        delays_s: Mapping[str, float] | None = None,
        hooks: Hooks | None = None,
        properties: Mapping[str, Any] | None = None,
        drain_s: float = 15.0,
        timeout_ms: int = 10_000,
    ) -> None:
        self.connection, self.output = connection, output
        self.delays_s = delays_s or {}
        self.batches: asyncio.Queue[Batch[Message]] = asyncio.Queue()
        self.consumer = BatchConsumer(
            connection,
            group_id,
            channels,
            self.batches.put_nowait,
            on_assigned=self.on_assigned,
            on_revoked=self.on_revoked,
            properties=properties,
            drain_s=drain_s,
        )
        self.runners = {
            channel.name: TransactionRunner(
                connection,
                f"{group_id}-{name}-{channel.name}",
                timeout_ms=timeout_ms,
                hooks=hooks,
            )
            for channel in channels
        }
        self.owned: set[Partition] = set()
        self.counts: Counter[str] = Counter()
        self.aborted = 0
        self.unsure = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def on_assigned(self, partitions: frozenset[Partition]) -> None:
        assert self.owned.isdisjoint(partitions)
        self.owned |= partitions

    async def on_revoked(self, partitions: frozenset[Partition]) -> None:
        assert partitions <= self.owned
        self.owned -= partitions

    async def start(self) -> None:
        await self.consumer.start()
        self._spawn(self._work())

    async def stop(self) -> None:
        await self.consumer.stop()
        for task in self.tasks:
            task.cancel()
        for task in list(self.tasks):
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for runner in self.runners.values():
            await runner.close()
        assert self.consumer.error is None, self.consumer.error

    async def _work(self) -> None:
        while True:
            batch = await self.batches.get()
            for partition in batch.offsets:
                assert partition in self.owned, f"{partition} was delivered before it was assigned"
            self._spawn(self._echo(batch))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.tasks.discard(task)

    async def _echo(self, batch: Batch[Message]) -> None:
        name = batch.channel.name
        await asyncio.sleep(self.delays_s.get(name, 0.0))
        runner = self.runners[name]
        records = [OutRecord(self.output, message.key(), message.value()) for message in batch.items]
        try:
            await self.consumer.batches.commit(batch, runner, records)
        except TransactionAborted as error:
            self.aborted += 1
            self.unsure += not error.certain
            return
        self.counts[name] += len(batch)
        self.consumer.batches.done(batch)
