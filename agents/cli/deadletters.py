"""`riverloop deadletters`: lists rejected records with their reasons, and replays them after a fix."""

from __future__ import annotations

import heapq
import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, table, user_name
from agents.cli.filters import Meant, filters
from infra.clock import now_ms
from infra.deadletters import DeadLetters, Found, Wanted, parse_place, shown_place
from infra.replayed_dead_letters import replay_dead_letters
from infra.taskfile import load_task
from infra.web.redact import redact
from schemas.errors import UsageError
from schemas.reasons import REASONS
from schemas.topics import MAX_RECORD_BYTES


@click.group()
def deadletters() -> None:
    """List, show or replay rejected records."""


@deadletters.command(
    "list", epilog="Example: riverloop deadletters list task.py --reason wrong_type --limit 5"
)
@click.argument("task")
@filters
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    default=20,
    show_default=True,
    help="Maximum number listed.",
)
@cluster_options
@json_option
def list_(
    task: str, meant: Meant, limit: int, bootstrap: str | None, properties: tuple[str, ...], as_json: bool
) -> None:
    """List the dead letters of TASK, newest first, with counts by reason."""
    name, codec, dead_letters = _open(task, bootstrap, properties)
    counts: Counter[str] = Counter()
    waiting = 0
    newest: list[tuple[int, int, int, dict[str, Any]]] = []
    for found in dead_letters.read(meant.of(name)):
        counts[found.dead_letter.reason] += 1
        waiting += not found.replayed
        # Keep the redacted fields, not the bytes, which may be millions each.
        order = (found.dead_letter.arrived, *found.place)
        if len(newest) < limit:
            heapq.heappush(newest, (*order, _fields(found, codec)))
        elif order > newest[0][:3]:
            heapq.heapreplace(newest, (*order, _fields(found, codec)))
    rows = [each[3] for each in sorted(newest, key=lambda each: each[:3], reverse=True)]
    by_reason = dict(counts.most_common())
    if as_json:
        for row in rows:
            del row["record"]
        print_json(
            {
                "task": name,
                "dead_letters": rows,
                "counts": by_reason,
                "not_replayed": waiting,
                "unreadable": dead_letters.unreadable,
            }
        )
        return
    if dead_letters.unreadable:
        click.echo(
            f"{dead_letters.unreadable:,} records on {dead_letters.topics.dead_letters} are not dead letters",
            err=True,
        )
    if not rows:
        click.echo(f"no dead letters of {name} match")
        return
    columns = ["place", "arrived", "reason", "source", "message", "replayed"]
    table(
        f"dead letters of {name}",
        columns,
        [
            [row["place"], _when(row["arrived"]), row["reason"], row["source"], row["message"], _yes(row)]
            for row in rows
        ],
    )
    table("by reason", ["reason", "count"], [[reason, count] for reason, count in by_reason.items()])
    click.echo(f"{counts.total():,} dead letters, {waiting:,} not replayed")


@deadletters.command(epilog="Example: riverloop deadletters show task.py 0@17")
@click.argument("task")
@click.argument("place")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="Write the original bytes to a file, personal data included.",
)
@cluster_options
@json_option
def show(
    task: str,
    place: str,
    save: Path | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the dead letter of TASK at PLACE, PARTITION@OFFSET from `deadletters list`.

    Personal data is redacted; so are undecodable bytes of a task with personal data.
    """
    _, codec, dead_letters = _open(task, bootstrap, properties)
    where = parse_place(place)
    found = next(dead_letters.read(Wanted(places=frozenset({where}))), None)
    if found is None:
        raise UsageError(
            f"{dead_letters.topics.dead_letters} has no dead letter at {shown_place(where)}; list them: riverloop "
            "deadletters list"
        )
    fields = _fields(found, codec)
    if save is not None:
        _save(save, found.dead_letter.value or b"")
    if as_json:
        print_json(fields)
        return
    record = fields.pop("record")
    fields |= {"arrived": f"{_when(found.dead_letter.arrived)} UTC", "replayed": _yes(fields)}
    means = REASONS.get(found.dead_letter.reason)
    rows = [[key, "" if value is None else str(value)] for key, value in fields.items()]
    table(f"dead letter {shown_place(where)}", ["field", "value"], rows + [["meaning", means]] * bool(means))
    click.echo(record if isinstance(record, str) else json.dumps(record, indent=2, ensure_ascii=False))
    if save is not None:
        click.echo(f"{len(found.dead_letter.value or b''):,} bytes written to {save}")


@deadletters.command(epilog="Example: riverloop deadletters replay task.py --reason unknown_schema --dry-run")
@click.argument("task")
@click.argument("places", nargs=-1)
@filters
@click.option("--all", "everything", is_flag=True, help="All that were not replayed yet.")
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Maximum number, oldest of each partition first."
)
@click.option(
    "--mended",
    type=click.Path(path_type=Path),
    help="Replay the dead letter at PLACE with the bytes of this file.",
)
@click.option("--because", default="", help="Why, for the audit.")
@click.option("--author", default="", help="Author for the audit; default: your user name.")
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@cluster_options
@json_option
def replay(
    task: str,
    places: tuple[str, ...],
    meant: Meant,
    everything: bool,
    limit: int | None,
    mended: Path | None,
    because: str,
    author: str,
    dry_run: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Send dead letters of TASK to their source topics again, each once.

    Records that TASK still rejects are skipped. An interrupted replay can be repeated.
    """
    if not (places or meant.anything or everything):
        raise UsageError("select dead letters with PLACE, --reason, --topic, --since, --until or --all")
    if mended is not None and len(places) != 1:
        raise UsageError("--mended needs exactly one PLACE")
    name, _, dead_letters = _open(task, bootstrap, properties)
    wanted = meant.of(name, places)
    corrected = {} if mended is None else {parse_place(places[0]): _read(mended)}
    skipped: Counter[str] = Counter()
    if dry_run:
        by_topic = Counter(
            found.dead_letter.source.topic
            for number, found in enumerate(dead_letters.sendable(wanted, skipped, corrected))
            if found.dead_letter.source is not None and (limit is None or number < limit)
        )
    else:
        made = replay_dead_letters(
            dead_letters,
            wanted,
            author=author or user_name(),
            why=because,
            at=now_ms(),
            limit=limit,
            mended=corrected,
        )
        by_topic, skipped = made.by_topic, made.skipped
    _report(name, by_topic, skipped, dry_run, as_json)
    if places and not by_topic:
        raise click.exceptions.Exit(1)


def _report(name: str, by_topic: Counter[str], skipped: Counter[str], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "task": name,
                "replayed": by_topic.total(),
                "by_topic": dict(by_topic),
                "skipped": dict(skipped),
                "dry_run": dry_run,
            }
        )
        return
    for topic, count in sorted(by_topic.items()):
        click.echo(f"{'would be replayed' if dry_run else 'replayed'} to {topic}: {count:,}")
    for why, count in sorted(skipped.items()):
        click.echo(f"skipped: {count:,}: {why}")
    if not by_topic and not skipped:
        click.echo(f"no dead letters of {name} match")


def _open(task: str, bootstrap: str | None, properties: tuple[str, ...]) -> tuple[str, Any, DeadLetters]:
    loaded = load_task(task)
    codec = codec_of(loaded)
    return loaded.task.name, codec, DeadLetters(connect(bootstrap, properties), codec)


def _fields(found: Found, codec: Any) -> dict[str, Any]:
    return {"place": shown_place(found.place), **redact(found.dead_letter, codec), "replayed": found.replayed}


def _when(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(ms)


def _yes(row: dict[str, Any]) -> str:
    return "yes" if row["replayed"] else ""


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_RECORD_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    if len(data) > MAX_RECORD_BYTES:
        raise UsageError(f"{file} has more than {MAX_RECORD_BYTES:,} bytes, the maximum of a record")
    return data


def _save(file: Path, data: bytes) -> None:
    try:
        # Readable by its owner only; never overwrites.
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "wb") as opened:
        opened.write(data)
