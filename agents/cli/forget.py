"""`riverloop forget`: nothing that a task has stored can be linked to a person any more."""

from __future__ import annotations

import getpass
import sys

import click

from agents.cli.cluster import cluster_options, connect, writing_codec
from agents.cli.common import json_option, print_json, table
from agents.loop import now_ms
from agents.settings import Settings
from infra.forget import Forgetting, Forgotten
from infra.taskfile import load_task
from schemas.topics import TaskTopics


@click.command(
    epilog='Example: riverloop forget task.py customer-7 --reason "request 2026-118" --bootstrap localhost:9092'
)
@click.argument("task")
@click.argument("entity")
@click.option("--reason", required=True, help="Why, for the audit; it must not name the entity.")
@click.option("--author", default="", help="Who, for the audit; your user name by default.")
@click.option("--group", metavar="NAME", help="The workers' consumer group; or RIVERLOOP_GROUP.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
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
    """Forget ENTITY in TASK: an entity key as services send it, or a value of a tokenised feature.

    ENTITY may be - to be read from standard input, so that it is in no list of processes. The key of its tokens
    is destroyed, and what services wrote in plain is deleted, of all entities: requests and outcomes as far as the
    workers have processed them, and all dead letters, replayed or not. Models keep what they learned, and
    `verify` holds. Exit code 1 when something is left: let the workers process it, and run it again. So it is,
    too, after an interruption.
    """
    if entity == "-":
        entity = sys.stdin.readline().rstrip("\r\n")
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    codec, subjects = writing_codec(loaded, connection)
    settings = Settings.load({"group": group})
    work = Forgetting(connection, codec, subjects, settings.group, entity)
    author = author or _user()
    work.check_said(author, reason)
    done = work.preview() if dry_run else work.run(author=author, reason=reason, at=now_ms())
    if as_json:
        print_json(
            {
                "task": loaded.task.name,
                "known": done.key,
                "deleted": dict(done.deleted),
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
    if done.key:
        click.echo(f"the key of the entity's tokens {would or 'is '}destroyed")
    else:
        click.echo(
            f"{topics.keys} has no key of this entity: no token of it can be told from others. Either it was "
            "forgotten before, or no request has named it; the two look the same"
        )
    if dry_run:
        return
    for topic, count in sorted(done.left.items()):
        click.echo(
            f"LEFT: {topic}: {count:,} records name the entity in plain: {_advice(topics, topic)}", err=True
        )
    if done.back:
        click.echo(
            "LEFT: a request of the entity was served meanwhile, and it has a new key: run it again", err=True
        )
    if done.complete:
        click.echo("nothing on the topics names the entity in plain, and no token of it can be made any more")


def _advice(topics: TaskTopics, topic: str) -> str:
    if topic in {topics.requests, topics.outcomes, topics.dead_letters}:
        return "let the workers process them, and run it again"
    if topic == topics.predictions:
        return "they come from outside: let the workers process them, and run it again"
    if topic == topics.join_state:
        return "they were stored under a dictionary that did not flag it, and go when the request is resolved"
    return "they were stored under a dictionary that did not flag it, and cannot be taken back"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
