"""`riverloop backfill`: writes history to the training log, so that models are trained before they serve."""

from __future__ import annotations

import dataclasses

import click

from agents.cli.cluster import cluster_options, connect, writing_codec
from agents.cli.common import json_option, print_json, progress, table, user_name
from agents.cli.data import note
from infra.backfill import Backfill
from infra.clock import now_ms
from infra.taskfile import load_task


@click.command(epilog="Example: riverloop backfill task.py --data history.csv --bootstrap localhost:9092")
@click.argument("task")
@click.option("--data", metavar="FILE", help="Data file or folder; default: the task's own.")
@click.option(
    "--force",
    is_flag=True,
    help="Run after requests were served; models learn the history after them.",
)
@click.option("--reason", default="", help="Why, for the audit.")
@click.option("--author", default="", help="Author for the audit; default: your user name.")
@cluster_options
@json_option
def backfill(
    task: str,
    data: str | None,
    force: bool,
    reason: str,
    author: str,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the rows of a data file to the training log of TASK.

    Models learn them in the order of due outcomes, with corrections and expiries. Requests whose horizon ends
    after the file's newest time are skipped.

    Run it before serving starts. A repeated run continues; no row is learned twice.
    """
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    codec, subjects = writing_codec(loaded, connection)
    subjects.load()
    work = Backfill(loaded, codec, connection, loaded.data_path(data), subjects, note)
    with progress("backfill", work.requests) as advance:
        done = work.run(
            force=force, progress=advance, author=author or user_name(), reason=reason, at=now_ms()
        )
    if as_json:
        print_json({"task": loaded.task.name, **dataclasses.asdict(done)})
        return
    rows = [["rows", done.requests], ["entries written", done.written], ["entries found", done.there]]
    rows += [[f"kind {kind}", count] for kind, count in done.kinds.items()]
    rows += [["still open, skipped", done.open]] if done.open else []
    rows += [[f"outcomes rejected: {reason}", count] for reason, count in done.rejected.items()]
    table(f"{loaded.task.name}: backfill of {loaded.data_path(data).name}", ["what", "count"], rows)
