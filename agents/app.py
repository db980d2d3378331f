"""The Faust app of a worker: its agents, timers and life cycle; nothing else of Faust is used."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import ChainMap
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import faust
from aiohttp import web

from agents.boot import Boot
from agents.ending import Ending
from agents.feed import Feed, Work
from agents.foreign import add_foreign
from agents.http.address import authority, bind
from agents.http.routes import add_routes
from agents.http.server import HttpServer
from agents.stopping import BoundedWorker, Stopping, run_to_the_end
from agents.task_agents import TaskAgents
from agents.worker import Prepared
from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch, Channel
from infra.kafka.consumer import BatchConsumer
from infra.kafka.fencing import Fencing, client_id
from infra.kafka.watch import ClusterWatch
from infra.kafka.writer import Writer
from infra.permissions import make_private
from infra.task.applied import AppliedReports
from infra.task.revisions import RevisionRequests
from infra.task.rollbacks import Rollbacks
from infra.task.topic_watch import WATCH_S
from streams.garbage import collect_seldom

SILENCE_S: Final = 1.0
LAG_S: Final = 5.0
UNREADABLE_CODE: Final = 3
"""The exit code of a worker that met a record which nobody can read: see `agents.cli.main`."""
log = logging.getLogger(__name__)


def run(prepared: Prepared, stopping: Stopping | None = None) -> None:
    """Run a worker until SIGTERM or Ctrl-C.

    Raises
    ------
    Unreadable
        A record of the loop's own topics cannot be read; the worker has stopped in order.
    """
    ending = Ending()
    app = make_app(prepared, ending)
    worker = BoundedWorker(
        app, loglevel=prepared.settings.log_level, override_logging=False, redirect_stdouts=False, quiet=True
    )
    worker.spinner = None  # it writes a terminal's codes, even into a file
    # Our timers wait for transactions; that they then come late is no news.
    logging.getLogger("mode.timers").setLevel(logging.ERROR)
    collect_seldom()
    stopping = stopping or Stopping()
    stopping.why_slow = lambda: prepared.cluster.problems(time.monotonic())
    stopping.code = lambda: UNREADABLE_CODE if ending.error is not None else 0
    try:
        run_to_the_end(worker, stopping)
    finally:
        if ending.error is not None:
            raise ending.error


def make_app(prepared: Prepared, ending: Ending | None = None) -> Any:
    """Make the app with the agents of all tasks."""
    ending = ending or Ending()
    settings, connection = prepared.settings, prepared.connection
    sockets = bind(settings.http_host, settings.http_port)
    make_private(settings.data_folder / "faust")  # Faust would make it with any right that the umask leaves
    app: Any = faust.App(
        settings.group,
        broker="confluent://unused",  # Faust starts no client of Kafka: see Boot
        store="memory://",
        autodiscover=False,
        datadir=str(settings.data_folder / "faust"),
        web_enabled=False,
    )
    writer = Writer(connection, cluster=prepared.cluster)
    tasks = {name: each.http for name, each in prepared.agents.items()}
    for each in prepared.agents.values():
        AppliedReports(each.context, each.readiness, each.log, writer)
    watch = ClusterWatch(
        connection, [(each.context.topics.log, 0) for each in tasks.values()], prepared.cluster
    )
    watch.start()
    web_app = web.Application()
    pages = add_routes(web_app, tasks, writer, settings)
    app.boot_strategy = Boot(app, HttpServer(web_app, sockets, settings.http_connections, pages.probes))
    log.info("HTTP on http://%s", authority(settings.http_host, sockets[0].getsockname()[1]))
    feed = _feed(app, prepared, ending)
    readers = {name: [feed.consumer] for name in prepared.agents}
    owners = [
        _add_task(app, agents, readers[name], prepared, ending, writer)
        for name, agents in prepared.agents.items()
    ]
    app.service(feed)
    foreign = []
    for name, agents in prepared.agents.items():
        for topics in agents.foreign:
            foreign.append(add_foreign(app, topics, prepared, ending))
            readers[name].append(foreign[-1].consumer)

    async def stopping(sender: Any, **options: Any) -> None:
        watch.stop()
        for each in tasks.values():
            await each.readiness.stop()
        pages.stop()
        await asyncio.gather(*(each.consumer.drain() for each in [feed, *foreign]))
        pairs = zip(prepared.agents.values(), owners, strict=True)
        await asyncio.gather(*(agents.stop(owner) for agents, owner in pairs))
        # The group's other members wait for this one until it has left; they need no producer of it to be closed.
        await asyncio.gather(*(each.consumer.stop() for each in [feed, *foreign]))
        await asyncio.gather(*(agents.close() for agents in prepared.agents.values()))
        await writer.close()
        await asyncio.gather(*(agents.close_shared() for agents in prepared.agents.values()))

    app.on_before_shutdown.connect(stopping)
    return app


def _feed(app: Any, prepared: Prepared, ending: Ending) -> Feed:
    """Make the agents of all tasks on the batches of the worker's group."""
    group, slot, tasks = prepared.settings.group, prepared.slot.name, prepared.agents.values()
    fencing = Fencing(
        prepared.connection,
        group,
        slot,
        lambda slot: [
            agents.transactional_id(role, slot) for agents in tasks for role in ("turn", "quality")
        ],
    )

    async def assigned(partitions: frozenset[Partition]) -> None:
        log.info("%s: %d partitions are assigned here", group, len(partitions))
        await asyncio.get_running_loop().run_in_executor(None, fencing.rebalanced)
        for agents in tasks:
            own = [each for each in partitions if each.topic in agents.watch.names]
            await ending.guard(partial(agents.assignments.assigned, feed.consumer, own))
            if agents.tallies.partition in partitions:
                await agents.tallies.take_over(feed.consumer)

    async def revoked(partitions: frozenset[Partition]) -> None:
        log.info("%s: %d partitions are revoked by a rebalance", group, len(partitions))
        for agents in tasks:
            agents.assignments.revoked(partitions)
            if agents.tallies.partition in partitions:
                agents.tallies.release()

    def gone(partition: Partition, text: str) -> None:
        for agents in tasks:
            agents.assignments.gone(partition, text)

    def guarded(work: Callable[[BatchConsumer, Batch[Any]], Awaitable[None]]) -> Work:
        return lambda batch: ending.guard(partial(work, feed.consumer, batch))

    channels: dict[Channel, Work] = {}
    for agents in tasks:
        channels[agents.inputs] = guarded(agents.turn.on_batch)
        channels[agents.tally_batches] = guarded(agents.tallies.on_batch)
    feed = Feed(
        app,
        prepared.connection,
        group,
        channels,
        on_assigned=assigned,
        on_revoked=revoked,
        properties={"client.id": client_id(group, slot)},
        stamps=ChainMap(*(agents.current.stamps for agents in tasks)),  # each task's topics are its own
        on_gone=gone,
    )
    return feed


def _add_task(
    app: Any,
    agents: TaskAgents,
    readers: Sequence[BatchConsumer],
    prepared: Prepared,
    ending: Ending,
    writer: Writer,
) -> BatchConsumer:
    """Add the work of a task beside its agents; gives the member of the group of its log's owners.

    Parameters
    ----------
    readers
        The members of the groups that read for the task, that of the worker's group first.
    """
    name, consumer = agents.context.task.name, readers[0]
    publisher = agents.publisher
    owner, rank = _owner(app, agents, prepared), publisher.rank

    def moved() -> None:
        nonlocal rank
        consumer.subscribe()  # the models may have become ready
        consumer.wake()
        if publisher.rank != rank and publisher.tenure is None:
            rank = publisher.rank
            owner.rejoin(client_id(publisher.group, prepared.slot.name, rank))

    agents.log.moved.append(moved)

    async def read_log() -> None:
        await agents.start()
        await ending.guard(agents.log.run)

    async def publish() -> None:
        # The log belongs to a worker that has read it: one that still learns it would publish nothing.
        await agents.log.answering.wait_caught_up()
        await owner.start()
        await ending.guard(partial(agents.publisher.run, owner))

    async def open_revisions() -> None:
        await RevisionRequests(agents.context, agents.readiness, agents.log, writer).run()

    async def roll_back() -> None:
        publisher = agents.publisher
        rollbacks = Rollbacks(
            agents.context,
            agents.readiness,
            agents.log,
            lambda: publisher.is_owner,
            agents.aside_job,
            writer,
        )
        await ending.guard(rollbacks.run)

    async def silence() -> None:
        await ending.guard(partial(agents.turn.on_silence, consumer))
        await agents.publish_rest(consumer)

    async def follow_keys() -> None:
        await agents.subjects.follow()

    async def watch() -> None:
        await agents.assignments.look([consumer, owner])

    async def fetch_lag() -> None:
        await agents.status.fetch_lag(readers)

    app.task(read_log)
    app.task(publish)
    app.task(open_revisions)
    app.task(roll_back)
    app.task(follow_keys)
    app.timer(SILENCE_S, name=f"{name}.silence")(silence)
    app.timer(WATCH_S, name=f"{name}.topics")(watch)
    app.timer(LAG_S, name=f"{name}.lag")(fetch_lag)
    return owner


def _owner(app: Any, agents: TaskAgents, prepared: Prepared) -> BatchConsumer:
    """Make the member of the group of a log's owners, which shares the log out and reads nothing."""
    group = agents.publisher.group
    fencing = Fencing(
        prepared.connection,
        group,
        prepared.slot.name,
        lambda slot: [agents.transactional_id("owner", slot)],
    )

    async def assigned(partitions: frozenset[Partition]) -> None:
        await asyncio.get_running_loop().run_in_executor(None, fencing.rebalanced)
        if agents.publisher.partition in partitions:
            agents.publisher.assigned()

    async def revoked(partitions: frozenset[Partition]) -> None:
        await agents.publisher.revoked()

    return BatchConsumer(
        prepared.connection,
        group,
        [agents.ownership],
        lambda batch: None,  # nothing is fetched
        on_assigned=assigned,
        on_revoked=revoked,
        on_error=lambda error: app.add_future(app.crash(error)),
        properties={"client.id": client_id(group, prepared.slot.name, agents.publisher.rank)},
        stamps=agents.current.stamps,
    )
