"""`riverloop backfill`: history into the training log, so that nobody serves an untrained model."""

from __future__ import annotations

import dataclasses

import click

from agents.cli.cluster import cluster_options, connect, writing_codec
from agents.cli.common import json_option, print_json, progress, table
from infra.backfill import Backfill
from infra.taskfile import load_task


@click.command(epilog="Example: riverloop backfill task.py --data history.csv --bootstrap localhost:9092")
@click.argument("task")
@click.option("--data", metavar="FILE", help="CSV, CSV.gz or Parquet; the task's own file by default.")
@click.option(
    "--force", is_flag=True, help="Also after requests were served: history is then learned after them."
)
@cluster_options
@json_option
def backfill(
    task: str,
    data: str | None,
    force: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the rows of a data file to the training log of TASK as examples without a served score.

    The models learn from them what they would have learned live: each row when its outcome was due,
    corrections and silences included. A request whose horizon ends after the newest time in the file gives no
    example, for its outcome may still come.

    Run it before serving starts; once requests were served it wants --force. It may be stopped or killed at
    any time and run again: it goes on where it was, and nothing is learned twice. Of two runs of one file the
    later one goes on, the other one stops.
    """
    loaded = load_task(task)
    connection = connect(bootstrap, properties)
    codec, subjects = writing_codec(loaded, connection)
    subjects.load()
    work = Backfill(loaded, codec, connection, loaded.data_path(data), subjects)
    with progress("backfill", work.requests) as advance:
        done = work.run(force=force, progress=advance)
    if as_json:
        print_json({"task": loaded.task.name, **dataclasses.asdict(done)})
        return
    told = [["rows", done.requests], ["entries written", done.written], ["entries there before", done.there]]
    told += [[f"of them {kind}", count] for kind, count in done.kinds.items()]
    told += [["still open, left out", done.open]] if done.open else []
    told += [[f"outcomes refused: {reason}", count] for reason, count in done.refused.items()]
    table(f"{loaded.task.name}: backfill of {loaded.data_path(data).name}", ["what", "count"], told)
