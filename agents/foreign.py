"""What of a worker reads topics outside a task: outcomes of change streams, requests of the task before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from agents.ending import Ending
from agents.feed import Feed
from agents.settings import Settings
from infra.kafka.buffers import Partition
from infra.kafka.fencing import Fencing, client_id
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.event_time import TimeBounds

if TYPE_CHECKING:
    from agents.worker import Prepared
    from infra.task.foreign_topics import ForeignTopics

FOREIGN_S: Final = 5.0
"""Interval at which foreign topics are described."""


def foreign_of(
    context: TaskContext,
    settings: Settings,
    readiness: Readiness,
    turns: Turns,
    statistics: Statistics,
    times: TimeBounds,
) -> Iterator[ForeignTopics]:
    """Return what reads topics outside a task.

    Parameters
    ----------
    times
        Within which event times lie.

    Raises
    ------
    BrokerError, UsageError
        See `infra.task.chained_requests.upstream_codec`.
    """
    about = (context, readiness, turns, statistics)
    # Not imported by a worker without one.
    if context.task.outcomes_from:
        from infra.task.mapped_outcomes import MappedOutcomes  # noqa: PLC0415

        yield MappedOutcomes(*about, times, settings.max_batch)
    if context.task.after is not None:
        from infra.task.chained_requests import ChainedRequests, upstream_codec  # noqa: PLC0415

        framed = (settings.schema_registry, settings.registry_properties.splitlines())
        codec = upstream_codec(context.task.after, context.connection, *framed)
        yield ChainedRequests(*about, codec, settings.max_batch)


def add_foreign(app: Any, foreign: ForeignTopics, prepared: Prepared, ending: Ending) -> Feed:
    """Add the agent that makes records of a task of those of topics outside it."""
    slot = prepared.slot.name
    fencing = Fencing(prepared.connection, foreign.group, slot, lambda slot: [foreign.transactional_id(slot)])

    async def assigned(partitions: frozenset[Partition]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, fencing.rebalanced)
        await foreign.assigned(feed.consumer, partitions)

    async def watch() -> None:
        await foreign.look(feed.consumer)

    feed = Feed(
        app,
        prepared.connection,
        foreign.group,
        {foreign.channel: lambda batch: ending.guard(partial(foreign.on_batch, feed.consumer, batch))},
        on_assigned=assigned,
        properties={"client.id": client_id(foreign.group, slot)},
        stamps=foreign.stamps,
        on_gone=foreign.gone,
    )
    app.service(feed)
    app.timer(FOREIGN_S, name=f"{foreign.channel.name}.topics")(watch)
    return feed
