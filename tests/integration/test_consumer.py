"""The batch consumer on a real broker: every record once, whatever members, aborts and protocols do."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.aborted import GenerationLost
from infra.kafka.buffers import Partition
from infra.kafka.channel import Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import committed_offsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from tests.faults.injection import InjectedFaults
from tests.integration.echo import EchoMember, Feeder, create_topics, differences

pytestmark = pytest.mark.kafka

PARTITIONS = 4
PROTOCOLS: dict[str, dict[str, Any]] = {
    "range": {},
    "cooperative-sticky": {"partition.assignment.strategy": "cooperative-sticky"},
    "consumer": {"group.protocol": "consumer", "group.remote.assignor": "range"},
}
EVERYTHING_ONCE = {"lost": 0, "doubled": 0, "foreign": 0}


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


def has_more_than(member: EchoMember, count: int) -> bool:
    """Whether a member has taken more than so many records."""
    return member.counts.total() > count


def have_together(members: list[EchoMember], channel: str, count: int) -> bool:
    """Whether members have taken so many records of a channel."""
    return sum(member.counts[channel] for member in members) >= count


async def until(reached: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_lost_or_doubled_while_members_come_and_go(
    connection: Connection, task_name: str, protocol: str
) -> None:
    fast, slow, output = f"{task_name}.fast", f"{task_name}.slow", f"{task_name}.out"
    create_topics(connection, [fast, slow, output], PARTITIONS)
    channels = [
        Channel(name="fast", topics=(fast,), max_batch=400),
        Channel(name="slow", topics=(slow,), max_batch=100, high_water=50),
    ]

    async def scenario(feeder: Feeder) -> list[EchoMember]:
        members = [
            EchoMember(
                connection,
                task_name,
                name,
                channels,
                output,
                delays_s={"slow": 0.1},
                hooks=InjectedFaults({"RIVERLOOP_ABORT_RATE": "0.1"}),
                properties=PROTOCOLS[protocol],
            )
            # The new protocol takes seconds for each change.
            for name in ("ab" if protocol == "consumer" else "abc")
        ]
        for member in members:
            await member.start()
            # Of which topic a member gets partitions is the protocol's choice.
            await until(functools.partial(has_more_than, member, 300))
        await members[0].stop()
        for member in members[1:]:
            already = member.counts.total()
            await until(functools.partial(has_more_than, member, already + 500))
        feeder.stop()
        for channel in channels:
            wanted = feeder.counts[channel.topics[0]]
            await until(functools.partial(have_together, members, channel.name, wanted))
        for member in members[1:]:
            await member.stop()
        return members

    with Feeder(connection, {fast: 4_000, slow: 400}, PARTITIONS) as feeder:
        members = asyncio.run(scenario(feeder))
    assert differences(connection, feeder.counts, output, PARTITIONS) == EVERYTHING_ONCE
    assert sum(member.aborted for member in members) > 5


def test_a_channel_that_is_not_fetched_shares_partitions_out_and_reads_none_of_them(
    connection: Connection, task_name: str
) -> None:
    log, output = f"{task_name}.log", f"{task_name}.out"
    create_topics(connection, [log, output], 1)

    async def scenario() -> None:
        given: list[Partition] = []

        async def assigned(partitions: frozenset[Partition]) -> None:
            given.extend(partitions)

        channel = Channel(name="owner", topics=(log,), fetched=False)
        consumer = BatchConsumer(connection, task_name, [channel], lambda batch: None, on_assigned=assigned)
        runner = TransactionRunner(connection, f"{task_name}.owner")
        await runner.start()
        await consumer.start()
        await until(lambda: bool(given))
        assert given == [Partition(log, 0)]
        await asyncio.sleep(1.0)
        assert all(buffer.size == 0 for buffer in consumer._states.buffers())
        # What others read is committed under this member's generation.
        await runner.commit([OutRecord(output, b"k", b"v")], {Partition(log, 0): 7}, consumer.metadata)
        assert committed_offsets(connection, task_name, [(log, 0)]) == {(log, 0): 7}
        await consumer.stop()
        with pytest.raises(GenerationLost):
            await runner.commit([], {Partition(log, 0): 8}, consumer.metadata)
        await runner.close()

    with Feeder(connection, {log: 500}, 1):
        asyncio.run(scenario())
