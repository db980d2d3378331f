"""The audits on `T.control` of which topics a task has: read, and written when something has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.transaction import OutRecord
from infra.kafka.watching import extents, seen_topics
from infra.kafka.writer import Writer
from infra.past import commands
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.records import Command, Control
from schemas.topics import TaskTopics, topics
from streams.positions import ACCEPTED, KNOWN, KnownTopics
from streams.task import Task

AUTHOR = "riverloop"


def read_known(codec: Codec, connection: Connection, names: TaskTopics) -> KnownTopics:
    """Read what is known of a task's topics (blocks).

    Raises
    ------
    BrokerError
        `T.control` cannot be read.
    """
    known = KnownTopics()
    for command in commands(codec, read_all(connection, names.control)):
        known.learn(command)
    return known


def check_foreign(connection: Connection, task: Task) -> None:
    """See that the topics exist from which a task takes outcomes and requests (blocks).

    Raises
    ------
    UsageError
        Naming those that do not.
    """
    names = [*task.foreign_topics]
    missing = sorted(set(names) - seen_topics(connection, names).keys() if names else ())
    if task.after is not None and task.after.topic in missing:
        raise UsageError(
            f"task {task.name} comes after task {task.after.task.name}, which has no topics on "
            f"{connection.bootstrap}; create them with: riverloop topics create"
        )
    if missing:
        raise UsageError(
            f"task {task.name} takes outcomes from topics that do not exist on {connection.bootstrap}: "
            f"{', '.join(missing)}; create them, start the connector that does, or correct outcomes_from="
        )


def write_audit(
    codec: Codec,
    connection: Connection,
    names: TaskTopics,
    name: str,
    arguments: Mapping[str, str],
    reason: str,
    now_ms: int,
    author: str = AUTHOR,
) -> Command:
    """Write an audit, and wait until it is acknowledged (blocks); gives its command.

    Several workers may write the same: the first one counts.

    Raises
    ------
    BrokerError
        It is not acknowledged.
    """
    assert name in {KNOWN, ACCEPTED}
    command = Command(name, "", dict(arguments), author, reason)  # type: ignore[arg-type]  # one of the two
    value = codec.encode(Control("audit", command, now_ms))

    async def write() -> None:
        writer = Writer(connection)
        try:
            await writer.send(OutRecord(names.control, names.task.encode(), value, 0))
        finally:
            await writer.close()

    asyncio.run(write())
    return command


def accept_topics(
    codec: Codec,
    connection: Connection,
    task: str,
    names: Sequence[str],
    reason: str,
    author: str,
    now_ms: int,
) -> dict[str, Any]:
    """Write down that a task may go on with what topics hold now (blocks); gives that by topic.

    Raises
    ------
    UsageError
        One is no topic of the task, or is not there.
    BrokerError
        The cluster does not answer.
    """
    mine = [spec.name for spec in topics(task, 1, aggregates=True)]
    seen = seen_topics(connection, mine)
    for name in names:
        if name not in mine:
            raise UsageError(f"{name!r:.80} is not a topic of task {task}; its topics are {', '.join(mine)}")
        if name not in seen:
            raise UsageError(f"topic {name} does not exist; run: riverloop topics create")
    accepted: dict[str, Any] = {}
    for name in names:
        there = extents(connection, [(name, number) for number in range(seen[name].partitions)])
        holds = {str(number): [*extent] for (_, number), extent in sorted(there.items())}
        arguments = {"topic": name, "topic_id": seen[name].topic_id}
        arguments |= {number: f"{first} {end}" for number, (first, end) in holds.items()}
        places = TaskTopics(task)
        write_audit(codec, connection, places, ACCEPTED, arguments, reason, now_ms, author)
        accepted[name] = {"topic_id": seen[name].topic_id, "partitions": holds}
    return accepted
