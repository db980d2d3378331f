"""`riverloop hooks`: decisions, alerts and validations leave for other systems and people."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, table
from agents.cli.filters import time_of
from agents.settings import from_environment
from infra.clock import now_ms
from infra.kafka.connection import Connection
from infra.notify.attempts import attempt
from infra.notify.config import Destination, read_config
from infra.notify.courier import Courier
from infra.notify.exporter import HookExporter
from infra.notify.progress import Progress, group_of
from infra.notify.source import sources
from infra.taskfile import LoadedTask, load_task
from schemas.errors import UsageError
from streams.notify.events import trial

F = TypeVar("F", bound=Callable[..., Any])
JOIN_S: Final = 1.0
"""Between two looks at whether a courier still runs."""


def _config(command: F) -> F:
    """Add the option that names the destinations."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=Path("hooks.toml"),
        show_default=True,
        metavar="FILE",
        help="Destinations of hooks, as TOML.",
    )(command)


def _options(command: F) -> F:
    """Add what the commands that read the task's topics have."""
    command = click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")(_config(command))
    return cluster_options(command)


def _read(task: str, config: Path) -> tuple[LoadedTask, list[Destination]]:
    loaded = load_task(task)
    return loaded, read_config(config, {each.name: each.owner for each in loaded.task.features.features})


@click.group()
def hooks() -> None:
    """Send decisions, alerts and validations to other systems and people."""


@hooks.command(epilog="Example: riverloop hooks run task.py --config hooks.toml --bootstrap localhost:9092")
@click.argument("task")
@click.option("--once", is_flag=True, help="Deliver waiting events; exit code 1 when a delivery fails.")
@click.option("--skip", multiple=True, metavar="ID", help="Skip the event with this id; repeatable.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address for /metrics.")
@click.option("--metrics-port", type=click.IntRange(0, 65_535), default=0, help="Port for /metrics; 0: none.")
@_options
def run(
    task: str,
    once: bool,
    skip: tuple[str, ...],
    metrics_host: str,
    metrics_port: int,
    config: Path,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
) -> None:
    """Deliver the events of TASK, each at least once and with the same id, until stopped.

    A failing destination is retried without end and delays no other. A new one gets events after its first
    start.
    """
    loaded, destinations = _read(task, config)
    connection = connect(bootstrap, properties)
    couriers = [_courier(loaded, connection, each, group, skip) for each in destinations]
    if metrics_port:
        HookExporter(loaded.task.name, couriers).serve(metrics_host, metrics_port)
    logging.getLogger("infra.notify").setLevel(logging.INFO if not once else logging.WARNING)
    ended = dict[str, bool | BaseException]()
    threads = [
        threading.Thread(target=_run, args=(each, once, ended), name=each.destination.name, daemon=True)
        for each in couriers
    ]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(JOIN_S / len(threads))
            # A courier that has failed ends the process: its supervisor starts all again.
            if any(isinstance(each, BaseException) for each in ended.values()):
                break
    finally:
        for each in couriers:
            each.stop()
    for found in ended.values():
        if isinstance(found, BaseException):
            raise found
    if not all(ended.values()):
        raise click.exceptions.Exit(1)


def _run(courier: Courier, once: bool, ended: dict[str, bool | BaseException]) -> None:
    try:
        ended[courier.destination.name] = courier.run(once)
    except Exception as error:  # raised again in the main thread
        ended[courier.destination.name] = error


def _courier(
    loaded: LoadedTask,
    connection: Connection,
    destination: Destination,
    group: str | None,
    skip: tuple[str, ...] = (),
) -> Courier:
    mine = _group(loaded, destination, group)
    read = sources(connection, codec_of(loaded))
    return Courier(
        destination, read, Progress(connection, mine), attempt(destination, loaded.reference), skip
    )


def _group(loaded: LoadedTask, destination: Destination, group: str | None) -> str:
    return group_of(group or from_environment("group") or "riverloop", loaded.task.name, destination.name)


@hooks.command("list", epilog="Example: riverloop hooks list task.py --bootstrap localhost:9092")
@click.argument("task")
@_options
@json_option
def list_(
    task: str,
    config: Path,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the destinations of TASK with their waiting records."""
    loaded, destinations = _read(task, config)
    connection = connect(bootstrap, properties)
    read = sources(connection, codec_of(loaded))
    found = list[dict[str, Any]]()
    for each in destinations:
        with closing(Progress(connection, _group(loaded, each, group))) as progress:
            done = progress.read(read)
        waiting = {
            source.topic: None if (at := done[source.topic]) is None else max(0, source.end - at)
            for source in read
        }
        found.append({"name": each.name, "to": each.shown, "events": list(each.events), "waiting": waiting})
    if as_json:
        print_json({"task": loaded.task.name, "destinations": found})
        return
    rows = [
        [
            each["name"],
            each["to"],
            ", ".join(each["events"]),
            *(_waiting(at) for at in each["waiting"].values()),
        ]
        for each in found
    ]
    table(f"{loaded.task.name}: hooks", ["name", "to", "events", *(each.topic for each in read)], rows)


def _waiting(records: int | None) -> str:
    return "never run" if records is None else f"{records:,} waiting"


@hooks.command("test", epilog="Example: riverloop hooks test task.py --to ci")
@click.argument("task")
@click.option("--to", "to", required=True, metavar="NAME", help="The destination.")
@click.option(
    "--config", type=click.Path(path_type=Path), default=Path("hooks.toml"), metavar="FILE", hidden=True
)
def test_(task: str, to: str, config: Path) -> None:
    """Send an event of type `hook.test` to a destination; exit code 1 when it fails."""
    loaded, destinations = _read(task, config)
    destination = _named(destinations, to)
    outcome = attempt(destination, loaded.reference)(trial(loaded.task.name, now_ms()))
    if outcome.failure:
        click.echo(f"{to}: not delivered: {outcome.failure}", err=True)
        raise click.exceptions.Exit(1)
    click.echo(f"{to}: delivered")


@hooks.command(epilog="Example: riverloop hooks replay task.py --to ci --since 2026-11-01")
@click.argument("task")
@click.option("--to", "to", required=True, metavar="NAME", help="The destination.")
@click.option("--since", metavar="TIME", help="At TIME (UTC, 2026-03-01T12:00) or later.")
@click.option("--until", metavar="TIME", help="Before TIME.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="The event with this id; repeatable.")
@_options
def replay(
    task: str,
    to: str,
    since: str | None,
    until: str | None,
    ids: tuple[str, ...],
    config: Path,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
) -> None:
    """Send events of TASK again, with the same ids; exit code 1 at the first failure.

    The destination's progress stays as it is.
    """
    begin, before = time_of("--since", since), time_of("--until", until)
    if begin is None and not ids:
        raise UsageError("say what to send again: --since TIME or --id ID")
    loaded, destinations = _read(task, config)
    destination = _named(destinations, to)
    connection, sent = connect(bootstrap, properties), 0
    send = attempt(destination, loaded.reference)
    for source in sources(connection, codec_of(loaded)):
        last = source.end
        while source.next_offset < last:
            for _, event in source.piece():
                if (
                    event is None
                    or not destination.wants(event)
                    or (ids and event.id not in ids)
                    or (begin is not None and event.ts < begin)
                    or (before is not None and event.ts >= before)
                ):
                    continue
                outcome = send(event)
                if outcome.failure:
                    click.echo(f"{event.type} {event.id} is not delivered: {outcome.failure}", err=True)
                    raise click.exceptions.Exit(1)
                sent += 1
    click.echo(f"{to}: {sent:,} events sent again")


def _named(destinations: list[Destination], name: str) -> Destination:
    for each in destinations:
        if each.name == name:
            return each
    raise UsageError(
        f"no destination {name!r:.60}; there are {', '.join(each.name for each in destinations)}"
    )
