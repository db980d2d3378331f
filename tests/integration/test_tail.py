"""Looking on at topics from near their ends: what is there of them, and no more than was asked for."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Producer, TopicPartition

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import client_of, create_topics
from infra.kafka.connection import Connection
from infra.kafka.tail import Tail
from schemas.topics import TaskTopics, topics

pytestmark = pytest.mark.kafka


@pytest.fixture
def connection(broker: Broker, task_name: str) -> Connection:
    made = Connection(broker.bootstrap)
    create_topics(made, topics(task_name, 2))
    return made


def produce(connection: Connection, topic: str, values: range, partition: int = 0) -> None:
    producer = Producer(connection.config())
    for value in values:
        producer.produce(topic, str(value), partition=partition)
    assert producer.flush(20) == 0


async def values(tail: Tail, count: int) -> list[tuple[str, int]]:
    """Give so many records, as topic and value, and wait until all partitions were read to their ends."""
    found: list[tuple[str, int]] = []
    async with asyncio.timeout(30):
        async for batch in tail:
            found += [(str(each.topic()), int(each.value() or b"")) for each in batch.messages]
            if len(found) >= count and batch.caught_up:
                break
    return found


def test_it_begins_so_many_records_before_the_ends_and_goes_on(
    connection: Connection, task_name: str
) -> None:
    names = TaskTopics(task_name)
    produce(connection, names.metrics, range(10))
    produce(connection, names.requests, range(4), partition=1)
    # One partition is empty, and of another less is there than asked for.
    newest = {(names.metrics, 0): 3, (names.requests, 0): 5, (names.requests, 1): 100}

    async def run() -> None:
        async with Tail(connection, newest) as tail:
            found = await values(tail, 7)
            assert [value for topic, value in found if topic == names.metrics] == [7, 8, 9]
            assert [value for topic, value in found if topic == names.requests] == [0, 1, 2, 3]
            await asyncio.get_running_loop().run_in_executor(
                None, produce, connection, names.metrics, range(10, 12)
            )
            assert await values(tail, 2) == [(names.metrics, 10), (names.metrics, 11)]

    asyncio.run(run())


def test_what_retention_deleted_is_skipped(connection: Connection, task_name: str) -> None:
    topic = TaskTopics(task_name).metrics
    produce(connection, topic, range(10))
    with client_of(connection) as admin:
        for future in admin.delete_records([TopicPartition(topic, 0, 8)]).values():
            future.result(20)

    async def run() -> None:
        async with Tail(connection, {(topic, 0): 5}) as tail:
            assert await values(tail, 2) == [(topic, 8), (topic, 9)]

    asyncio.run(run())


def test_what_is_not_committed_is_not_seen(connection: Connection, task_name: str) -> None:
    topic = TaskTopics(task_name).metrics
    producer = Producer(connection.config(**{"transactional.id": task_name}))
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, "1", partition=0)
    producer.flush(20)
    producer.abort_transaction(20)
    producer.begin_transaction()
    producer.produce(topic, "2", partition=0)
    producer.commit_transaction(20)

    async def run() -> None:
        async with Tail(connection, {(topic, 0): 50}) as tail:
            assert await values(tail, 1) == [(topic, 2)]

    asyncio.run(run())
