"""Channels: topics whose records travel together in batches, and the one batch of each that is at work."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from confluent_kafka import Message

from infra.kafka.buffers import NEVER, Partition, PartitionBuffer, Record
from streams.join.merge import CaughtUp, Picker, R
from streams.join.merge import Partition as AnyPartition


class Decoded(Protocol):
    """What a channel's `decode` returns."""

    @property
    def ts(self) -> int | None:
        """Event time (ms since 1970-01-01 UTC); None when the record is unreadable."""


T = TypeVar("T")
State = Literal["at work", "committing", "committed", "dropped"]


def always() -> bool:
    """Allow."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Topics that are consumed together, one batch at a time.

    A topic belongs to one channel of a consumer.
    """

    name: str
    """How it is called in messages."""
    topics: tuple[str, ...]
    """The topics it takes."""
    decode: Callable[[Message], Decoded] | None = None
    """Makes an item of a message, once, on the event loop; it must not raise, an unreadable record is an item
    too. Without it the items are the messages themselves and have no `ts`."""
    picker: Callable[[], Picker] | None = None
    """Makes the picker that decides which buffered records come next; by default partitions take turns."""
    follows: Callable[[Partition], Iterable[Partition]] | None = None
    """Gives the partitions that come with one that is assigned: co-partitioned topics travel together, whatever
    the numbers of their partitions. The topics of what it gives are not subscribed to."""
    followers: tuple[str, ...] = ()
    """Those of `topics` that are read as `follows` says, and not shared out by the group."""
    fetched: bool = True
    """Whether its records are fetched. Else the group only shares its partitions out, and others read them."""
    may: Callable[[], bool] = always
    """Whether the next batch may be delivered. It is asked again after each rebalance, and after `resume`."""
    max_batch: int = 1000
    """At most so many records in a batch."""
    pace_s: float = 0.0
    """A batch that is not full is picked no sooner than so long after the one before: a transaction costs the
    broker the same however few records there are in it."""
    prompt: tuple[str, ...] = ()
    """Those of `topics` whose records do not wait for `pace_s`."""
    high_water: int = 4000
    """A partition with so many records buffered is paused, and resumed at a quarter of it."""


class Turns:
    """The default picker: partitions take turns, each in offset order."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, buffers: Mapping[AnyPartition, deque[R]], caught_up: CaughtUp, limit: int) -> list[R]:
        """Take up to `limit` records, from each partition about as many; see `Picker.pick`."""
        waiting = [buffer for buffer in buffers.values() if buffer]
        if not waiting:
            return []
        self._turn += 1
        start = self._turn % len(waiting)
        waiting = waiting[start:] + waiting[:start]
        taken: list[R] = []
        while waiting and len(taken) < limit:
            for place, buffer in enumerate(waiting):
                share = max(1, (limit - len(taken)) // (len(waiting) - place))
                count = min(share, len(buffer), limit - len(taken))
                if count == len(buffer):
                    taken.extend(buffer)
                    buffer.clear()
                else:
                    taken.extend([buffer.popleft() for _ in range(count)])
            waiting = [buffer for buffer in waiting if buffer]
        return taken


class Batch(Generic[T]):
    """Records that are processed and committed together.

    Attributes
    ----------
    channel
        Where they come from.
    records
        The records, in the order in which the picker took them.
    offsets
        For each partition in it the offset after its last record: what the transaction commits.
    metadata
        The consumer group's metadata of the membership in which the records were fetched: what the
        transaction is fenced by.
    epoch
        How many rebalances this consumer had seen when it was picked.
    state
        `at work`, `committing`, `committed`, or `dropped`: it will be read again.
    """

    __slots__ = ("channel", "epoch", "metadata", "offsets", "records", "state")

    def __init__(self, channel: Channel, records: list[Record[T]], metadata: bytes, epoch: int) -> None:
        self.channel = channel
        self.metadata = metadata
        self.epoch = epoch
        self.state: State = "at work"
        self.keep(records)

    def keep(self, records: list[Record[T]]) -> None:
        """Make these the batch's records; see `BatchConsumer.keep`."""
        self.records = records
        # In offset order within a partition, so that the last one counts.
        last = {record.partition: record.offset for record in records}
        self.offsets = {partition: offset + 1 for partition, offset in last.items()}

    def __repr__(self) -> str:
        return f"<Batch of {len(self.records)} from {self.channel.name}, {self.state}>"

    def __len__(self) -> int:
        return len(self.records)

    @property
    def items(self) -> list[T]:
        """What `decode` made of the records, in the order picked."""
        return [record.item for record in self.records]

    @property
    def arrived(self) -> float:
        """When the record that waited longest was fetched (s, `time.monotonic`)."""
        return min(record.arrived for record in self.records)


class Lane:
    """The running state of a channel; belongs to the event loop.

    The consumer's thread reads `batch`, `waiting` and `slow_until`, and writes the last.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.picker: Picker = channel.picker() if channel.picker else Turns()
        self.buffers: dict[Partition, PartitionBuffer] = {}
        self.queues: dict[AnyPartition, deque[Record[Any]]] = {}
        self.batch: Batch[Any] | None = None
        self.idle = asyncio.Event()
        self.idle.set()
        self.seeking = 0
        """How many seeks of its partitions are on their way: nothing is delivered until they are done."""
        self.suspended = 0
        """How many revocations of its partitions are on their way."""
        self.refused: bytes | None = None
        """Metadata that the group refused: nothing is delivered until there is another one."""
        self.scheduled = False
        self.waiting = False
        """Whether its picker wants to know more before it takes what is buffered."""
        self.picked = NEVER
        """When the last batch was picked (s, monotonic)."""
        self.slow_until = 0.0
        """Until when (s, monotonic) the consumer's thread does not wait for it to make room."""

    def __repr__(self) -> str:
        return f"<Lane {self.channel.name}, {len(self.buffers)} partitions, {self.batch}>"

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
        """Free the lane of its batch."""
        self.batch = None
        self.idle.set()

    def rest_s(self, now: float) -> float:
        """Give how long the next batch is to wait for company (s); `now` is in s, monotonic."""
        rest = self.picked + self.channel.pace_s - now
        if rest > 0 and (
            sum(map(len, self.queues.values())) >= self.channel.max_batch
            or any(queue and place[0] in self.channel.prompt for place, queue in self.queues.items())
        ):
            return 0.0
        return rest
