"""HTTP in front of a real broker: what is answered is on the topic, without an acknowledgement nothing is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message

from agents.http.task import HttpTask
from agents.settings import Settings
from infra.embedded.broker import EmbeddedBroker
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.partitioner import partition_of
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Writer
from schemas.errors import BrokerError
from schemas.records import Outcome
from schemas.topics import TaskTopics, topics
from tests.integration.echo import read_committed
from tests.unit.http_worker import SENT, TOLD, Client, Reply, make_http_task, serving

pytestmark = pytest.mark.kafka

PARTITIONS = 3


@asynccontextmanager
async def worker(connection: Connection, name: str, **more: Any) -> AsyncIterator[tuple[HttpTask, Client]]:
    task = make_http_task(name, connection=connection, partitions=PARTITIONS)
    writer = Writer(connection, **more)
    writer.start()
    try:
        async with serving(task, writer, Settings(max_list=2000)) as client:
            yield task, client
    finally:
        await writer.close()


@pytest.fixture
def connection(broker: Broker, task_name: str) -> Connection:
    found = Connection(broker.bootstrap)
    create_topics(found, topics(task_name, PARTITIONS))
    return found


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "kafka") as found:
        yield found


def records(connection: Connection, topic: str) -> dict[str, list[Message]]:
    """Give what is on a topic, by key."""
    found: dict[str, list[Message]] = {}
    for message in read_committed(connection, topic, PARTITIONS):
        found.setdefault(bytes(message.key() or b"").decode(), []).append(message)
    return found


def test_a_prediction_is_on_its_topic_when_the_answer_is_there(
    connection: Connection, task_name: str
) -> None:
    async def run() -> None:
        path, names = f"/tasks/{task_name}/predictions", TaskTopics(task_name)
        async with worker(connection, task_name) as (task, client):
            for count in range(1, 4):
                reply = await client.post(path, SENT | {"request_id": f"b-{count}"})
                found = await asyncio.to_thread(records, connection, names.predictions)
                assert len(found) == count
                (message,) = found[f"b-{count}"]
                written = task.context.codec.decode_prediction(message.value())
                assert written.scores[0].score == reply.data["score"]
                assert written.scores[0].version == reply.data["version"]
            many = [SENT | {"request_id": f"m-{number}"} for number in range(1000)]
            reply = await client.post(path, [*many, *many])
            found = await asyncio.to_thread(records, connection, names.predictions)
        assert reply.data[:1000] == reply.data[1000:]
        assert len(found) == 1003
        for key, messages in found.items():
            (message,) = messages
            assert message.partition() == partition_of(key.encode(), PARTITIONS)

    asyncio.run(run())


def test_an_outcome_is_on_its_topic_when_it_is_accepted_beside_its_prediction(
    connection: Connection, task_name: str
) -> None:
    async def run() -> None:
        names = TaskTopics(task_name)
        async with worker(connection, task_name) as (task, client):
            await client.post(f"/tasks/{task_name}/predictions", SENT)
            reply = await client.post(f"/tasks/{task_name}/outcomes", [TOLD, TOLD | {"request_id": "b-2"}])
            found = await asyncio.to_thread(records, connection, names.outcomes)
            predictions = await asyncio.to_thread(records, connection, names.predictions)
        assert reply.status == 202
        assert task.context.codec.decode_outcome(found["b-1"][0].value()) == Outcome("b-1", TOLD["ts"], True)
        assert found["b-1"][0].partition() == predictions["b-1"][0].partition()
        assert set(found) == {"b-1", "b-2"}

    asyncio.run(run())


def test_while_the_broker_is_down_nothing_is_promised_and_nothing_promised_is_lost(
    own_broker: EmbeddedBroker, task_name: str
) -> None:
    async def run() -> None:
        connection, names = Connection(own_broker.bootstrap), TaskTopics(task_name)
        create_topics(connection, topics(task_name, PARTITIONS))
        path = f"/tasks/{task_name}/predictions"
        replies: dict[str, Reply] = {}
        async with worker(connection, task_name, delivery_ms=3000) as (task, client):

            async def ask(name: str) -> None:
                replies[name] = await client.post(path, SENT | {"request_id": name})

            calls = [asyncio.create_task(ask(f"b-{number}")) for number in range(100)]
            await asyncio.gather(*calls[:50])
            # The others, and those that come now, are under way while it dies.
            killed = asyncio.create_task(asyncio.to_thread(own_broker.kill))
            for number in range(100, 300):
                calls.append(asyncio.create_task(ask(f"b-{number}")))
                await asyncio.sleep(0.002)
            await asyncio.gather(killed, *calls)
            rejected = [name for name, reply in replies.items() if reply.status == 503]
            answered = [name for name, reply in replies.items() if reply.status == 200]
            assert len(rejected) + len(answered) == 300
            assert len(answered) >= 50
            assert len(rejected) >= 50
            assert all(replies[name].reason == "not_acknowledged" for name in rejected)
            down = await client.post(f"/tasks/{task_name}/outcomes", TOLD)
            assert (down.status, down.reason) == (503, "not_acknowledged")

            await asyncio.to_thread(own_broker.start)
            # Each repetition waits by itself for as long as a record may wait.
            for name in (name for name in rejected for _ in range(20)):
                if replies[name].status != 200:
                    await ask(name)
            found = await asyncio.to_thread(records, connection, names.predictions)
            for name, reply in replies.items():
                assert reply.status == 200
                for message in found[name]:
                    served = task.context.codec.decode_prediction(message.value()).scores[0]
                    assert (served.score, served.version) == (reply.data["score"], reply.data["version"])
            # A copy may be there of those only whose acknowledgement had got lost.
            assert {name for name, copies in found.items() if len(copies) > 1} <= set(rejected)

    asyncio.run(run())


def test_a_writer_says_why_a_record_is_not_written(connection: Connection, task_name: str) -> None:
    async def run() -> None:
        writer = Writer(connection, delivery_ms=2000)
        writer.start()
        with pytest.raises(BrokerError, match=r"cannot be written: .*[Tt]oo large"):
            writer.send(OutRecord(TaskTopics(task_name).outcomes, b"k", b"x" * 5_000_000))
        with pytest.raises(BrokerError, match="no-such-topic-here: not acknowledged"):
            await writer.send(OutRecord(f"{task_name}.no-such-topic-here", b"k", b"v"))
        place = await writer.send(OutRecord(TaskTopics(task_name).outcomes, b"k", b"v"))
        assert (place.topic, place.offset) == (f"{task_name}.outcomes", 0)
        await writer.close()

    asyncio.run(run())


def test_a_writer_that_closes_first_delivers_what_it_has(connection: Connection, task_name: str) -> None:
    async def run() -> None:
        writer = Writer(connection)
        topic = TaskTopics(task_name).outcomes
        deliveries = [writer.send(OutRecord(topic, b"%d" % number, b"v")) for number in range(500)]
        await writer.close()
        assert all(delivery.done() and delivery.exception() is None for delivery in deliveries)
        assert len(await asyncio.to_thread(records, connection, topic)) == 500
        with pytest.raises(BrokerError, match="stopping"):
            writer.send(OutRecord(topic, b"k", b"v"))

    asyncio.run(run())


def test_a_writer_whose_producer_cannot_go_on_gets_another_one(
    connection: Connection, task_name: str
) -> None:
    async def run() -> None:
        writer = Writer(connection)
        writer.start()
        topic = TaskTopics(task_name).outcomes
        await writer.send(OutRecord(topic, b"1", b"before"))
        first = writer._producer
        # No client of a healthy broker comes into this state by itself.
        writer._fatal = True
        for _ in range(100):
            if writer._producer is not first:
                break
            await asyncio.sleep(0.05)
        assert writer._producer is not first
        await writer.send(OutRecord(topic, b"2", b"after"))
        await writer.close()
        found = await asyncio.to_thread(records, connection, topic)
        assert {key: [each.value() for each in messages] for key, messages in found.items()} == {
            "1": [b"before"],
            "2": [b"after"],
        }

    asyncio.run(run())
