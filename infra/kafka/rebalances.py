"""Rebalances as the consumer's thread goes through them: partitions are assigned and revoked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel_state import ChannelState
from infra.kafka.fetch_position import FetchPosition, FetchPositions
from infra.kafka.loop_bridge import LoopBridge
from infra.kafka.rewinds import RETRY_S, Rewinds, read_committed

log = logging.getLogger(__name__)


class RebalanceListener(Protocol):
    """The event loop's side of a rebalance."""

    starts: dict[Partition, int]
    """Where to begin with newly assigned partitions, if not at the committed offset."""

    async def assigned(self, buffers: list[tuple[ChannelState, PartitionBuffer]], metadata: bytes) -> None:
        """Prepare for new partitions; nothing of them is fetched before this returns."""

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Give partitions up; they are ours, unless lost, until this returns."""


class Rebalances:
    """The callbacks for librdkafka's rebalances.

    Parameters
    ----------
    config
        librdkafka's configuration of the consumer.
    channels
        The channel of each topic.
    listener
        Called on the event loop; the thread waits for it.
    positions
        The assigned partitions; they are changed here.
    rewinds
        Forgets partitions that are revoked.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        channels: Mapping[str, ChannelState],
        listener: RebalanceListener,
        positions: FetchPositions,
        rewinds: Rewinds,
        bridge: LoopBridge,
    ) -> None:
        self._incremental = _is_incremental(config)
        self._channels = channels
        self._listener = listener
        self._positions = positions
        self._rewinds = rewinds
        self._bridge = bridge
        self._followers: dict[Partition, list[Partition]] = {}
        """By partition that the group has assigned: those that came with it."""
        self._new: list[Partition] = []
        self.happened = False
        """Set by a rebalance."""
        self.metadata = b""
        """The group's metadata, as the event loop has it."""

    def subscribe(self, consumer: Consumer) -> None:
        """Subscribe to the topics that the group shares out, of those channels that join by now."""
        topics = [
            topic
            for topic, state in self._channels.items()
            if state.joins and topic not in state.channel.followers
        ]
        if topics:
            consumer.subscribe(
                topics, on_assign=self.on_assign, on_revoke=self.on_revoke, on_lost=self.on_revoke
            )

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take up partitions."""
        new = [Partition(place.topic, place.partition) for place in partitions]
        self.happened = True
        if self._bridge.stopping:
            return
        for partition in [*new]:
            follows = self._channels[partition.topic].channel.follows
            self._followers[partition] = [] if follows is None else [*follows(partition)]
            new += self._followers[partition]
        self.metadata = consumer.consumer_group_metadata()
        buffers = [(self._channels[partition.topic], PartitionBuffer(partition)) for partition in new]
        self._bridge.wait_for(self._listener.assigned(buffers, self.metadata), consumer)
        self._assign(consumer, new)
        self._positions.update((buffer.partition, FetchPosition(buffer, state)) for state, buffer in buffers)
        self._new += [partition for partition in new if self._channels[partition.topic].channel.fetched]

    def _assign(self, consumer: Consumer, partitions: list[Partition]) -> None:
        """Begin where the group has committed, or else at the oldest record.

        Not left to librdkafka: its reset to the oldest record would also skip, in silence, records that
        retention has deleted before they were read.
        """
        committed: dict[Partition, int] = {}
        while not self._bridge.stopping:
            try:
                committed = read_committed(consumer, partitions, {})
                break
            except KafkaException as error:
                log.info("partitions are assigned as soon as the cluster allows: %s", error)
                self._bridge.serve(consumer, RETRY_S)
        starts = {**committed, **self._listener.starts}
        places = [TopicPartition(*each, starts.get(each, OFFSET_BEGINNING)) for each in partitions]
        if self._incremental:
            consumer.incremental_assign(places)
        else:
            consumer.assign(places)
        unread = [place for place in places if not self._channels[place.topic].channel.fetched]
        if unread:
            consumer.pause(unread)

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give partitions up, with those that came with them."""
        named = [Partition(place.topic, place.partition) for place in partitions]
        gone = frozenset(
            each for partition in named for each in (partition, *self._followers.pop(partition, ()))
        )
        self.happened = True
        if not self._bridge.stopping:
            self._bridge.wait_for(self._listener.revoked(gone), consumer)
        if len(gone) > len(named) and self._incremental:
            consumer.incremental_unassign([TopicPartition(*partition) for partition in gone])
        for partition in gone:
            self._positions.pop(partition, None)
            self._rewinds.undone.pop(partition, None)
        self._new = [partition for partition in self._new if partition not in gone]

    def resume_new(self, consumer: Consumer) -> None:
        """Resume new partitions: librdkafka keeps a partition paused across its revocation and next assignment."""
        if self._new:
            consumer.resume([TopicPartition(*partition) for partition in self._new])
            self._new = []


def _is_incremental(config: Mapping[str, Any]) -> bool:
    """Whether a group's protocol reports the partitions that are new or gone, and not all."""
    protocols = {config.get("group.protocol"), config.get("partition.assignment.strategy")}
    return not protocols.isdisjoint({"consumer", "cooperative-sticky"})
