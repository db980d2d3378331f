from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.buffers import Partition, PartitionBuffer, Record
from infra.kafka.channel import Batch, Channel
from infra.kafka.channel_state import ChannelState
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from infra.kafka.membership import MAGIC
from infra.kafka.reading import consumer_config
from infra.kafka.round_robin import RoundRobin
from schemas.errors import UsageError


def records(number: int, count: int) -> deque[Record[None]]:
    return deque(Record(Partition("t", number), n, None, 0.0, None) for n in range(count))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(1, 40))
def test_round_robin_takes_everything_once_in_offset_order_and_never_more_than_the_limit(
    sizes: list[int], limit: int
) -> None:
    buffers: Any = {("t", number): records(number, size) for number, size in enumerate(sizes)}
    picker, taken = RoundRobin(), list[Record[None]]()
    while batch := picker.pick(buffers, lambda partition, since: True, limit):
        assert len(batch) <= limit
        assert len(batch) == limit or not any(buffers.values())
        taken += batch
    for number, size in enumerate(sizes):
        assert [r.offset for r in taken if r.partition.number == number] == list(range(size))


def test_a_full_partition_does_not_starve_the_others() -> None:
    buffers: Any = {("t", 0): records(0, 1_000), ("t", 1): records(1, 10), ("t", 2): records(2, 1_000)}
    batch = RoundRobin().pick(buffers, lambda partition, since: True, 90)
    counts = [sum(r.partition.number == number for r in batch) for number in range(3)]
    assert counts[1] == 10
    assert min(counts[0], counts[2]) >= 30


def test_a_batch_says_from_where_the_next_reader_goes_on() -> None:
    channel = Channel(name="c", topics=("t",))
    batch = Batch(channel, [*records(0, 3), *records(1, 1)], b"")
    assert batch.offsets == {Partition("t", 0): 3, Partition("t", 1): 1}


def test_a_paced_batch_waits_for_more_records_unless_it_is_full_or_the_first() -> None:
    state = ChannelState(Channel(name="c", topics=("t",), max_batch=4, pace_s=0.5))
    buffer = PartitionBuffer(Partition("t", 0))
    state.add(buffer)
    buffer.queue.extend(records(0, 3))
    assert state.rest_s(100.0) <= 0
    state.picked = 100.0
    assert state.rest_s(100.25) == pytest.approx(0.25)
    assert state.rest_s(100.5) <= 0
    buffer.queue.extend(records(0, 1))
    assert state.rest_s(100.25) <= 0


def test_a_paced_channel_commits_what_comes_one_by_one_together() -> None:
    delivered: list[Batch[Any]] = []

    async def run() -> None:
        channel = Channel(name="c", topics=("t",), pace_s=0.05)
        consumer = BatchConsumer(Connection("nowhere:1"), "g", [channel], delivered.append)
        [state] = consumer._states.all
        buffer = PartitionBuffer(Partition("t", 0))
        member = MAGIC + (1).to_bytes(4, sys.byteorder) + b"g" + bytes(1) + b"me" + bytes(2)
        await consumer.assigned([(state, buffer)], member)
        waiting = records(0, 21)
        while waiting:
            buffer.queue.append(waiting.popleft())
            consumer.wake()
            await asyncio.sleep(0)
            for batch in delivered:
                consumer.batches.done(batch)
        await asyncio.sleep(0.2)

    asyncio.run(run())
    assert [len(batch) for batch in delivered] == [1, 20]


def test_a_topic_in_two_channels_is_rejected() -> None:
    channels = [Channel(name=name, topics=("t",)) for name in "ab"]
    with pytest.raises(UsageError, match="topic t is in two channels"):
        BatchConsumer(Connection("b:1"), "g", channels, lambda batch: None)


def test_the_times_of_a_member_are_those_of_the_connection_where_it_has_them() -> None:
    given = {"session.timeout.ms": "45000", "heartbeat.interval.ms": "3000", "max.poll.interval.ms": "60000"}
    assert consumer_config(Connection("b:1", given), "g", {}).items() >= given.items()
    assert consumer_config(Connection("b:1"), "g", {})["session.timeout.ms"] == 6000


def test_the_new_group_protocol_gets_none_of_the_classic_one_s_settings() -> None:
    config = consumer_config(Connection("b:1"), "g", {"group.protocol": "consumer"})
    assert not config.keys() & {
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "partition.assignment.strategy",
    }
    assert consumer_config(Connection("b:1"), "g", {})["partition.assignment.strategy"] == "range"


def test_a_consumer_that_has_not_started_yet_has_no_extents() -> None:
    """A worker's timers ask for them from its first second on, however long its start takes."""
    channel = Channel(name="c", topics=("t",))
    consumer = BatchConsumer(Connection("b:1"), "g", [channel], lambda batch: None)
    assert asyncio.run(consumer.progress.extents()) == {}


def test_a_partition_is_full_at_four_batches_unless_said_and_small_batches_do_not_make_it_small() -> None:
    given = [(3_000, 0), (25, 0), (25, 150)]
    channels = [Channel(name="c", topics=("t",), max_batch=most, high_water=full) for most, full in given]
    assert [each.full_at for each in channels] == [12_000, 4_000, 150]
