"""`riverloop produce`: sends a data file as requests and outcomes."""

from __future__ import annotations

import time

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, progress
from agents.cli.data import not_chained, note, read_events, strict_option
from agents.settings import Settings
from infra.kafka.admin import partition_count
from infra.kafka.answers import Answers
from infra.kafka.replay import Replay
from infra.taskfile import load_task
from schemas.errors import UsageError
from schemas.topics import TaskTopics
from streams.aggregates.aggregates import request_key
from streams.join.join_rules import JoinRules


@click.command(epilog="Example: riverloop produce task.py --data bookings.csv --speed 86400")
@click.argument("task")
@click.option("--data", metavar="FILE", help="Data file or folder; default: the task's own.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds of event time per second.",
)
@click.option(
    "--as-fast-as-possible",
    "fast",
    is_flag=True,
    help="At the workers' pace (default).",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Maximum number of requests.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["avro", "json"]),
    default="avro",
    show_default=True,
    help="Encoding.",
)
@strict_option
@cluster_options
@json_option
def produce(
    task: str,
    data: str | None,
    speed: float | None,
    fast: bool,
    limit: int | None,
    form: str,
    strict: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Send the requests and outcomes of a data file to the topics of TASK.

    Needs a running worker: each request follows the outcomes due before it, with fewer than 80 requests
    unanswered.
    """
    if speed is not None and fast:
        raise UsageError("--speed and --as-fast-as-possible exclude each other")
    loaded = load_task(task)
    not_chained(loaded, "produce")
    events, left_out = read_events(loaded, data, limit, strict=strict)
    for sentence in left_out.sentences():
        note(sentence)
    connection = connect(bootstrap, properties)
    topics = TaskTopics(loaded.task.name)
    partitions = partition_count(connection, topics.predictions)
    if not partitions:
        raise UsageError(f"task {loaded.task.name} has no topics; run: riverloop topics create {task}")
    codec = codec_of(loaded)
    answers = Answers(connection, codec, topics, partitions)
    replay = Replay(
        *(connection, codec, topics, answers),
        group=Settings.load().group,
        json=form == "json",
        key=request_key(loaded.task),
    )
    started = time.monotonic()
    with progress("produce", len(events)) as advance:
        horizon_ms = JoinRules.of(loaded.task).horizon_ms
        replay.free(events, horizon_ms, speed=speed, tick=lambda: advance(replay.requests))
    answers.close()
    found = {
        "requests": replay.requests,
        "outcomes": replay.outcomes,
        "answered": answers.count,
        "seconds": time.monotonic() - started,
    }
    if as_json:
        print_json(found)
    else:
        click.echo(
            f"{found['requests']:,} requests and {found['outcomes']:,} outcomes in {found['seconds']:.1f} s, "
            f"{found['answered']:,} answered"
        )
