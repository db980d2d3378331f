"""`riverloop topics`: creates, checks and shows the topics of a task."""

from __future__ import annotations

from dataclasses import asdict

import click

from agents.cli.cluster import cluster_options, codec_of, connect, registry_client
from agents.cli.common import json_option, print_json, table, user_name
from agents.settings import from_environment
from infra.clock import now_ms
from infra.kafka.admin import check_topics, create_topics
from infra.known_topics import accept_topics
from infra.taskfile import load_task
from streams.topology import declared, describe, wiring

partitions_option = click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    metavar="N",
    default=1,
    show_default=True,
    help="Partitions of requests, predictions, outcomes, join-state and dead letters.",
)


@click.group()
def topics() -> None:
    """Create, check, show or accept the topics of a task."""


@topics.command(epilog="Example: riverloop topics create task.py --partitions 4 --bootstrap localhost:9092")
@click.argument("task")
@partitions_option
@click.option(
    "--replication",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Replicas; default: the cluster's.",
)
@cluster_options
@json_option
def create(
    task: str,
    partitions: int,
    replication: int | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create the missing topics of TASK, and check the others.

    With RIVERLOOP_SCHEMA_REGISTRY it also registers the schemas, as `riverloop schemas register` does.
    """
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    specs = declared(loaded.task, partitions)
    made = create_topics(connection, specs, replication or -1)
    wrong = check_topics(connection, specs)
    if from_environment("schema_registry"):
        client = registry_client()
        from infra.registry.setup import register  # noqa: PLC0415  not imported without a registry

        register(client, codec_of(loaded), "BACKWARD")
    if as_json:
        print_json({"created": made, "wrong": wrong})
    else:
        table(
            f"topics of {loaded.task.name}",
            ["topic", "partitions", "keeps", "written by", "now"],
            [
                [
                    each.name,
                    each.partitions,
                    each.cleanup,
                    each.written_by,
                    "created" if each.name in made else "",
                ]
                for each in specs
            ],
        )
        for sentence in wrong:
            click.echo(f"WRONG: {sentence}", err=True)
    if wrong:
        raise click.exceptions.Exit(1)


@topics.command(epilog="Example: riverloop topics show task.py")
@click.argument("task")
@json_option
def show(task: str, as_json: bool) -> None:
    """Print the topology of TASK: the agents with their inputs, outputs and state."""
    found = load_task(task).task
    if as_json:
        print_json([asdict(each) for each in wiring(found)])
    else:
        click.echo(describe(found))


@topics.command(epilog="Example: riverloop topics check task.py --partitions 4")
@click.argument("task")
@partitions_option
@cluster_options
@json_option
def check(
    task: str, partitions: int, bootstrap: str | None, properties: tuple[str, ...], as_json: bool
) -> None:
    """Check the topics of TASK; exit code 1 when one differs from its specification."""
    loaded = load_task(task)
    wrong = check_topics(connect(bootstrap, properties), declared(loaded.task, partitions))
    if as_json:
        print_json({"wrong": wrong})
    else:
        for sentence in wrong or [f"the topics of {loaded.task.name} match their specification"]:
            click.echo(sentence)
    if wrong:
        raise click.exceptions.Exit(1)


@topics.command(epilog="Example: riverloop topics accept task.py hotel-cancellation.log --reason 'disk lost'")
@click.argument("task")
@click.argument("names", nargs=-1, required=True, metavar="TOPIC...")
@click.option("--reason", default="", help="Why, for the audit.")
@click.option("--author", default="", help="Author for the audit; default: your user name.")
@cluster_options
@json_option
def accept(
    task: str,
    names: tuple[str, ...],
    reason: str,
    author: str,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let TASK continue with each TOPIC as it is now, without its deleted records.

    For a topic that was recreated or lost unread records. Stop the task's workers first. Writes an audit.
    """
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    accepted = accept_topics(
        codec_of(loaded), connection, loaded.task.name, names, reason, author or user_name(), now_ms()
    )
    if as_json:
        print_json(accepted)
    else:
        for name, each in accepted.items():
            holds = ", ".join(
                f"[{number}] from {first} to {end}" for number, (first, end) in each["partitions"].items()
            )
            click.echo(f"accepted {name}, id {each['topic_id']}: {holds}")
