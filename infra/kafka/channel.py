"""Channels: topics whose records are consumed together in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Literal, Protocol, TypeVar

from confluent_kafka import Message

from infra.kafka.buffers import Partition, Record
from streams.join.merge import Picker


class Decoded(Protocol):
    """What a channel's `decode` returns."""

    @property
    def ts(self) -> int | None:
        """Event time (ms since 1970-01-01 UTC); None when the record is unreadable."""


T = TypeVar("T")
FULL_AT: Final = 4_000
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
    decode: Callable[[Sequence[Message]], Sequence[Decoded]] | None = None
    """Makes an item of each message, all of one partition, once, on the event loop; it must not raise, an
    unreadable record is an item too. Without it the items are the messages themselves and have no `ts`."""
    picker: Callable[[], Picker] | None = None
    """Makes the picker that decides which buffered records come next; by default partitions take turns."""
    follows: Callable[[Partition], Iterable[Partition]] | None = None
    """Gives the partitions that come with one that is assigned: co-partitioned topics travel together, whatever
    the numbers of their partitions. The topics of what it gives are not subscribed to."""
    followers: tuple[str, ...] = ()
    """Those of `topics` that are read as `follows` says, and not shared out by the group."""
    joins: Callable[[], bool] = always
    """Whether its topics are subscribed to already. It is asked again at each `subscribe`."""
    fetched: bool = True
    """Whether its records are fetched. Else the group only shares its partitions out, and others read them."""
    may: Callable[[], bool] = always
    """Whether the next batch may be delivered. It is asked again after each rebalance, and after `resume`."""
    max_batch: int = 1000
    """Maximum number of records in a batch."""
    pace_s: float = 0.0
    """Minimum time between two batches that are not full (s): a transaction costs the broker the same, however few
    records there are in it."""
    prompt: tuple[str, ...] = ()
    """Those of `topics` whose records do not wait for `pace_s`."""
    high_water: int = 0
    """A partition with this many records buffered is paused, and resumed at a quarter of it; 0: four batches,
    and at least `FULL_AT`."""

    @property
    def full_at(self) -> int:
        """How many buffered records fill a partition."""
        return self.high_water or max(FULL_AT, 4 * self.max_batch)


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
    state
        `at work`, `committing`, `committed`, or `dropped`: it will be read again.
    """

    __slots__ = ("channel", "metadata", "offsets", "records", "state")

    def __init__(self, channel: Channel, records: list[Record[T]], metadata: bytes) -> None:
        self.channel = channel
        self.metadata = metadata
        self.state: State = "at work"
        self.keep(records)

    def keep(self, records: list[Record[T]]) -> None:
        """Make these the batch's records; see `BatchConsumer.keep`."""
        self.records = records
        # By identity first, which costs half of a hash: a buffer gives one object to all its records.
        last = {id(record.partition): record for record in records}
        self.offsets: dict[Partition, int] = {}
        for partition, offset, *_ in last.values():
            self.offsets[partition] = max(self.offsets.get(partition, 0), offset + 1)

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
