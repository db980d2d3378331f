"""The lag of a task's consumer group, over all workers."""

from __future__ import annotations

from collections.abc import Mapping

from infra.kafka.offsets import committed_offsets, end_offsets
from infra.task.context import TaskContext
from infra.task.topic_watch import CurrentTopics
from streams.positions import Place


class GroupLag:
    """Counts the records that the group has not consumed yet, by stage."""

    def __init__(self, context: TaskContext, current: CurrentTopics) -> None:
        self._connection, self._group = context.connection, context.group
        topics = context.topics
        self._current = current
        self._names = {
            "requests": topics.requests,
            "predictions": topics.predictions,
            "outcomes": topics.outcomes,
        }
        self._taken: dict[Place, int] = {}

    def fetch(self) -> dict[str, int]:
        """Return the lag of `requests`, `predictions` and `outcomes`, in records; blocks.

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
        return {
            name: lag(ends, self._taken, places, marked=name == "predictions")
            for name, places in by_name.items()
        }


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
