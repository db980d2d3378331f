"""How far the consumer's thread has fetched an assigned partition."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import Message

from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel_state import ChannelState


@dataclass(slots=True)
class FetchPosition:
    """How far the thread has fetched an assigned partition."""

    buffer: PartitionBuffer
    channel: ChannelState
    first: int | None = None
    """The first offset fetched, where a seek goes while the group has committed nothing."""
    next: int | None = None
    """The offset after the last record handed over."""
    paused: bool = False

    @property
    def is_full(self) -> bool:
        """Whether as many records are buffered as the channel allows."""
        return self.buffer.size >= self.channel.channel.full_at


FetchPositions = dict[Partition, FetchPosition]
"""The positions of all assigned partitions; belongs to the consumer's thread."""


def partition_of(message: Message) -> Partition:
    """Return a message's partition."""
    return Partition(message.topic(), message.partition())  # type: ignore[arg-type]  # both are set


def offset_of(message: Message) -> int:
    """Return a message's offset."""
    offset = message.offset()
    assert offset is not None
    return offset
