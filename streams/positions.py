"""What a task's state knows of its topics: which ones they are, and which changes of theirs it may go on after.

A position is a topic's id, a partition and an offset. A topic that was deleted and made again under its name is
another topic: its offsets count from 0 again. So a position names it as `orders.outcomes~2`, the second topic of
that name; `~` is in no topic's name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from schemas.records import Command
from schemas.topics import TaskTopics

Place = tuple[str, int]
"""A topic and the number of one of its partitions."""
MARK: Final = "~"
"""Between a topic's name and the number of the topic among those of its name."""
KNOWN: Final = "topics"
"""The audit that says which topics the task has from now on."""
ACCEPTED: Final = "accept"
"""The audit of what a person has accepted: to go on with what a topic holds."""
PARTITIONS: Final = "partitions"


class TopicSeen(NamedTuple):
    """A topic as the cluster has it."""

    topic_id: str
    partitions: int
    cleanup: str
    """Its `cleanup.policy`."""


class Extent(NamedTuple):
    """What a partition holds."""

    first: int
    """The oldest offset."""
    end: int
    """The offset after the newest record, open transactions included."""


class Accepted(NamedTuple):
    """Up to where a person has accepted that a partition begins, and from where on that it ends."""

    topic_id: str
    first: int
    end: int


@dataclass(slots=True)
class KnownTopics:
    """The topics of a task, as the audits on its `T.control` say.

    Examples
    --------
    >>> known = KnownTopics()
    >>> known.learn(Command("topics", "", {"t.outcomes": "id-1", "partitions": "4"}))
    >>> known.learn(Command("topics", "", {"t.outcomes": "id-1,id-2"}))
    >>> known.name("t.outcomes"), known.partitions
    ('t.outcomes~2', 4)
    """

    ids: dict[str, list[str]] = field(default_factory=dict)
    """By name: the ids of its topics, oldest first."""
    partitions: int = 0
    """P: into so many the state is divided, whatever became of the topics since; 0: not known."""
    accepted: dict[Place, Accepted] = field(default_factory=dict)

    def learn(self, command: Command) -> None:
        """Take up an audit; commands of other names, and what no worker wrote, are passed over."""
        with suppress(ValueError, KeyError):
            self._learn(command)

    def _learn(self, command: Command) -> None:
        told = command.arguments
        if command.name == KNOWN:
            for topic, topic_id in told.items():
                if topic == PARTITIONS:
                    self.partitions = self.partitions or int(topic_id)
                else:
                    self.ids[topic] = merged(self.ids.get(topic, ()), topic_id.split(","))
        elif command.name == ACCEPTED:
            topic, topic_id = told["topic"], told["topic_id"]
            if topic_id not in self.ids.setdefault(topic, []):
                self.ids[topic].append(topic_id)
            for number, extent in told.items():
                if number.isdecimal():
                    first, end = extent.split()
                    self.accepted[topic, int(number)] = Accepted(topic_id, int(first), int(end))

    def audits(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Give the names and arguments of audits that tell all of it again."""
        told = {topic: ",".join(ids) for topic, ids in self.ids.items()}
        if self.partitions:
            told[PARTITIONS] = str(self.partitions)
        if told:
            yield KNOWN, told
        for (topic, number), each in self.accepted.items():
            extent = f"{each.first} {each.end}"
            yield ACCEPTED, {"topic": topic, "topic_id": each.topic_id, str(number): extent}

    def current(self, topic: str) -> str:
        """Give the id of a topic; empty when it is not known."""
        return self.ids.get(topic, [""])[-1]

    def name(self, topic: str) -> str:
        """Give how positions name a topic."""
        count = len(self.ids.get(topic, ()))
        return topic if count < 2 else f"{topic}{MARK}{count}"

    def news(self, seen: Mapping[str, TopicSeen], partitions: int) -> dict[str, str]:
        """Give the arguments of the audit that is due; empty when all is known.

        A topic's earlier ids stand before the new one. The audit may come to lie on a `T.control` that was made
        again a moment ago, where no other audit says them yet.
        """
        found = {
            name: ",".join([*self.ids.get(name, ()), each.topic_id])
            for name, each in seen.items()
            if self.current(name) != each.topic_id
        }
        if not self.partitions and partitions:
            found[PARTITIONS] = str(partitions)
        return found

    def settled(self, place: Place, offset: int, extent: Extent) -> int:
        """Give the offset from which to go on, by what a person has accepted of a partition."""
        told = self.accepted.get(place)
        if told is None or told.topic_id != self.current(place[0]):
            return offset
        if offset < extent.first:
            return max(offset, told.first)
        return min(offset, told.end) if offset > extent.end else offset


def merged(known: Iterable[str], told: Iterable[str]) -> list[str]:
    """Give the ids of two histories of a topic, oldest first; whatever order audits come in, the order stays.

    Examples
    --------
    >>> merged(["a", "c"], ["a", "b", "c"]), merged(["b"], ["a", "b"]), merged(["a", "b"], ["a"])
    (['a', 'b', 'c'], ['a', 'b'], ['a', 'b'])
    """
    found = list(known)
    end = len(found)
    for topic_id in reversed([*told]):
        if topic_id in found:
            end = found.index(topic_id)
        else:
            found.insert(end, topic_id)
    return found


def plain(topic: str) -> str:
    """Give the name on the cluster of a topic as positions name it.

    Examples
    --------
    >>> plain("t.outcomes~2"), plain("t.outcomes")
    ('t.outcomes', 't.outcomes')
    """
    return topic.partition(MARK)[0]


def age(topic: str) -> int:
    """Give the number of a topic among those of its name, from a position's name of it.

    Examples
    --------
    >>> age("t.outcomes~2"), age("t.outcomes")
    (2, 1)
    """
    return int(topic.partition(MARK)[2] or 1)


def wrong_place(place: Place, offset: int, extent: Extent) -> str:
    """Say why one cannot go on reading a partition at an offset; empty when one can.

    Examples
    --------
    >>> wrong_place(("t.requests", 0), 100, Extent(120, 150))[:65]
    't.requests[0] begins at offset 120 and must be read from 100 on: '
    >>> wrong_place(("t.requests", 0), 100, Extent(20, 100))
    ''
    """
    topic, number = place
    do = (
        f"Restore them from a copy of the topic; or, to go on without them, stop the workers of the task and say: "
        f"riverloop topics accept TASK {topic}"
    )
    if offset < extent.first:
        return (
            f"{topic}[{number}] begins at offset {extent.first} and must be read from {offset} on: what lay "
            f"between was deleted, by retention or by hand. {do}"
        )
    if offset > extent.end:
        return (
            f"{topic}[{number}] ends at offset {extent.end}, and was read to {offset}: its newest records are "
            f"gone, by a broker that lost them or a copy that was restored. {do}"
        )
    return ""


# ---------------------------------------------------------------------- what becomes of a task's topics


def lasting(topics: TaskTopics) -> tuple[str, ...]:
    """Give the topics that hold what a task has learned, what it waits for, and what tokens are made with."""
    return topics.log, topics.join_state, topics.keys


def refusals(
    topics: TaskTopics, known: KnownTopics, seen: Mapping[str, TopicSeen], every: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Give the topics with which the task cannot go on, each with a sentence that says what to do.

    Parameters
    ----------
    seen
        As the cluster has them, by name; a topic that is not there is missing.
    every
        All topics of the task by name, with the `cleanup.policy` that each must have.
    """
    for name, cleanup in every.items():
        there = seen.get(name)
        if there is None:
            yield name, _missing(topics, name, known)
        elif there.cleanup != cleanup:
            yield (
                name,
                f"topic {name} has cleanup.policy={there.cleanup}, and records of it would be lost that are still "
                f"needed; kafka-configs --alter --topic {name} --add-config cleanup.policy={cleanup}",
            )
        elif name in lasting(topics) and known.current(name) not in {"", there.topic_id}:
            yield name, _another(topics, name, known.current(name), there.topic_id)
        elif name == topics.predictions and known.partitions and there.partitions > known.partitions:
            yield (
                name,
                f"topic {name} has {there.partitions} partitions, and the joins' state has {known.partitions}: "
                "predictions would lie where no join reads them. Once its consumers have no lag, delete it and "
                f"make it again: kafka-topics --delete --topic {name}; riverloop topics create TASK --partitions "
                f"{known.partitions}. What waits for its outcome is kept in {topics.join_state}",
            )
        elif there.partitions < _needed(topics, name, known.partitions):
            yield (
                name,
                f"topic {name} has {there.partitions} partitions, and the task needs {known.partitions}; "
                f"kafka-topics --alter --topic {name} --partitions {known.partitions}",
            )


def _needed(topics: TaskTopics, name: str, partitions: int) -> int:
    keyed = {topics.predictions, topics.outcomes, topics.join_state}
    return partitions if name in keyed else 1


def _missing(topics: TaskTopics, name: str, known: KnownTopics) -> str:
    make = f"riverloop topics create TASK --partitions {known.partitions or 'P'}"
    if name not in lasting(topics):
        return f"topic {name} is missing: it was deleted. {make} makes it again, and the task goes on"
    return (
        f"topic {name} is missing: it was deleted, and it holds {_holds(topics, name)}. Restore it from a copy; "
        f"or, to go on without, stop the workers of the task and say: {make}; riverloop topics accept TASK {name}"
    )


def _another(topics: TaskTopics, name: str, before: str, now: str) -> str:
    return (
        f"topic {name} is another one than before (id {now}, not {before}): it was deleted and made again, and "
        f"what it held is gone: {_holds(topics, name)}. Restore it from a copy; or, to go on without, stop the "
        f"workers of the task and say: riverloop topics accept TASK {name}"
    )


def _holds(topics: TaskTopics, name: str) -> str:
    if name == topics.log:
        return "all that the models have learned from"
    if name == topics.keys:
        return "the salts of the keys under which personal data is stored: the same person gets other tokens"
    return "the requests that wait for their outcome, and those that were resolved"
