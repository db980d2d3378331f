"""How far a consumer has read its partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from confluent_kafka import Consumer, TopicPartition

from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel_state import ChannelStates
from infra.kafka.loop_bridge import succeed
from infra.kafka.stable import StableOffsets


class ReadProgress:
    """Reports how far a consumer has read the partitions that are assigned to it.

    Parameters
    ----------
    stable
        Asks for the ends of partitions.
    call
        Runs a function in the consumer's thread.
    """

    def __init__(
        self,
        states: ChannelStates,
        stable: StableOffsets,
        call: Callable[[Callable[[Consumer], list[int]]], Awaitable[list[int]]],
    ) -> None:
        self._states = states
        self._stable = stable
        self._call = call

    async def ends(self, topic: str) -> dict[Partition, int]:
        """Return the last stable offsets of the assigned partitions of a topic."""
        mine = [each for each in self._states.by_topic[topic].buffers if each.topic == topic]
        if not mine:
            return {}
        answer: asyncio.Future[dict[Partition, int]] = asyncio.get_running_loop().create_future()
        self._stable.ask(mine, partial(succeed, answer))
        return await answer

    def quiet(self, ends: Mapping[Partition, int]) -> frozenset[int]:
        """Return the partitions that are processed up to `ends`, with nothing buffered or at work."""
        return frozenset(
            buffer.partition.number
            for buffer in map(self._rested, ends)
            if buffer is not None and buffer.read_to >= ends[buffer.partition]
        )

    def next_times(self, topic: str) -> dict[int, int]:
        """Return the event time (ms) of the next buffered record of a topic, by partition where there is one."""
        return {
            each.partition.number: ts
            for each in self._states.by_topic[topic].buffers.values()
            if each.partition.topic == topic and each.queue and (ts := each.queue[0].ts) is not None
        }

    def passed(self, topic: str) -> dict[int, int]:
        """Return how far partitions are processed that have no records buffered or at work: offsets by number.

        It is past the markers of transactions, which the offset after a record never is.
        """
        return {
            buffer.partition.number: buffer.read_to
            for buffer in map(self._rested, list(self._states.by_topic[topic].buffers))
            if buffer is not None and buffer.partition.topic == topic and buffer.handed == buffer.received
        }

    def _rested(self, partition: Partition) -> PartitionBuffer | None:
        state = self._states.by_topic[partition.topic]
        buffer = state.buffers.get(partition)
        at_work = state.batch is not None and partition in state.batch.offsets
        return None if buffer is None or buffer.queue or at_work or state.seeking else buffer

    async def extents(self) -> dict[Partition, tuple[int, int]]:
        """Return the first offset that was not picked yet, and the end, of each partition; markers count, too."""
        buffers = self._states.buffers()
        if not buffers:
            return {}  # perhaps the thread has not even started

        def ends(consumer: Consumer) -> list[int]:
            places = [TopicPartition(*buffer.partition) for buffer in buffers]
            return [consumer.get_watermark_offsets(place, cached=True)[1] for place in places]

        found = {}
        for buffer, end in zip(buffers, await self._call(ends), strict=True):
            next_offset = buffer.queue[0].offset if buffer.queue else buffer.read_to
            if end >= 0 and next_offset >= 0:
                found[buffer.partition] = min(next_offset, end), end
        return found
