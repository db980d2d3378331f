"""Which of the records that wait go next: two co-partitioned topics merged by event time.

Reading one of two topics ahead of the other would decide what is late by the speed of reading. So the earlier
record goes first, and while one side is empty nobody knows what is earlier until that side is caught up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""
NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
CaughtUp = Callable[[Partition, float], bool]
"""Whether all that a partition held at a moment (s, the clock of `Timed.arrived`) has been handed over."""


class Timed(Protocol):
    """What a picker needs to know of a record."""

    @property
    def ts(self) -> int | None:
        """Event time (ms since 1970-01-01 UTC); None when the record cannot be read."""

    @property
    def arrived(self) -> float:
        """When it arrived here (s, any clock that never runs backwards)."""


R = TypeVar("R", bound=Timed)


class Picker(Protocol):
    """Decides which of the buffered records form the next batch."""

    def pick(self, buffers: Mapping[Partition, deque[R]], caught_up: CaughtUp, limit: int) -> list[R]:
        """Take records from the left of the buffers, in the order in which they are to be processed.

        Parameters
        ----------
        buffers
            The records of each assigned partition in offset order; what is taken is removed.
        caught_up
            Asked about an empty partition: whether it held nothing more at a moment. Asking with the answer
            False makes the answer come; `pick` is called again then.
        limit
            Take at most as many records.

        Returns
        -------
        list
            Empty when nothing may go yet.
        """


class MergeByTime:
    """Merges each partition of one topic with the same partition of another, the earlier record first.

    Parameters
    ----------
    first, second
        The two topics. At equal event time the record of `first` goes first (the outcome, in the join).
    partitions
        So many are merged. What lies on further ones of one topic has nothing to be merged with, and is taken at
        once; 0: all are merged.

    Notes
    -----
    A record that cannot be read (`ts` None) has no place in time and is taken at once. While one side is empty
    the other waits until the empty one is known to be caught up since the waiting record arrived. Partitions
    are independent of each other, and take turns in being the first of a batch. A partition whose other side
    is not assigned here waits.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Record(NamedTuple):
    ...     ts: int
    ...     arrived: float = 0.0
    >>> buffers = {("outcomes", 0): deque([Record(2), Record(5)]), ("predictions", 0): deque([Record(2)])}
    >>> merge = MergeByTime("outcomes", "predictions")
    >>> [record.ts for record in merge.pick(buffers, lambda partition, since: False, 10)]
    [2, 2]
    >>> [record.ts for record in merge.pick(buffers, lambda partition, since: True, 10)]
    [5]
    """

    def __init__(self, first: str, second: str, partitions: int = 0) -> None:
        self.first = first
        self.second = second
        self.partitions = partitions
        self._turn = 0

    def __repr__(self) -> str:
        return f"MergeByTime({self.first!r}, {self.second!r})"

    def pick(
        self,
        buffers: Mapping[Partition, deque[R]],
        caught_up: CaughtUp,
        limit: int,
        wait_from: Mapping[str, int] = NOTHING,
    ) -> list[R]:
        """Take up to `limit` records in event-time order per partition; see `Picker.pick`.

        Parameters
        ----------
        wait_from
            By topic: the event time (ms) from which on its records wait although the other side is caught up.
        """
        numbers = sorted(number for topic, number in buffers if topic == self.first)
        taken: list[R] = []
        for place in range(len(numbers)):
            number = numbers[(self._turn + place) % len(numbers)]
            if self.partitions and number >= self.partitions:
                queue = buffers[self.first, number]
                while queue and len(taken) < limit:
                    taken.append(queue.popleft())
            elif (self.second, number) in buffers:
                self._merge(number, buffers, caught_up, limit, wait_from, taken)
        self._turn += 1
        return taken

    def _merge(
        self,
        number: int,
        buffers: Mapping[Partition, deque[R]],
        caught_up: CaughtUp,
        limit: int,
        wait_from: Mapping[str, int],
        taken: list[R],
    ) -> None:
        first_partition, second_partition = (self.first, number), (self.second, number)
        first, second = buffers[first_partition], buffers[second_partition]
        while len(taken) < limit:
            if first and second:
                mine, other = first[0].ts, second[0].ts
                ahead = mine is None or (other is not None and mine <= other)
                taken.append((first if ahead else second).popleft())
            elif first or second:
                side, empty = (first, second_partition) if first else (second, first_partition)
                head = side[0]
                if head.ts is not None:
                    from_ts = wait_from.get(self.first if first else self.second)
                    if (from_ts is not None and head.ts >= from_ts) or not caught_up(empty, head.arrived):
                        return
                taken.append(side.popleft())
            else:
                return
