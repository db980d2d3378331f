"""The Faust app of a worker: its agents, timers and life cycle; nothing else of Faust is used."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import ChainMap
from functools import partial
from typing import Any, Final

import faust
from aiohttp import web

from agents.boot import Boot, NoTables
from agents.ending import Ending
from agents.http.address import authority, bind
from agents.http.routes import add_routes
from agents.http.server import HttpServer
from agents.places import places
from agents.stopping import BoundedWorker, Stopping, run_to_the_end
from agents.task_agents import TaskAgents
from agents.topic_watch import WATCH_S
from agents.transport import batches, register
from agents.worker import Prepared
from infra.kafka.buffers import Partition
from infra.kafka.consumer import BatchConsumer
from infra.kafka.fencing import Fencing, client_id
from infra.kafka.watch import ClusterWatch
from infra.kafka.writer import Writer
from infra.lag import EndTimes
from infra.permissions import make_private
from streams.garbage import collect_seldom

SILENCE_S: Final = 1.0
PLACES_S: Final = 5.0
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
    # Said at each rebalance: Faust asks for what it has dropped a moment before.
    logging.getLogger("faust.app.base").addFilter(lambda line: "Missing sensor state" not in str(line.msg))
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
    settings = prepared.settings
    sockets = bind(settings.http_host, settings.http_port)
    register()
    make_private(settings.data_folder / "faust")  # Faust would make it with any right that the umask leaves
    app: Any = faust.App(
        settings.group,
        broker="riverloop://" + settings.bootstrap,
        store="memory://",
        autodiscover=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_recovery_delay=0.0,
        stream_wait_empty=True,
        datadir=str(settings.data_folder / "faust"),
        web_enabled=False,
        TableManager=NoTables,
    )
    app.kafka_connection = prepared.connection
    # Each task's topics are its own.
    app.kafka_stamps = ChainMap(*(agents.loop.stamps for agents in prepared.agents.values()))

    def gone(partition: Partition, text: str) -> None:
        for agents in prepared.agents.values():
            agents.taking_up.gone(partition, text)

    app.kafka_gone = gone
    writer = Writer(prepared.connection, cluster=prepared.cluster)
    loops = {name: each.loop for name, each in prepared.agents.items()}
    logs = [(loop.topics.log, 0) for loop in loops.values()]
    watch = ClusterWatch(prepared.connection, logs, prepared.cluster)
    watch.start()
    web_app = web.Application()
    probes = add_routes(web_app, loops, writer, settings)
    app.boot_strategy = Boot(app, HttpServer(web_app, sockets, settings.http_connections, probes))
    log.info("HTTP on http://%s", authority(settings.http_host, sockets[0].getsockname()[1]))
    owners = [_add_task(app, agents, prepared, ending) for agents in prepared.agents.values()]

    app.kafka_properties = {"client.id": client_id(settings.group, prepared.slot.name)}
    fencing = Fencing(
        prepared.connection,
        settings.group,
        prepared.slot.name,
        lambda slot: [
            agents.transactional_id(role, slot)
            for agents in prepared.agents.values()
            for role in ("serve", "join", "quality")
        ],
    )

    async def assigned(sender: Any, assigned: set[Any], **options: Any) -> None:
        log.info("%s: %d partitions are assigned here", settings.group, len(assigned))
        await asyncio.get_running_loop().run_in_executor(None, fencing.rebalanced)
        partitions = [Partition(tp.topic, tp.partition) for tp in assigned]
        for agents in prepared.agents.values():
            names = agents.watch.names
            own = [each for each in partitions if each.topic in names]
            await ending.guard(partial(agents.taking_up.assigned, app.consumer.batches, own))
            if Partition(agents.loop.topics.quality, 0) in partitions:
                await agents.tallies.take_over(app.consumer.batches)

    async def revoked(sender: Any, revoked: set[Any], **options: Any) -> None:
        log.info("%s: %d partitions are given up for a rebalance", settings.group, len(revoked))
        for agents in prepared.agents.values():
            agents.revoked(tp.partition for tp in revoked if tp.topic == agents.loop.topics.predictions)
            if any(tuple(tp) == (agents.loop.topics.quality, 0) for tp in revoked):
                agents.tallies.release()

    async def stopping(sender: Any, **options: Any) -> None:
        # Faust has closed its gate, behind which a batch would wait that is on its way to an agent.
        app.flow_control.resume()
        watch.stop()
        for loop in loops.values():
            await loop.stop_waiting()
        pairs = zip(prepared.agents.values(), owners, strict=True)
        await asyncio.gather(*(agents.stop(owner) for agents, owner in pairs))
        await writer.close()

    app.on_partitions_assigned.connect(assigned)
    app.on_partitions_revoked.connect(revoked)
    app.on_before_shutdown.connect(stopping)
    return app


def _add_task(app: Any, agents: TaskAgents, prepared: Prepared, ending: Ending) -> BatchConsumer:
    """Add the agents of a task; gives the member of the group of its log's owners."""
    name = agents.loop.task.name

    async def serve(stream: Any) -> None:
        async for batch in stream:
            await ending.guard(partial(agents.on_requests, app.consumer.batches, batch))

    async def join(stream: Any) -> None:
        async for batch in stream:
            await ending.guard(partial(agents.on_sides, app.consumer.batches, batch))

    async def quality(stream: Any) -> None:
        async for batch in stream:
            await agents.tallies.on_batch(app.consumer.batches, batch)

    owner = _owner(app, agents, prepared)

    async def read_log() -> None:
        await agents.start()
        await ending.guard(agents.log.run)

    async def publish() -> None:
        # The log belongs to a worker that has read it: one that still learns it would publish nothing.
        await agents.log.wait_caught_up()
        await owner.start()
        await ending.guard(partial(agents.publisher.run, owner))

    async def silence() -> None:
        if app.consumer.batches is not None:
            await ending.guard(partial(agents.on_silence, app.consumer.batches))
            await agents.publish_rest(app.consumer.batches)

    async def follow_keys() -> None:
        await agents.loop.subjects.follow()

    ends = EndTimes()

    async def watch() -> None:
        if app.consumer.batches is not None:
            await agents.taking_up.look([app.consumer.batches, owner])

    async def look_ahead() -> None:
        agents.loop.places = await places(agents.loop, app.consumer.batches, ends, agents.published_to())

    app.agent(batches(app, agents.requests), name=f"{name}.serve")(serve)
    app.agent(batches(app, agents.sides), name=f"{name}.join")(join)
    app.agent(batches(app, agents.tally_batches), name=f"{name}.quality")(quality)
    app.task(read_log)
    app.task(publish)
    app.task(follow_keys)
    app.timer(SILENCE_S, name=f"{name}.silence")(silence)
    app.timer(WATCH_S, name=f"{name}.topics")(watch)
    app.timer(PLACES_S, name=f"{name}.places")(look_ahead)
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
        properties={"client.id": client_id(group, prepared.slot.name)},
        stamps=agents.loop.stamps,
    )
