"""How the loop is wired, as data: who reads what, writes what, and where its state lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.topics import TaskTopics, TopicSpec, features_topic, topics
from streams.task import Task


@dataclass(frozen=True, slots=True)
class Processor:
    """One step of the loop; topics are named by the attributes of `TaskTopics`."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    runs: str
    """Where: how its work is shared out over workers."""
    state: str = ""
    """Where its state lies, and from what it is restored."""


TOPOLOGY: Final = (
    Processor(
        "serve",
        ("requests",),
        ("predictions", "quality", "dead_letters", "keys"),
        "every worker, by partition",
    ),
    Processor(
        "aggregates",
        ("requests",),
        ("aggregates", "requests"),
        "serve, where a task has aggregates; a request on the wrong partition is forwarded",
        "aggregates, a compacted changelog",
    ),
    Processor(
        "join",
        ("predictions", "outcomes"),
        ("log", "join_state", "outcomes", "dead_letters", "keys"),
        "every worker, by partition; both inputs merged by event time",
        "join-state, a compacted changelog",
    ),
    Processor(
        "quality",
        ("quality",),
        ("metrics", "alerts", "snapshots"),
        "one worker",
        "snapshots, then the tallies up to the committed offset",
    ),
    Processor(
        "subjects",
        ("keys",),
        (),
        "every worker, whole topic; only with tokenised features",
        "keys itself",
    ),
    Processor("follow", ("log",), (), "every worker, whole topic", "snapshots, then the log"),
    Processor(
        "commands", ("control", "alerts"), ("log", "control", "alerts"), "the log's owner", "both themselves"
    ),
    Processor(
        "publish",
        ("log",),
        ("log", "control", "metrics", "alerts", "snapshots"),
        "the log's owner",
        "snapshots, then the log up to the offset of this worker's models",
    ),
)


def declared(task: Task, partitions: int) -> tuple[TopicSpec, ...]:
    """Return the topics that a task has."""
    found = topics(task.name, partitions, aggregates=bool(task.aggregates))
    return (*found, features_topic(task.name, partitions)) if task.lookup else found


def processor(name: str) -> Processor:
    """Give a processor by name."""
    return next(each for each in TOPOLOGY if each.name == name)


def topics_of(task: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give the topics that attributes of `TaskTopics` stand for."""
    every = TaskTopics(task)
    return tuple(getattr(every, name) for name in names)


def describe(task: str) -> str:
    """Print the topology of a task.

    Examples
    --------
    >>> print(describe("orders").splitlines()[0])
    serve: orders.requests -> orders.predictions, orders.quality, orders.dead-letters, orders.keys
    """
    lines = []
    for each in TOPOLOGY:
        writes = ", ".join(topics_of(task, each.writes)) or "(the active models)"
        lines.append(f"{each.name}: {', '.join(topics_of(task, each.reads))} -> {writes}")
        lines.append(f"    runs in {each.runs}" + (f"; state: {each.state}" if each.state else ""))
    return "\n".join(lines)
