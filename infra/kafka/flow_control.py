"""Pauses partitions whose buffers are full, and resumes them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.kafka.fetch_position import FetchPosition, FetchPositions
from infra.kafka.loop_bridge import LoopBridge
from infra.kafka.rewinds import Rewinds

HOLD_S = 0.25
SLOW_S = 5.0
WAKE_TIMEOUT_S = 0.2


class FlowControl:
    """Keeps the buffers of the assigned partitions within bounds.

    Parameters
    ----------
    rewinds
        No wait goes on while partitions are to be read again.
    """

    def __init__(self, positions: FetchPositions, rewinds: Rewinds, bridge: LoopBridge) -> None:
        self._positions = positions
        self._rewinds = rewinds
        self._bridge = bridge

    @property
    def any_paused(self) -> bool:
        """Whether a partition is paused."""
        return any(position.paused for position in self._positions.values())

    def make_room(self, consumer: Consumer) -> None:
        """Pause full partitions and resume drained ones.

        A pause throws away what librdkafka has fetched ahead, a short wait costs nothing: so a channel that is
        at work gets a moment to make room first, unless it did not use the last one.
        """
        drained, full = [], []
        for partition, position in self._positions.items():
            if position.paused and position.buffer.size < position.channel.channel.full_at // 4:
                position.paused = False
                drained.append(TopicPartition(*partition))
            elif not position.paused and position.is_full:
                full.append(position)
        if drained:
            consumer.resume(drained)
            self._wake_brokers(consumer, drained)
        until = time.monotonic() + HOLD_S
        while any(self._may_make_room(position) for position in full):
            if time.monotonic() > until:
                for position in full:
                    if position.is_full:
                        position.channel.slow_until = until + SLOW_S
                break
            self._bridge.serve(consumer, 0.001)
        full = [position for position in full if position.is_full]
        if full and not self._bridge.stopping:
            consumer.pause([TopicPartition(*position.buffer.partition) for position in full])
            for position in full:
                position.paused = True

    def _wake_brokers(self, consumer: Consumer, places: Iterable[TopicPartition]) -> None:
        # A broker of which all partitions were paused sleeps for up to a second, and `resume` does not wake it
        # (librdkafka 2.12 to 2.16); any request to it does.
        for place in places:
            with contextlib.suppress(KafkaException):
                consumer.get_watermark_offsets(place, WAKE_TIMEOUT_S, cached=False)

    def _may_make_room(self, position: FetchPosition) -> bool:
        # A channel without a batch waits for another partition, which this thread must go on to fetch.
        channel = position.channel
        at_work = channel.batch is not None or not channel.waiting
        return (
            position.is_full
            and at_work
            and time.monotonic() > channel.slow_until
            and not self._rewinds.has_seeks
            and not self._bridge.stopping
        )
