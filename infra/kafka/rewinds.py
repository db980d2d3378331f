"""Reads partitions again: from the committed offsets, or what was fetched across a rebalance."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.kafka.buffers import Partition
from infra.kafka.fetch_position import FetchPositions, offset_of, partition_of
from infra.kafka.loop_bridge import LoopBridge
from infra.kafka.offsets import stamp_and_note

RETRY_S = 0.1
COMMITTED_TIMEOUT_S = 2.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seek:
    """Partitions that go back to what the group has committed."""

    partitions: Collection[Partition]
    then: Callable[[list[Partition]], None]
    not_before: float = 0.0


class Rewinds:
    """Moves partitions back in the consumer's thread."""

    def __init__(self, positions: FetchPositions, stamps: Mapping[str, str], bridge: LoopBridge) -> None:
        self._positions = positions
        self._stamps = stamps
        self._bridge = bridge
        self._seeks: deque[_Seek] = deque()
        self.undone: dict[Partition, int] = {}
        """Partitions of which everything is discarded until `put_back`, with the lowest offset discarded."""

    @property
    def has_seeks(self) -> bool:
        """Whether partitions wait to be read again from the committed offsets."""
        return bool(self._seeks)

    def seek_to_committed(
        self, partitions: Collection[Partition], then: Callable[[list[Partition]], None]
    ) -> None:
        """See `FetchThread.seek_to_committed`."""
        self._seeks.append(_Seek(partitions, then))

    def undo(self, messages: Iterable[Message]) -> None:
        """Read the partitions of some messages again from where they stood before."""
        for message in messages:
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                self.undone.setdefault(partition_of(message), offset_of(message))

    def put_back(self, consumer: Consumer) -> None:
        """Seek to where the undone partitions stood."""
        for partition in [partition for partition in self.undone if partition not in self._positions]:
            del self.undone[partition]
        if not self.undone:
            return
        try:
            unknown = [partition for partition in self.undone if self._positions[partition].next is None]
            targets = read_committed(consumer, unknown, self._stamps)
            for partition, lowest in self.undone.items():
                position = self._positions[partition]
                if position.next is None:
                    position.first = position.next = targets.get(partition, lowest)
                consumer.seek(TopicPartition(*partition, position.next))
        except KafkaException as error:
            # What comes meanwhile is discarded and the fetching goes on: it may be that a revocation has to be
            # answered first.
            log.info("partitions are read again as soon as the cluster allows: %s", error)
            self._bridge.serve(consumer, RETRY_S)
        else:
            self.undone.clear()

    def seek_back(self, consumer: Consumer) -> None:
        """Carry out the seeks that were requested, in order."""
        while self._seeks and self._seeks[0].not_before <= time.monotonic():
            seek = self._seeks[0]
            started = [
                partition
                for partition in seek.partitions
                if partition in self._positions and self._positions[partition].first is not None
            ]
            try:
                targets = read_committed(consumer, started, self._stamps)
                for partition in started:
                    position = self._positions[partition]
                    position.next = targets.get(partition, position.first)
                    consumer.seek(TopicPartition(*partition, position.next))  # type: ignore[arg-type]  # one of the two is set
            except KafkaException as error:
                log.info("reading again waits for the cluster: %s", error)
                seek.not_before = time.monotonic() + RETRY_S
                return
            self._seeks.popleft()
            self._bridge.post(seek.then, started)


def read_committed(
    consumer: Consumer, partitions: Iterable[Partition], stamps: Mapping[str, str]
) -> dict[Partition, int]:
    """Return what the consumer's group has committed, after the decision on open transactions.

    Parameters
    ----------
    stamps
        By topic: an offset counts only if it was written with this stamp.
    """
    places = [TopicPartition(*partition) for partition in partitions]
    committed = {}
    for place in consumer.committed(places, COMMITTED_TIMEOUT_S) if places else ():
        if place.error is not None:
            raise KafkaException(place.error)
        stamp = stamps.get(place.topic)
        if place.offset >= 0 and (stamp is None or stamp_and_note(place.metadata)[0] == stamp):
            committed[Partition(place.topic, place.partition)] = place.offset
    return committed
