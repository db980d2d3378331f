"""How the loop is wired, as data: who reads what, writes what, and where its state lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


OUTCOMES_FROM: Final = Processor(
    "outcomes-from",
    ("outcomes_from",),
    ("outcomes", "dead_letters"),
    "every worker, by partition of these topics, in the group GROUP.TASK.outcomes-from",
)
"""Only of tasks with `outcomes_from`."""
AFTER: Final = Processor(
    "after",
    ("after",),
    ("requests", "dead_letters"),
    "every worker, by partition of these predictions, in the group GROUP.TASK.after",
)
"""Only of tasks with `after`."""
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


def processors(task: Task) -> tuple[Processor, ...]:
    """Return the processors of a task: those of every task, and those that read topics outside it."""
    outside = [OUTCOMES_FROM] if task.outcomes_from else []
    if task.after is not None:
        outside.append(AFTER)
    return (*outside, *TOPOLOGY)


def topics_of(task: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """Give the topics that attributes of `TaskTopics` stand for."""
    every = TaskTopics(task)
    return tuple(getattr(every, name) for name in names)


def wiring(task: Task) -> tuple[Processor, ...]:
    """Return the processors of a task with the names of the topics that they read and write.

    Examples
    --------
    See `riverloop topics show`.
    """
    outside = {
        "outcomes_from": tuple(each.topic for each in task.outcomes_from),
        "after": () if task.after is None else (task.after.topic,),
    }

    def named(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            topic for name in names for topic in (outside.get(name) or topics_of(task.name, (name,)))
        )

    return tuple(
        replace(each, reads=named(each.reads), writes=named(each.writes)) for each in processors(task)
    )


def describe(task: Task) -> str:
    """Print the topology of a task."""
    lines = []
    for each in wiring(task):
        writes = ", ".join(each.writes) or "(the active models)"
        lines.append(f"{each.name}: {', '.join(each.reads)} -> {writes}")
        lines.append(f"    runs in {each.runs}" + (f"; state: {each.state}" if each.state else ""))
    return "\n".join(lines)
