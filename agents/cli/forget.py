"""`riverloop forget`: makes stored records of a person unlinkable."""

from __future__ import annotations

import getpass
import sys

import click

from agents.cli.cluster import cluster_options, connect, writing_codec
from agents.cli.common import json_option, print_json, table
from agents.settings import Settings
from infra.clock import now_ms
from infra.forget import Forgetting, Forgotten
from infra.taskfile import load_task
from schemas.topics import FEATURES_KEPT_MS, TaskTopics


@click.command(
    epilog='Example: riverloop forget task.py customer-7 --reason "request 2026-118" --bootstrap localhost:9092'
)
@click.argument("task")
@click.argument("entity")
@click.option("--reason", required=True, help="Why, for the audit, without the entity's name.")
@click.option("--author", default="", help="Author for the audit; default: your user name.")
@click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@cluster_options
@json_option
def forget(
    task: str,
    entity: str,
    reason: str,
    author: str,
    group: str | None,
    dry_run: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Forget ENTITY in TASK: an entity key or a value of a tokenised feature; - reads it from standard input.

    Destroys the key of the entity's tokens. Deletes the processed requests and outcomes, and all dead letters,
    of all entities, and the entity's rows of look-ups. Keeps models. Exit code 1 when unprocessed records are
    left: run it again later.
    """
    if entity == "-":
        entity = sys.stdin.readline().rstrip("\r\n")
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    codec, subjects = writing_codec(loaded, connection)
    settings = Settings.load({"group": group})
    work = Forgetting(connection, codec, subjects, settings.group, entity, loaded.task.lookup)
    author = author or _user()
    work.check_said(author, reason)
    done = work.preview() if dry_run else work.run(author=author, reason=reason, at=now_ms())
    if as_json:
        print_json(
            {
                "task": loaded.task.name,
                "known": done.key,
                "deleted": dict(done.deleted),
                "rows": done.rows,
                "left": dict(done.left),
                "back": done.back,
                "complete": done.complete,
                "dry_run": dry_run,
            }
        )
    else:
        _show(loaded.task.name, done, dry_run)
    if not dry_run and not done.complete:
        raise click.exceptions.Exit(1)


def _show(task: str, done: Forgotten, dry_run: bool) -> None:
    topics, would = TaskTopics(task), "would be " if dry_run else ""
    if done.deleted:
        rows = [[topic, count] for topic, count in sorted(done.deleted.items())]
        table(f"{task}: {would}deleted", ["topic", "offsets"], rows)
    if done.rows:
        click.echo(
            f"{done.rows:,} row(s) of {topics.features} {would or 'were '}deleted; Kafka removes the older records "
            f"when it compacts the topic, after {FEATURES_KEPT_MS // 3_600_000} h at the earliest"
        )
    if done.key:
        click.echo(f"the key of the entity's tokens {would or 'is '}destroyed")
    else:
        click.echo(
            f"{topics.keys} has no key of this entity: either it was forgotten before, or no request has named it"
        )
    if dry_run:
        return
    for topic, count in sorted(done.left.items()):
        click.echo(
            f"LEFT: {topic}: {count:,} records contain the entity in plain text; {_advice(topics, topic)}",
            err=True,
        )
    if done.back:
        click.echo(
            "LEFT: a request of the entity was served meanwhile, which made a new key; run the command again",
            err=True,
        )
    if done.complete:
        click.echo(
            "no record on the topics contains the entity in plain text, and its tokens cannot be made again"
        )


def _advice(topics: TaskTopics, topic: str) -> str:
    if topic in {topics.requests, topics.outcomes, topics.dead_letters}:
        return "let the workers process them, then run the command again"
    if topic == topics.predictions:
        return "another program wrote them: let the workers process them, then run the command again"
    if topic == topics.features:
        return "they were written meanwhile: run the command again"
    if topic == topics.join_state:
        return (
            "the dictionary did not flag the feature when they were stored; they are deleted when the request "
            "is resolved"
        )
    return "the dictionary did not flag the feature when they were stored; they cannot be deleted"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
