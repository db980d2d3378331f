"""One transaction per batch: all of it or nothing, and nothing from anyone who has lost its place."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from infra.embedded.broker import EmbeddedBroker
from infra.embedded.pytest_plugin import Broker
from infra.hooks import TRANSACTION_POINTS
from infra.kafka.aborted import GenerationLost, ProducerFenced
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from infra.kafka.membership import generation_and_member
from infra.kafka.offsets import committed_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import TransactionAborted
from tests.faults.injection import InjectedFaults
from tests.integration.echo import EchoMember, Feeder, create_topics, differences, read_committed

pytestmark = pytest.mark.kafka

PARTITIONS = 3
EVERYTHING_ONCE = {"lost": 0, "doubled": 0, "foreign": 0}


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


def committed(connection: Connection, group_id: str, topic: str) -> dict[int, int]:
    consumer = Consumer(connection.config(**{"group.id": group_id}))
    places = consumer.committed([TopicPartition(topic, number) for number in range(PARTITIONS)], 10)
    consumer.close()
    return {place.partition: place.offset for place in places}


def murmur2(key: bytes) -> int:
    """Kafka's hash, as Java's producers compute it (org.apache.kafka.common.utils.Utils.murmur2)."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    tail = len(key) & ~3
    for place in range(0, tail, 4):
        k = int.from_bytes(key[place : place + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ (k >> 24)) * m & mask)
    if rest := key[tail:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


async def one_batch(
    connection: Connection, group_id: str, topic: str
) -> tuple[BatchConsumer, Batch[Message]]:
    batches: asyncio.Queue[Batch[Message]] = asyncio.Queue()
    consumer = BatchConsumer(
        connection, group_id, [Channel(name="in", topics=(topic,))], batches.put_nowait, drain_s=1.0
    )
    await consumer.start()
    return consumer, await asyncio.wait_for(batches.get(), 20)


@contextmanager
def filled(connection: Connection, name: str) -> Iterator[tuple[str, str]]:
    """Give an input topic with a few records, and an output topic."""
    source, output = f"{name}.in", f"{name}.out"
    create_topics(connection, [source, output], PARTITIONS)
    producer = Producer(connection.config())
    for n in range(30):
        producer.produce(source, b"%d" % n, b"%d" % n, n % PARTITIONS)
    assert producer.flush(10) == 0
    yield source, output


def test_outputs_and_offsets_are_committed_together_or_not_at_all(
    connection: Connection, task_name: str
) -> None:
    async def scenario(source: str, output: str) -> None:
        consumer, batch = await one_batch(connection, task_name, source)
        records = [OutRecord(output, m.key(), m.value()) for m in batch.items]
        aborting = TransactionRunner(
            connection, task_name, hooks=InjectedFaults({"RIVERLOOP_ABORT_RATE": "0.999999"})
        )
        with pytest.raises(TransactionAborted) as aborted:
            await aborting.commit(records, batch.offsets, batch.metadata)
        assert aborted.value.certain
        assert set(committed(connection, task_name, source).values()) == {-1001}
        runner = TransactionRunner(connection, task_name)
        await runner.commit(records, batch.offsets, batch.metadata)
        offsets = {partition.number: offset for partition, offset in batch.offsets.items()}
        assert offsets.items() <= committed(connection, task_name, source).items()
        assert Counter(m.value() for m in read_committed(connection, output, PARTITIONS)) == Counter(
            m.value() for m in batch.items
        )
        consumer.batches.done(batch)
        for each in (aborting, runner):
            await each.close()
        await consumer.stop()

    with filled(connection, task_name) as topics:
        asyncio.run(scenario(*topics))


def test_a_call_of_the_client_that_never_returns_is_left_behind(
    connection: Connection, task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As librdkafka's does when the group's coordinator died and its entry in the client's cache did not."""
    stuck, released = threading.Event(), threading.Event()

    class Deaf(Producer):
        def send_offsets_to_transaction(self, *arguments: Any) -> None:
            if not stuck.is_set():
                stuck.set()
                released.wait(60)
            super().send_offsets_to_transaction(*arguments)

    async def scenario(source: str, output: str) -> None:
        monkeypatch.setattr("infra.kafka.transaction.Producer", Deaf)
        consumer, batch = await one_batch(connection, task_name, source)
        records = [OutRecord(output, message.key(), message.value()) for message in batch.items]
        runner = TransactionRunner(connection, task_name, timeout_ms=1000)
        with pytest.raises(TransactionAborted, match="did not end within 4 s") as aborted:
            await asyncio.wait_for(runner.commit(records, batch.offsets, batch.metadata), 20)
        assert aborted.value.certain
        await runner.commit(records, batch.offsets, batch.metadata)
        released.set()  # what returns after all is fenced, and touches nothing that goes on
        await runner.commit([OutRecord(output, b"", b"after")], {}, b"")
        assert Counter(m.value() for m in read_committed(connection, output, PARTITIONS)) == Counter(
            [b"after", *(m.value() for m in batch.items)]
        )
        consumer.batches.done(batch)
        await runner.close()
        await consumer.stop()

    with filled(connection, task_name) as topics:
        asyncio.run(scenario(*topics))


@pytest.mark.parametrize("commit", [True, False])
def test_what_a_group_has_committed_is_asked_behind_the_decision_on_its_open_transaction(
    connection: Connection, task_name: str, commit: bool
) -> None:
    """An offset that is undecided must never be taken for none: an owner would begin with nothing."""

    async def scenario(source: str, output: str) -> None:
        consumer, batch = await one_batch(connection, task_name, source)
        runner = TransactionRunner(connection, f"{task_name}.first")
        await runner.commit([], batch.offsets, batch.metadata)
        reported = {(place.topic, place.number): offset for place, offset in batch.offsets.items()}
        producer = Producer(connection.config(**{"transactional.id": f"{task_name}.second"}))
        producer.init_transactions(20)
        producer.begin_transaction()
        later = [TopicPartition(*place, offset + 1) for place, offset in reported.items()]
        producer.send_offsets_to_transaction(later, batch.metadata, 20)
        asking = asyncio.create_task(
            asyncio.to_thread(committed_offsets, connection, task_name, list(reported))
        )
        await asyncio.sleep(1.0)
        assert not asking.done()
        if commit:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
        assert await asking == {place: offset + commit for place, offset in reported.items()}
        consumer.batches.done(batch)
        await runner.close()
        await consumer.stop()

    with filled(connection, task_name) as names:
        asyncio.run(scenario(*names))


def test_a_record_goes_where_it_is_reported_or_where_java_would_put_it_with_its_headers(
    connection: Connection, task_name: str
) -> None:
    create_topics(connection, [task_name], 7)
    chance = random.Random(5)
    keys = [chance.randbytes(chance.randrange(1, 40)) for _ in range(500)]
    placed = [OutRecord(task_name, key, b"by key") for key in keys]
    reported = [
        OutRecord(task_name, key, b"given", place % 7, [("h", b"%d" % place)])
        for place, key in enumerate(keys)
    ]
    runner = TransactionRunner(connection, task_name)
    runner.run([*placed, *reported], {}, b"")
    asyncio.run(runner.close())
    found: dict[bytes, dict[bytes, int]] = {b"by key": {}, b"given": {}}
    for message in read_committed(connection, task_name, 7):
        value, key, number = message.value(), message.key(), message.partition()
        assert value is not None
        assert key is not None
        assert number is not None
        found[value][key] = number
        assert (message.headers() is None) == (value == b"by key")
    assert found[b"by key"] == {key: (murmur2(key) & 0x7FFFFFFF) % 7 for key in keys}
    assert found[b"given"] == {key: place % 7 for place, key in enumerate(keys)}


def test_a_stale_generation_commits_nothing(connection: Connection, task_name: str) -> None:
    async def scenario(source: str, output: str) -> None:
        consumer, batch = await one_batch(connection, task_name, source)
        _, member = generation_and_member(batch.metadata)
        runner = TransactionRunner(connection, task_name)
        second, later = await one_batch(connection, task_name, source)
        for metadata in (batch.metadata, later.metadata.replace(member.encode(), b"x" * len(member))):
            if metadata == later.metadata:
                continue
            with pytest.raises(GenerationLost):
                await runner.commit([OutRecord(output, b"", b"zombie")], batch.offsets, metadata)
        assert set(committed(connection, task_name, source).values()) == {-1001}
        assert read_committed(connection, output, PARTITIONS) == []
        await runner.commit([OutRecord(output, b"", b"alive")], later.offsets, later.metadata)
        assert [m.value() for m in read_committed(connection, output, PARTITIONS)] == [b"alive"]
        second.batches.done(later)
        await runner.close()
        await consumer.stop()
        await second.stop()

    with filled(connection, task_name) as topics:
        asyncio.run(scenario(*topics))


def test_a_transactional_id_taken_over_is_fenced_and_not_taken_back_at_once(
    connection: Connection, task_name: str
) -> None:
    create_topics(connection, [task_name], 1)
    old, new = TransactionRunner(connection, task_name), TransactionRunner(connection, task_name)
    old.run([OutRecord(task_name, b"", b"1")], {}, b"")
    new.run([OutRecord(task_name, b"", b"2")], {}, b"")
    with pytest.raises(ProducerFenced):
        old.run([OutRecord(task_name, b"", b"3")], {}, b"")
    new.run([OutRecord(task_name, b"", b"4")], {}, b"")
    assert [m.value() for m in read_committed(connection, task_name, 1)] == [b"1", b"2", b"4"]
    for each in (old, new):
        asyncio.run(each.close())


@contextmanager
def child(
    connection: Connection, group_id: str, name: str, *, crash_at: str = "", **settings: Any
) -> Iterator[Any]:
    """Run an echo member as a process; it ends with the block."""
    settings = {
        "bootstrap": connection.bootstrap,
        "group_id": group_id,
        "name": name,
        "channels": {"echo": [f"{group_id}.in"]},
        "output": f"{group_id}.out",
        "max_batch": 200,
        **settings,
    }
    environment = {**os.environ, "RIVERLOOP_CRASH_POINT": crash_at}
    command = [sys.executable, "-m", "tests.integration.echo_child", json.dumps(settings)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
        process.communicate(timeout=30)


def written(connection: Connection, group_id: str, at_least: int, timeout_s: float = 30.0) -> None:
    """Wait until the group's output holds so many committed records."""
    deadline = time.monotonic() + timeout_s
    while len(read_committed(connection, f"{group_id}.out", PARTITIONS)) < at_least:
        assert time.monotonic() < deadline, "too few records on the output"
        time.sleep(0.2)


def test_a_worker_killed_in_a_transaction_loses_and_doubles_nothing(
    connection: Connection, task_name: str
) -> None:
    groups = {point: f"{task_name}-{point}" for point in TRANSACTION_POINTS}
    sources = {f"{group}.in": 1_000 for group in groups.values()}
    create_topics(connection, [*sources, *(f"{group}.out" for group in groups.values())], PARTITIONS)
    with Feeder(connection, sources, PARTITIONS) as feeder, ExitStack() as children:
        killed = [
            children.enter_context(child(connection, group, "a", crash_at=f"{point}:3"))
            for point, group in groups.items()
        ]
        assert [process.wait(30) for process in killed] == [-signal.SIGKILL] * len(killed)
        for group in groups.values():
            children.enter_context(child(connection, group, "a"))
        feeder.stop()
        for group in groups.values():
            written(connection, group, feeder.counts[f"{group}.in"])
    for group in groups.values():
        counts = {f"{group}.in": feeder.counts[f"{group}.in"]}
        assert differences(connection, counts, f"{group}.out", PARTITIONS) == EVERYTHING_ONCE


def test_a_worker_that_hung_in_a_transaction_does_no_harm_when_it_wakes(
    connection: Connection, task_name: str
) -> None:
    """Before its offsets were sent it is fenced; after that its successor waits for the transaction's end."""
    groups = {point: f"{task_name}-{point}" for point in TRANSACTION_POINTS[:3]}
    sources = {f"{group}.in": 500 for group in groups.values()}
    create_topics(connection, [*sources, *(f"{group}.out" for group in groups.values())], PARTITIONS)
    with Feeder(connection, sources, PARTITIONS) as feeder, ExitStack() as children:
        hung = [
            children.enter_context(child(connection, group, "hung", stop_at=point, timeout_ms=60_000))
            for point, group in groups.items()
        ]
        for group in groups.values():
            children.enter_context(child(connection, group, "other"))
        while not all(stopped(process.pid) for process in hung):
            time.sleep(0.05)
        time.sleep(8.0)  # the session ends after 6 s
        for process in hung:
            process.send_signal(signal.SIGCONT)
        feeder.stop()
        for group in groups.values():
            written(connection, group, feeder.counts[f"{group}.in"])
    assert [process.returncode for process in hung] == [0, 0, 0]
    for group in groups.values():
        counts = {f"{group}.in": feeder.counts[f"{group}.in"]}
        assert differences(connection, counts, f"{group}.out", PARTITIONS) == EVERYTHING_ONCE


def stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


def test_an_unknown_outcome_is_found_out_and_nothing_is_lost_or_doubled(task_name: str) -> None:
    """The broker hangs for longer than every time limit of the transaction, and comes back."""
    source, output = f"{task_name}.in", f"{task_name}.out"

    async def scenario(connection: Connection, pid: int, feeder: Feeder) -> None:
        channels = [Channel(name="echo", topics=(source,), max_batch=200)]
        member = EchoMember(connection, task_name, "a", channels, output, timeout_ms=1_000)
        await member.start()
        while member.counts["echo"] < 500:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(3.0)
        os.kill(pid, signal.SIGCONT)
        while member.counts["echo"] < 2_000:
            await asyncio.sleep(0.01)
        feeder.stop()
        while (
            len(await asyncio.to_thread(read_committed, connection, output, PARTITIONS))
            < feeder.counts[source]
        ):
            await asyncio.sleep(0.1)
        assert member.unsure
        await member.stop()

    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, [source, output], PARTITIONS)
        with Feeder(connection, {source: 1_000}, PARTITIONS) as feeder:
            asyncio.run(asyncio.wait_for(scenario(connection, broker.pid, feeder), 60))
        assert differences(connection, feeder.counts, output, PARTITIONS) == EVERYTHING_ONCE
