"""What was fetched and not yet picked: one buffer per partition, and what is known about its end."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Generic, NamedTuple, TypeVar

from confluent_kafka import Message

T = TypeVar("T")
NEVER = -math.inf

_offset: Callable[[Message], int] = Message.offset  # type: ignore[assignment]  # never None without an error


class Partition(NamedTuple):
    """One partition of a topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.number}]"


class Record(NamedTuple, Generic[T]):
    """A decoded record that waits in a buffer."""

    partition: Partition
    offset: int
    ts: int | None
    """Event time (ms since 1970-01-01 UTC); None when unreadable or when the channel does not decode."""
    arrived: float
    """When it was fetched (s, `time.monotonic`)."""
    item: T
    """What the channel's `decode` made of the message."""


# Half the time of the class's own call, which is a function in Python.
_record: Callable[[Iterable[Any]], Record[Any]] = partial(tuple.__new__, Record)


class PartitionBuffer:
    """The records of one partition, from one assignment of it to its revocation.

    All of it belongs to the event loop, except `handed`, which the consumer's thread alone writes, and `size`,
    which it reads.

    Parameters
    ----------
    partition
        Whose records these are.
    """

    __slots__ = ("asked", "end", "handed", "known_through", "partition", "queue", "read_to", "received")

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.queue: deque[Record[Any]] = deque()
        self.handed = 0
        """How many records the consumer's thread has handed over."""
        self.received = 0
        """How many of them have reached the queue."""
        self.read_to = -1
        """Every committed record below this offset was handed over since the last seek; -1: unknown."""
        self.known_through = NEVER
        """All that was committed up to this moment (s, monotonic) has been handed over."""
        self.asked = NEVER
        """When the broker was last asked for the partition's end (s, monotonic)."""
        self.end: tuple[float, int] | None = None
        """The answer: when it was asked, and the last stable offset then."""

    def __repr__(self) -> str:
        return f"<PartitionBuffer {self.partition}, {len(self.queue)} records, read to {self.read_to}>"

    @property
    def size(self) -> int:
        """How many records wait here or are on their way here; an estimate outside the event loop."""
        return self.handed - self.received + len(self.queue)

    def extend(
        self,
        messages: Sequence[Message],
        decode: Callable[[Sequence[Message]], Sequence[Any]] | None,
        arrived: float,
    ) -> None:
        """Append messages of this partition, decoded once."""
        if not messages:
            return
        items: Sequence[Any] = messages if decode is None else decode(messages)
        times = repeat(None) if decode is None else [item.ts for item in items]
        self.queue.extend(
            map(_record, zip(repeat(self.partition), map(_offset, messages), times, repeat(arrived), items))
        )
        self.received += len(messages)
        self.reach(_offset(messages[-1]) + 1)

    def reach(self, offset: int) -> None:
        """Note that everything below an offset was handed over: a record's next, or a partition's end.

        The end of a partition (librdkafka's EOF event) lies behind the markers that transactions leave, where
        a record's offset never gets.
        """
        self.read_to = max(self.read_to, offset)
        self.settle()

    def answer(self, asked: float, end: int) -> None:
        """Note the last stable offset at a moment (s, monotonic)."""
        self.end = (asked, end)
        self.settle()

    def settle(self) -> None:
        """Conclude up to which moment everything was handed over."""
        if self.end is not None and self.read_to >= self.end[1]:
            self.known_through, self.end = self.end[0], None

    def drop(self) -> None:
        """Forget all records, and what was known of the end: the partition is read again after a seek."""
        self.queue.clear()
        self.read_to, self.known_through, self.asked, self.end = -1, NEVER, NEVER, None
