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


class OffsetRange(NamedTuple):
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
    """P, the number of partitions of the state, whatever became of the topics since; 0: not known."""
    accepted: dict[Place, Accepted] = field(default_factory=dict)

    def learn(self, command: Command) -> None:
        """Take up an audit; commands of other names, and what no worker wrote, are skipped."""
        with suppress(ValueError, KeyError):
            self._learn(command)

    def _learn(self, command: Command) -> None:
        arguments = command.arguments
        if command.name == KNOWN:
            for topic, topic_id in arguments.items():
                if topic == PARTITIONS:
                    self.partitions = self.partitions or int(topic_id)
                else:
                    self.ids[topic] = merged(self.ids.get(topic, ()), topic_id.split(","))
        elif command.name == ACCEPTED:
            topic, topic_id = arguments["topic"], arguments["topic_id"]
            if topic_id not in self.ids.setdefault(topic, []):
                self.ids[topic].append(topic_id)
            for number, extent in arguments.items():
                if number.isdecimal():
                    first, end = extent.split()
                    self.accepted[topic, int(number)] = Accepted(topic_id, int(first), int(end))

    def audits(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Give the names and arguments of audits that tell all of it again."""
        arguments = {topic: ",".join(ids) for topic, ids in self.ids.items()}
        if self.partitions:
            arguments[PARTITIONS] = str(self.partitions)
        if arguments:
            yield KNOWN, arguments
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

    def settled(self, place: Place, offset: int, extent: OffsetRange) -> int:
        """Give the offset from which to go on, by what a person has accepted of a partition."""
        accepted = self.accepted.get(place)
        if accepted is None or accepted.topic_id != self.current(place[0]):
            return offset
        if offset < extent.first:
            return max(offset, accepted.first)
        return min(offset, accepted.end) if offset > extent.end else offset


def merged(known: Iterable[str], other: Iterable[str]) -> list[str]:
    """Give the ids of two histories of a topic, oldest first; whatever order audits come in, the order stays.

    Examples
    --------
    >>> merged(["a", "c"], ["a", "b", "c"]), merged(["b"], ["a", "b"]), merged(["a", "b"], ["a"])
    (['a', 'b', 'c'], ['a', 'b'], ['a', 'b'])
    """
    found = list(known)
    end = len(found)
    for topic_id in reversed([*other]):
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


def wrong_place(place: Place, offset: int, extent: OffsetRange) -> str:
    """Say why one cannot go on reading a partition at an offset; empty when one can.

    Examples
    --------
    >>> wrong_place(("t.requests", 0), 100, OffsetRange(120, 150))[:65]
    't.requests[0] begins at offset 120, but must be read from 100: th'
    >>> wrong_place(("t.requests", 0), 100, OffsetRange(20, 100))
    ''
    """
    topic, number = place
    do = (
        "Restore them from a copy of the topic. To continue without them, stop the workers of the task and "
        f"run: riverloop topics accept TASK {topic}"
    )
    if offset < extent.first:
        return (
            f"{topic}[{number}] begins at offset {extent.first}, but must be read from {offset}: the records "
            f"between were deleted, by retention or by hand. {do}"
        )
    if offset > extent.end:
        return (
            f"{topic}[{number}] ends at offset {extent.end}, but was read to {offset}: its newest records "
            f"were lost by a broker or by restoring a copy. {do}"
        )
    return ""


# ---------------------------------------------------------------------- what becomes of a task's topics


def lasting(topics: TaskTopics) -> tuple[str, ...]:
    """Give the topics that hold what a task has learned, what it waits for, and what tokens are made with."""
    return topics.log, topics.join_state, topics.keys, topics.aggregates


def rejections(
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
                f"topic {name} has cleanup.policy={there.cleanup}, which would delete records that are "
                f"still needed; run: kafka-configs --alter --topic {name} --add-config "
                f"cleanup.policy={cleanup}",
            )
        elif name in lasting(topics) and known.current(name) not in {"", there.topic_id}:
            yield name, _another(topics, name, known.current(name), there.topic_id)
        elif name == topics.predictions and known.partitions and there.partitions > known.partitions:
            yield (
                name,
                f"topic {name} has {there.partitions} partitions, but the join state has {known.partitions}: "
                "no join would read the other predictions. Once its consumers have no lag, recreate it: "
                f"kafka-topics --delete --topic {name}; riverloop topics create TASK --partitions "
                f"{known.partitions}. Pending predictions are kept in {topics.join_state}",
            )
        elif there.partitions < _needed(topics, name, known.partitions):
            yield (
                name,
                f"topic {name} has {there.partitions} partitions, but the task needs {known.partitions}; "
                f"run: kafka-topics --alter --topic {name} --partitions {known.partitions}",
            )


def _needed(topics: TaskTopics, name: str, partitions: int) -> int:
    keyed = {topics.predictions, topics.outcomes, topics.join_state, topics.aggregates}
    return partitions if name in keyed else 1


def _missing(topics: TaskTopics, name: str, known: KnownTopics) -> str:
    make = f"riverloop topics create TASK --partitions {known.partitions or 'P'}"
    if name == topics.aggregates and not known.current(name):
        return f"topic {name} is missing: a task with aggregates needs it. To continue, run: {make}"
    if name not in lasting(topics):
        return f"topic {name} is missing: it was deleted. To continue, run: {make}"
    return (
        f"topic {name} is missing: it was deleted with {_holds(topics, name)}. Restore it from a copy. To "
        f"continue without it, stop the workers of the task and run: {make}; riverloop topics accept TASK "
        f"{name}"
    )


def _another(topics: TaskTopics, name: str, before: str, now: str) -> str:
    return (
        f"topic {name} was recreated (id {now}, not {before}) and has lost {_holds(topics, name)}. Restore "
        "it from a copy. To continue without it, stop the workers of the task and run: riverloop topics "
        f"accept TASK {name}"
    )


def _holds(topics: TaskTopics, name: str) -> str:
    if name == topics.log:
        return "all entries that the models have learned"
    if name == topics.keys:
        return "the salts of the keys of tokens, so that a person gets new tokens"
    if name == topics.aggregates:
        return "the requests that count in aggregates"
    return "pending and resolved requests"
