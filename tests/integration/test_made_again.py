"""A topic that is made again after its broker was restarted is read by a consumer that runs all the while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from tests.integration.echo import create_topics
from tests.topics import delete_topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]
TOPIC = "made-again"


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as made:
        yield made


def write(connection: Connection, value: bytes) -> None:
    producer = Producer(connection.config())
    producer.produce(TOPIC, value)
    assert producer.flush(30) == 0


async def play(broker: EmbeddedBroker) -> None:
    connection, loop = Connection(broker.bootstrap), asyncio.get_running_loop()
    batches: asyncio.Queue[Batch[Message]] = asyncio.Queue()

    async def in_thread(function: Any, *arguments: Any) -> None:
        await loop.run_in_executor(None, function, *arguments)

    async def read(value: bytes) -> None:
        """Read up to a value; nothing is committed, so those before may come once more."""
        found: list[bytes | None] = []
        while value not in found:
            batch = await asyncio.wait_for(batches.get(), 30)
            consumer.batches.done(batch)
            found += [record.item.value() for record in batch.records]

    consumer = BatchConsumer(connection, "g", [Channel(name=TOPIC, topics=(TOPIC,))], batches.put_nowait)
    await in_thread(create_topics, connection, [TOPIC], 1)
    await consumer.start()
    await in_thread(write, connection, b"before")
    await read(b"before")
    # Each restart raises the leader's epoch; a new topic's is 0.
    broker.kill()
    await in_thread(broker.start)
    await in_thread(write, connection, b"after the restart")
    await read(b"after the restart")
    await in_thread(delete_topics, connection, [TOPIC])
    await in_thread(create_topics, connection, [TOPIC], 1)
    consumer.rejoin()
    await in_thread(write, connection, b"made again")
    await read(b"made again")
    await consumer.stop()
    assert consumer.error is None


def test_a_topic_made_again_after_a_restart_of_the_broker_is_read_on(broker: EmbeddedBroker) -> None:
    asyncio.run(play(broker))
