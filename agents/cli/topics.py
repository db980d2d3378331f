"""`riverloop topics`: the topics of a task, created and checked."""

from __future__ import annotations

from dataclasses import asdict

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, table, user_name
from agents.loop import now_ms
from infra.kafka.admin import check_topics, create_topics
from infra.known_topics import accept_topics
from infra.taskfile import load_task
from schemas.topics import topics as specs_of
from streams.topology import TOPOLOGY, describe

partitions_option = click.option(
    "--partitions",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Of requests, predictions, outcomes, join-state and dead letters.",
)


@click.group()
def topics() -> None:
    """Create, check or show the topics of a task, or accept what became of them."""


@topics.command(epilog="Example: riverloop topics create task.py --partitions 4 --bootstrap localhost:9092")
@click.argument("task")
@partitions_option
@click.option(
    "--replication",
    type=click.IntRange(1, 1000),
    help="Replicas, no more than the cluster has brokers; the cluster's default unless given.",
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
    """Create the topics of TASK that are missing; says of the others what is not as it should be."""
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    specs = specs_of(loaded.task.name, partitions)
    made = create_topics(connection, specs, replication or -1)
    wrong = check_topics(connection, specs)
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
    """Print how the loop of TASK is wired: who reads what, writes what, and where its state lies."""
    name = load_task(task).task.name
    if as_json:
        print_json([asdict(each) for each in TOPOLOGY])
    else:
        click.echo(describe(name))


@topics.command(epilog="Example: riverloop topics check task.py --partitions 4")
@click.argument("task")
@partitions_option
@cluster_options
@json_option
def check(
    task: str, partitions: int, bootstrap: str | None, properties: tuple[str, ...], as_json: bool
) -> None:
    """Compare the topics of TASK with what they must be; exit code 1 when something differs."""
    loaded = load_task(task)
    wrong = check_topics(connect(bootstrap, properties), specs_of(loaded.task.name, partitions))
    if as_json:
        print_json({"wrong": wrong})
    else:
        for sentence in wrong or [f"the topics of {loaded.task.name} are as they must be"]:
            click.echo(sentence)
    if wrong:
        raise click.exceptions.Exit(1)


@topics.command(epilog="Example: riverloop topics accept task.py hotel-cancellation.log --reason 'disk lost'")
@click.argument("task")
@click.argument("names", nargs=-1, required=True, metavar="TOPIC...")
@click.option("--reason", default="", help="Why, for the audit.")
@click.option("--author", default="", help="Who, for the audit; your user name by default.")
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
    """Let TASK go on with what each TOPIC holds now, although records that it needs are gone.

    For a topic that was deleted and made again, and for one whose records were deleted before they were read. Stop
    the workers of the task first, and start them again afterwards. The audit lies on the task's control topic.
    """
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    told = accept_topics(
        codec_of(loaded), connection, loaded.task.name, names, reason, author or user_name(), now_ms()
    )
    if as_json:
        print_json(told)
    else:
        for name, each in told.items():
            holds = ", ".join(
                f"[{number}] from {first} to {end}" for number, (first, end) in each["partitions"].items()
            )
            click.echo(f"{name} is accepted as it is, id {each['topic_id']}: {holds}")
