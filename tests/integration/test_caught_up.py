"""Merging two topics by event time on a real broker: nobody waits for ever, and nobody runs ahead."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import TransactionAborted
from streams.join.merge import MergeByTime
from tests.faults.injection import InjectedFaults
from tests.integration.echo import create_topics, read_committed

pytestmark = pytest.mark.kafka


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@dataclass(frozen=True, slots=True)
class Item:
    topic: str
    number: int
    ts: int | None
    value: bytes


def decode(message: Message) -> Item:
    value = message.value() or b""
    topic, number = message.topic(), message.partition()
    assert topic is not None
    assert number is not None
    return Item(topic, number, int(value) if value.isdigit() else None, value)


class Pair:
    """Two co-partitioned topics."""

    def __init__(self, connection: Connection, name: str, partitions: int = 1) -> None:
        self.connection, self.name = connection, name
        self.outcomes, self.predictions, self.output = (
            f"{name}.outcomes",
            f"{name}.predictions",
            f"{name}.out",
        )
        create_topics(connection, [self.outcomes, self.predictions, self.output], partitions)

    def channel(self, max_batch: int = 1000, high_water: int = 4000) -> Channel:
        return Channel(
            name="join",
            topics=(self.predictions, self.outcomes),
            decode=lambda messages: [*map(decode, messages)],
            picker=lambda: MergeByTime(self.outcomes, self.predictions),
            max_batch=max_batch,
            high_water=high_water,
        )

    def producer(self, name: str) -> Producer:
        config = {"transactional.id": f"{self.name}-{name}", "retry.backoff.ms": 2}
        producer = Producer(self.connection.config(**config))
        producer.init_transactions(30)
        return producer


class Taker:
    """Takes the batches of a consumer."""

    def __init__(self, pair: Pair) -> None:
        self.taken: asyncio.Queue[Batch[Item]] = asyncio.Queue()
        self.consumer = BatchConsumer(pair.connection, pair.name, [pair.channel()], self.taken.put_nowait)

    async def next(self, timeout_s: float = 10.0) -> list[tuple[str, int | None]]:
        """Give side and time of what comes next."""
        batch = await asyncio.wait_for(self.taken.get(), timeout_s)
        self.consumer.batches.done(batch)
        return [(item.topic.rsplit(".", 1)[1], item.ts) for item in batch.items]

    async def stays_empty(self) -> bool:
        """Whether nothing comes for a while."""
        await asyncio.sleep(0.4)
        return self.taken.empty()


@asynccontextmanager
async def taking(pair: Pair) -> AsyncIterator[Taker]:
    taker = Taker(pair)
    await taker.consumer.start()
    try:
        yield taker
    finally:
        await taker.consumer.stop()
    assert taker.consumer.error is None


def write(producer: Producer, topic: str, *times: int) -> None:
    for ts in times:
        producer.produce(topic, b"%d" % ts, b"key", 0)
    producer.flush(10)


@pytest.mark.parametrize("before", ["nothing", "a commit", "an abort", "an open transaction"])
def test_a_record_waits_no_longer_than_until_the_empty_side_is_caught_up(
    connection: Connection, task_name: str, before: str
) -> None:
    pair = Pair(connection, task_name)

    async def scenario() -> None:
        async with taking(pair) as taker:
            outcomes, predictions = pair.producer("o"), pair.producer("p")
            await asyncio.sleep(0.3)  # so that the end of the empty topic was seen before its markers came
            if before != "nothing":
                outcomes.begin_transaction()
                write(outcomes, pair.outcomes, 1)
            if before == "a commit":
                outcomes.commit_transaction()
            elif before == "an abort":
                outcomes.flush()
                outcomes.abort_transaction()
            predictions.begin_transaction()
            write(predictions, pair.predictions, 5, 6)
            predictions.commit_transaction()
            expected = [("predictions", 5), ("predictions", 6)]
            if before == "a commit":
                expected = [("outcomes", 1), *expected]
            got = await taker.next()
            while len(got) < len(expected):
                got += await taker.next()
            assert got == expected
            if before == "an open transaction":
                outcomes.commit_transaction()
                assert await taker.next() == [("outcomes", 1)]

    asyncio.run(scenario())


def test_a_record_does_not_go_before_an_earlier_one_that_was_there_when_it_arrived(
    connection: Connection, task_name: str
) -> None:
    pair = Pair(connection, task_name)

    async def scenario() -> None:
        async with taking(pair) as taker:
            producer = pair.producer("both")
            order: list[Any] = []
            for round_ in range(30):
                # The outcome is there, for readers of committed records too, before the prediction is written;
                # which of them is fetched first is chance.
                producer.begin_transaction()
                write(producer, pair.outcomes, 10 * round_ + 3)
                producer.commit_transaction()
                place = (pair.outcomes, 0)
                while end_offsets(connection, [place]) != end_offsets(connection, [place], committed=False):
                    await asyncio.sleep(0.002)
                producer.begin_transaction()
                write(producer, pair.predictions, 10 * round_ + 5)
                producer.commit_transaction()
                while len(order) < 2 * round_ + 2:
                    order += await taker.next()
            assert [ts for _, ts in order] == [10 * round_ + ts for round_ in range(30) for ts in (3, 5)]

    asyncio.run(scenario())


def runs(pair: Pair, count: int, seed: int, partitions: int) -> Iterator[tuple[str, int, list[int]]]:
    """Give chunks of times to write: topic, partition, times; in time order per partition and topic."""
    chance = random.Random(seed)
    for number in range(partitions):
        for topic in (pair.outcomes, pair.predictions):
            times = sorted(chance.randrange(10 * count) for _ in range(count))
            while times:
                size = chance.randrange(1, 200)
                yield topic, number, times[:size]
                times = times[size:]


def test_full_topics_are_merged_in_time_order_under_aborts(connection: Connection, task_name: str) -> None:
    partitions, count = 2, 3_000
    pair = Pair(connection, task_name, partitions)
    producer, chance = pair.producer("filler"), random.Random(7)
    for topic, number, times in runs(pair, count, 7, partitions):
        for aborted in (True, False) if chance.random() < 0.2 else (False,):
            producer.begin_transaction()
            for ts in times:
                producer.produce(topic, b"%d" % ts, b"key", number)
            producer.flush()  # or librdkafka may abort what the coordinator has not heard of: a fatal error
            producer.abort_transaction() if aborted else producer.commit_transaction()

    async def scenario() -> None:
        batches: asyncio.Queue[Batch[Item]] = asyncio.Queue()
        # Buffers far smaller than the topics: one side is paused again and again while the other catches up.
        channel = pair.channel(max_batch=100, high_water=150)
        consumer = BatchConsumer(connection, pair.name, [channel], batches.put_nowait)
        hooks = InjectedFaults({"RIVERLOOP_ABORT_RATE": "0.1"})
        runner = TransactionRunner(connection, pair.name, hooks=hooks)
        await consumer.start()
        written = aborted = 0
        while written < 2 * partitions * count:
            batch = await asyncio.wait_for(batches.get(), 10)
            side = {pair.outcomes: b"0", pair.predictions: b"1"}
            records = [OutRecord(pair.output, side[i.topic], i.value, i.number) for i in batch.items]
            try:
                await consumer.batches.commit(batch, runner, records)
            except TransactionAborted:
                aborted += 1
                continue
            written += len(batch)
            consumer.batches.done(batch)
        assert aborted > 3
        await consumer.stop()
        await runner.close()
        assert consumer.error is None

    asyncio.run(scenario())
    for number in range(partitions):
        merged = [
            (int(message.value() or b""), message.key())
            for message in read_committed(connection, pair.output, partitions)
            if message.partition() == number
        ]
        assert len(merged) == 2 * count
        assert merged == sorted(merged, key=lambda pair: (pair[0], pair[1]))
