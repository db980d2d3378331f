"""How far all workers of a task together are behind its topics."""

from __future__ import annotations

from collections.abc import Mapping

from agents.loop import TaskLoop
from infra.kafka.offsets import committed_offsets, end_offsets

Place = tuple[str, int]


class Behind:
    """Asks how many records wait in front of each stage.

    Parameters
    ----------
    loop
        The task's.
    """

    def __init__(self, loop: TaskLoop) -> None:
        self._connection, self._group = loop.connection, loop.settings.group
        topics = loop.topics
        self._loop = loop
        self._names = {
            "requests": topics.requests,
            "predictions": topics.predictions,
            "outcomes": topics.outcomes,
        }
        self._taken: dict[Place, int] = {}

    def ask(self) -> dict[str, int]:
        """Give the records to be answered (`requests`) and to be joined (`predictions`, `outcomes`); blocks.

        Raises
        ------
        BrokerError
            When the cluster does not answer.
        """
        by_name = {
            name: [(topic, number) for number in range(self._loop.count_of(topic))]
            for name, topic in self._names.items()
        }
        every = [place for found in by_name.values() for place in found]
        # The group's place first: asked for the other way round, it could lie beyond the end. It is not told for a
        # partition that is being committed right now; then the last one known holds.
        self._taken |= committed_offsets(self._connection, self._group, every)
        ends = end_offsets(self._connection, every, committed=False)
        return {
            name: waiting(ends, self._taken, places, marked=name == "predictions")
            for name, places in by_name.items()
        }


def waiting(
    ends: Mapping[Place, int], taken: Mapping[Place, int], places: list[Place], *, marked: bool
) -> int:
    """Add up what lies between a group's places and the ends of partitions.

    Parameters
    ----------
    marked
        Whether the records are written in transactions: behind the newest one lies its commit marker, which no
        group ever takes up. So a single record that was written without one goes unseen until the next comes.

    Examples
    --------
    >>> ends, taken = {("p", 0): 101, ("p", 1): 7}, {("p", 0): 100}
    >>> waiting(ends, taken, [("p", 0), ("p", 1)], marked=True)
    6
    """
    gaps = (ends.get(place, 0) - taken.get(place, 0) for place in places)
    return sum(max(0, gap - marked) for gap in gaps)
