"""The running state of a consumer's channels: their partitions' buffers and the batch at work of each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from infra.kafka.buffers import NEVER, Partition, PartitionBuffer, Record
from infra.kafka.channel import Batch, Channel
from infra.kafka.round_robin import RoundRobin
from schemas.errors import UsageError
from streams.join.merge import Partition as AnyPartition
from streams.join.merge import Picker


class ChannelState:
    """The running state of a channel; belongs to the event loop.

    The consumer's thread reads `batch`, `waiting` and `slow_until`, and writes the last.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.picker: Picker = channel.picker() if channel.picker else RoundRobin()
        self.joins = channel.joins()
        """Whether its topics are subscribed to; the consumer's thread reads it."""
        self.buffers: dict[Partition, PartitionBuffer] = {}
        self.queues: dict[AnyPartition, deque[Record[Any]]] = {}
        self.batch: Batch[Any] | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self.seeking = 0
        """Seeks of its partitions that have not ended: nothing is delivered until they have."""
        self.suspended = 0
        """Revocations of its partitions that have not ended."""
        self.rejected: bytes | None = None
        """Metadata that the group rejected: nothing is delivered until there is another one."""
        self.scheduled = False
        self.waiting = False
        """Whether its picker waits for the end of a partition before it takes buffered records."""
        self.picked = NEVER
        """When the last batch was picked (s, monotonic)."""
        self.slow_until = 0.0
        """Until when (s, monotonic) the consumer's thread does not wait for it to make room."""

    def __repr__(self) -> str:
        return f"<ChannelState {self.channel.name}, {len(self.buffers)} partitions, {self.batch}>"

    @property
    def open(self) -> bool:
        """Whether the next batch may be picked."""
        return self.batch is None and not self.seeking and not self.suspended

    def add(self, buffer: PartitionBuffer) -> None:
        """Take up a newly assigned partition."""
        self.buffers[buffer.partition] = buffer
        self.queues[buffer.partition] = buffer.queue

    def remove(self, partition: Partition) -> None:
        """Forget a revoked partition with all that is buffered of it."""
        self.buffers.pop(partition, None)
        self.queues.pop(partition, None)

    def start(self, batch: Batch[Any]) -> None:
        """Put a batch to work."""
        self.batch = batch
        self.idle.clear()

    def finish(self) -> None:
        """End the batch at work."""
        self.batch = None
        self.idle.set()

    def rest_s(self, now: float) -> float:
        """Return how long the next batch waits for further records (s); `now` in s, monotonic."""
        rest = self.picked + self.channel.pace_s - now
        if rest > 0 and (
            sum(map(len, self.queues.values())) >= self.channel.max_batch
            or any(queue and place[0] in self.channel.prompt for place, queue in self.queues.items())
        ):
            return 0.0
        return rest


class ChannelStates:
    """The states of all channels of a consumer.

    Raises
    ------
    UsageError
        A topic is in two channels.
    """

    def __init__(self, channels: Iterable[Channel], group_id: str) -> None:
        self.all = [ChannelState(channel) for channel in channels]
        self.by_topic: dict[str, ChannelState] = {}
        for state in self.all:
            for topic in state.channel.topics:
                if topic in self.by_topic:
                    raise UsageError(f"topic {topic} is in two channels of the consumer group {group_id}")
                self.by_topic[topic] = state

    def of(self, batch: Batch[Any]) -> ChannelState:
        """Return the state of a batch's channel."""
        return self.by_topic[batch.channel.topics[0]]

    def buffer(self, partition: Partition) -> PartitionBuffer | None:
        """Return the buffer of a partition, if it is assigned here."""
        return self.by_topic[partition.topic].buffers.get(partition)

    def buffers(self) -> list[PartitionBuffer]:
        """Return the buffers of all assigned partitions."""
        return [buffer for state in self.all for buffer in state.buffers.values()]
