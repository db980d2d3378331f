"""How far all workers of a task together are behind its topics."""

from __future__ import annotations

from collections.abc import Mapping

from agents.loop import TaskLoop
from infra.kafka.offsets import committed_offsets, end_offsets

Place = tuple[str, int]


def behind(loop: TaskLoop) -> dict[str, int]:
    """Ask how many records wait in front of each stage (blocks).

    Returns
    -------
    dict
        `requests`: to be answered; `predictions`, `outcomes`: to be joined.

    Raises
    ------
    BrokerError
        When the cluster does not answer.
    """
    topics = loop.topics
    names = {"requests": topics.requests, "predictions": topics.predictions, "outcomes": topics.outcomes}
    places = {name: [(topic, number) for number in range(loop.partitions)] for name, topic in names.items()}
    every = [place for found in places.values() for place in found]
    # The group's place first: asked for the other way round, it could lie beyond the end.
    taken = committed_offsets(loop.connection, loop.settings.group, every)
    ends = end_offsets(loop.connection, every, committed=False)
    return {name: waiting(ends, taken, places[name], marked=name == "predictions") for name in names}


def waiting(ends: Mapping[Place, int], taken: Mapping[Place, int], places: list[Place], *, marked: bool) -> int:
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
