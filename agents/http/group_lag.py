"""The lag of a task's consumer groups, over all workers."""

from __future__ import annotations

from collections.abc import Mapping

from infra.kafka.offsets import committed_offsets, end_offsets
from infra.kafka.watching import seen_topics
from infra.task.context import TaskContext
from infra.task.topic_watch import CurrentTopics
from streams.positions import Place


class GroupLag:
    """Counts the records that the groups have not consumed yet: by stage, and by topic outside the task."""

    def __init__(self, context: TaskContext, current: CurrentTopics) -> None:
        self._connection, self._group = context.connection, context.group
        topics = context.topics
        self._context, self._foreign = context, context.task.foreign_topics
        self._current = current
        self._names = {
            "requests": topics.requests,
            "predictions": topics.predictions,
            "outcomes": topics.outcomes,
        }
        self._taken: dict[Place, int] = {}

    def fetch(self) -> dict[str, int]:
        """Return the lag of `requests`, `predictions`, `outcomes`, and topics outside the task, in records; blocks.

        Raises
        ------
        BrokerError
            When the cluster does not answer.
        """
        by_name = {
            name: [(topic, number) for number in range(self._current.count_of(topic))]
            for name, topic in self._names.items()
        }
        every = [place for found in by_name.values() for place in found]
        # Committed offsets first: fetched after the ends, they could exceed them. Kafka omits partitions with a
        # commit in progress; the last known offset is used for them.
        self._taken |= committed_offsets(self._connection, self._group, every)
        ends = end_offsets(self._connection, every, committed=False)
        found = {
            name: lag(ends, self._taken, places, marked=name == "predictions")
            for name, places in by_name.items()
        }
        return found | (self._outside() if self._foreign else {})

    def _outside(self) -> dict[str, int]:
        """Return the lag of each topic outside the task, which has a group of its own."""
        # Not imported by a worker without one.
        from infra.task.foreign_topics import foreign_group  # noqa: PLC0415

        found = {}
        for name, seen in seen_topics(self._connection, [*self._foreign]).items():
            role = self._foreign[name]
            places = [(name, number) for number in range(seen.partitions)]
            taken = committed_offsets(self._connection, foreign_group(self._context, role), places)
            ends = end_offsets(self._connection, places, committed=False)
            found[name] = lag(ends, taken, places, marked=role == "after")
        return found


def lag(ends: Mapping[Place, int], taken: Mapping[Place, int], places: list[Place], *, marked: bool) -> int:
    """Sum the differences between end offsets and committed offsets.

    Parameters
    ----------
    marked
        Whether the records are written in transactions: the last offset is then a commit marker, which no group
        consumes. A single record without a transaction is not counted until the next one arrives.

    Examples
    --------
    >>> ends, taken = {("p", 0): 101, ("p", 1): 7}, {("p", 0): 100}
    >>> lag(ends, taken, [("p", 0), ("p", 1)], marked=True)
    6
    """
    gaps = (ends.get(place, 0) - taken.get(place, 0) for place in places)
    return sum(max(0, gap - marked) for gap in gaps)
