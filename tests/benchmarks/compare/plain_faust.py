"""Contender: the loop on stock Faust, agents and a Table, around the same pure join and model as riverloop's own.

So what differs is the plumbing alone: Faust's consumer and its acks, its producer, its Table with the changelog.
It runs on riverloop's topics and codec, several workers share the partitions, and it stands beside riverloop in
the fault harness, too: `python -m tests.benchmarks.compare.plain_faust TASK --bootstrap HOST:PORT`.

What a stock loop does not have: a merge of its inputs by event time (each agent reads its topic as it comes),
an order over all workers (each learns from its own partitions), and a way back for the model.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import faust
from faust.serializers import codecs

from infra.decoding import Decoder
from infra.inbound import Inbound
from infra.kafka.admin import partition_count
from infra.kafka.connection import Connection
from infra.kafka.partitioner import partition_of
from infra.runtime import runtime_fingerprint
from infra.taskfile import LoadedTask, load_task
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Entry, Prediction
from schemas.state import JoinPosition, Payload
from schemas.topics import TaskTopics
from streams.fold import Fold
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.overlay import Overlay
from streams.join.pending import Changes, MemoryStore, StateStore
from streams.metrics.served import ServedMetrics
from streams.model import ModelFold
from streams.serve import Server
from tests.benchmarks.compare.run_config import RunConfig

HELD: Final = "riverloop-held"
"""Name of the serializer of the Table's values."""


class TableStore(MemoryStore):
    """The state of one partition's join, kept in a Faust Table too, from which it is read again.

    Writable while an event of that partition is handled.
    """

    def __init__(self, table: Any, partition: int, partitions: int, rules: JoinRules) -> None:
        super().__init__()
        self._table = table
        overlay = Overlay(self, rules)
        for request_id, state in list(table.items()):
            if partition_of(request_id.encode(), partitions) == partition:
                overlay.put(request_id, state)
        super().apply(overlay.changes)

    def apply(self, changes: Changes) -> None:
        """See `StateStore.apply`."""
        super().apply(changes)
        for request_id, state in changes.states.items():
            if state is None:
                self._table.pop(request_id, None)
            else:
                self._table[request_id] = state


class Loop:
    """The task in one worker: models, metrics, and a join per partition."""

    def __init__(self, loaded: LoadedTask, partitions: int, table: Any | None) -> None:
        task = loaded.task
        self.task, self.partitions, self.table = task, partitions, table
        self.codec = Codec(task.name, task.kind, task.features, serving=True)
        self.runtime = runtime_fingerprint()[0]
        self.models = [ModelFold(task, model, self.runtime) for model in task.models]
        self.metrics = [ServedMetrics(task, model) for model in task.models]
        self.folds: list[Fold] = [*self.models, *self.metrics]
        self.server = Server(task, self.models)
        self.rules = JoinRules.of(task)
        self.joins: dict[int, Join] = {}
        self.folded = 0

    def join(self, partition: int) -> Join:
        """Give a partition's join, made from the Table when it is new here."""
        found = self.joins.get(partition)
        if found is None:
            store: StateStore = MemoryStore()
            if self.table is not None:
                store = TableStore(self.table, partition, self.partitions, self.rules)
            # A stock loop keeps no position; what it holds tells how far time had come at least.
            latest = max((state.request_ts or -1 for _, state in store.items()), default=-1)
            position = JoinPosition(latest, 0, 0) if latest >= 0 else None
            found = Join(self.rules, store, self._unpack, self.task.name, partition, position)
            self.joins[partition] = found
        return found

    def _unpack(self, _: str, payload: Payload) -> Prediction:
        return self.codec.decode_prediction(payload) if isinstance(payload, bytes) else payload

    def fold(self, entries: list[Entry]) -> None:
        """Learn and measure."""
        for entry in entries:
            for fold in self.folds:
                fold.apply(self.folded, entry)
            self.folded += 1


class _HeldCodec(codecs.Codec):  # type: ignore[misc]  # Faust counts as untyped
    """Writes what the join holds into the Table's changelog."""

    codec: Codec

    def _dumps(self, state: Any) -> bytes:
        return self.codec.encode(state)

    def _loads(self, data: bytes) -> Any:
        return self.codec.decode_state(data)


def make_app(
    loaded: LoadedTask,
    bootstrap: str,
    *,
    group: str,
    folder: Path,
    table: bool = True,
    exactly_once: bool = False,
) -> Any:
    """Make the Faust app.

    Parameters
    ----------
    loaded
        The task; its topics exist.
    bootstrap
        The cluster.
    group
        Consumer group, and the first part of the changelog's name.
    folder
        For what Faust keeps on this machine.
    table
        Whether the join's state lies in a Table, or in a dict.
    exactly_once
        Faust's processing guarantee of that name.
    """
    names = TaskTopics(loaded.task.name)
    partitions = partition_count(Connection(bootstrap), names.requests)
    app: Any = faust.App(
        group,
        broker=f"kafka://{bootstrap}",
        store="memory://",
        processing_guarantee="exactly_once" if exactly_once else "at_least_once",
        consumer_auto_offset_reset="earliest",
        autodiscover=False,
        topic_disable_leader=True,
        topic_partitions=partitions,
        web_enabled=False,
        datadir=str(folder / "faust"),
    )
    held = None
    if table:
        codec = _HeldCodec()
        codec.codec = Codec(loaded.task.name, loaded.task.kind, loaded.task.features)
        codecs.register(HELD, codec)
        held = app.Table("held", partitions=partitions, key_type=str)
        held.value_serializer = HELD  # it takes it from a Faust model's options, and has no argument for it
        held.changelog_topic = held._new_changelog_topic()  # the one made above would read it back as JSON
    loop = Loop(loaded, partitions, held)
    _add_agents(app, loop, names)

    async def revoked(sender: Any, revoked: Any, **options: Any) -> None:
        loop.joins.clear()  # made again from the Table, which Faust restores

    app.on_partitions_revoked.connect(revoked, weak=False)
    return app


def _add_agents(app: Any, loop: Loop, names: TaskTopics) -> None:
    codec = loop.codec

    def topic(name: str, **options: Any) -> Any:
        raw = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}
        return app.topic(name, **raw, **options)

    predictions, dead_letters, log = topic(names.predictions), topic(names.dead_letters), topic(names.log)
    as_request, as_outcome = Decoder(codec.decode_request), Decoder(codec.decode_outcome)
    log_key = loop.task.name.encode()

    async def resolve(join: Join, event: Any, item: Inbound) -> None:
        """Take over what the join has concluded, then write it."""
        out = join.out
        loop.fold(out.entries)
        join.commit()
        for entry in out.entries:
            await log.send(key=log_key, value=codec.encode(entry), partition=0)
        for rejected in out.rejected:
            await reject(event, item, BadRecord(rejected.reason, rejected.message))

    def reject(event: Any, item: Inbound, bad: BadRecord) -> Awaitable[Any]:
        dead_letter: Awaitable[Any] = dead_letters.send(key=event.key, value=codec.encode(item.reject(bad)))
        return dead_letter

    async def serve(stream: Any) -> None:
        async for event in stream.events():
            item = as_request(_Message(event.message))
            try:
                if item.bad is not None:
                    raise item.bad
                loop.server.times.check(item.record.ts, item.arrived)
                prediction = loop.server.predict(item.record, item.at)
                value = codec.encode(prediction)
            except BadRecord as bad:
                await reject(event, item, bad)
                continue
            await predictions.send(key=prediction.request_id.encode(), value=value)
            # Where the prediction will lie is not known before its acknowledgement; its request's place is.
            join = loop.join(item.at.partition)
            join.prediction(prediction.request_id, prediction.ts, value, item.at, item.arrived)
            await resolve(join, event, item)

    async def learn(stream: Any) -> None:
        async for event in stream.events():
            item = as_outcome(_Message(event.message))
            if item.bad is not None:
                await reject(event, item, item.bad)
                continue
            join = loop.join(item.at.partition)
            join.outcome(item.record, item.at, item.arrived)
            await resolve(join, event, item)

    app.agent(topic(names.requests), name="serve")(serve)
    app.agent(topic(names.outcomes), name="learn")(learn)


class _Message:
    """A Faust message as `infra.inbound` looks at one; see there."""

    __slots__ = ("_message",)

    def __init__(self, message: Any) -> None:
        self._message = message

    def topic(self) -> str:
        return str(self._message.topic)

    def partition(self) -> int:
        return int(self._message.partition)

    def offset(self) -> int:
        return int(self._message.offset)

    def key(self) -> Any:
        return self._message.key

    def value(self) -> Any:
        return self._message.value

    def timestamp(self) -> tuple[int, int]:
        return 2, int(self._message.timestamp * 1000)

    def headers(self) -> Any:
        headers = self._message.headers or ()
        return list(headers.items() if isinstance(headers, Mapping) else headers)


def main(given: RunConfig) -> None:
    """Run as a contender until ended."""
    app = make_app(
        load_task(given.task),
        given.bootstrap,
        group=given.group,
        folder=Path(given.folder),
        table=given.options["state"] == "table",
    )
    run(app)


def run(app: Any, log_level: str = "WARNING") -> None:
    """Run an app until SIGTERM or Ctrl-C."""
    logging.basicConfig(level=log_level)
    worker = faust.Worker(app, loglevel=log_level, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.execute_from_commandline()


@click.command()
@click.argument("task")
@click.option("--bootstrap", required=True, metavar="HOST:PORT", help="The Kafka cluster.")
@click.option("--group", default="plain-faust", show_default=True, help="Consumer group.")
@click.option("--data", required=True, metavar="DIR", help="For what Faust keeps; one folder per worker.")
@click.option("--state", type=click.Choice(["table", "dict"]), default="table", show_default=True)
@click.option("--exactly-once", is_flag=True, help="Faust's processing guarantee of that name.")
@click.option("--log-level", default="WARNING", show_default=True)
def command(
    task: str, bootstrap: str, group: str, data: str, state: str, exactly_once: bool, log_level: str
) -> None:
    """Run a worker of the plain Faust loop for TASK on its topics, which must exist, until SIGTERM."""
    app = make_app(
        load_task(task),
        bootstrap,
        group=group,
        folder=Path(data),
        table=state == "table",
        exactly_once=exactly_once,
    )
    run(app, log_level)


if __name__ == "__main__":
    command()
