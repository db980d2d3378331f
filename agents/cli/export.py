"""`riverloop export`: a task's records as Parquet files, each record once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from agents.cli.cluster import cluster_options, connect
from agents.cli.common import json_option, print_json, progress
from agents.cli.data import note, rows_per_part
from agents.cli.filters import time_of
from agents.settings import Settings, from_environment
from infra.frames.arrow import libraries
from infra.frames.export import Export, Exported, TimeSpan
from infra.frames.folder import Folder
from infra.frames.source import TaskRows
from infra.kafka.connection import Connection
from infra.taskfile import LoadedTask, load_task
from infra.trusted import places
from streams.rows import WHAT, What

ROWS_PER_PART: Final = 200_000


@click.command(epilog="Example: riverloop export task.py --what log --to export --bootstrap localhost:9092")
@click.argument("task")
@click.option(
    "--what",
    "wanted",
    type=click.Choice(WHAT),
    multiple=True,
    help="Which records; repeatable. Default: all of these.",
)
@click.option("--to", "folder", required=True, metavar="DIR", help="Folder for the files.")
@click.option("--since", metavar="TIME", help="At TIME (UTC, 2026-03-01T12:00) or later.")
@click.option("--until", metavar="TIME", help="Before TIME.")
@rows_per_part(ROWS_PER_PART)
@click.option(
    "--every",
    type=click.IntRange(1, 86_400),
    metavar="SECONDS",
    help="Export new records at this interval until stopped.",
)
@click.option("--skip-deleted", is_flag=True, help="Continue after records that were deleted unexported.")
@cluster_options
@json_option
def export(
    task: str,
    wanted: tuple[What, ...],
    folder: str,
    since: str | None,
    until: str | None,
    rows_per_part: int,
    every: int | None,
    skip_deleted: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Export records of TASK to Parquet files, each record once.

    Files are in DIR/TASK.WHAT/day=YYYY-MM-DD/, by the record's time in UTC. A repeated command continues after
    the offsets in their names. Only committed records are exported.
    """
    libraries()
    loaded, span = load_task(task), TimeSpan(time_of("--since", since), time_of("--until", until))
    connection = connect(bootstrap, properties)
    while True:
        found = {
            what: _export(
                loaded,
                connection,
                what,
                Folder(Path(folder) / f"{loaded.task.name}.{what}"),
                rows_per_part,
                span,
                skip_deleted=skip_deleted,
            )
            for what in wanted or WHAT
        }
        _show(loaded.task.name, found, as_json=as_json)
        if every is None:
            return
        time.sleep(every)


def _export(
    loaded: LoadedTask,
    connection: Connection,
    what: What,
    folder: Folder,
    rows_per_part: int,
    span: TimeSpan,
    *,
    skip_deleted: bool,
) -> Exported:
    # Anew each time: persons are forgotten, and revisions opened, while it goes on.
    source = TaskRows(
        loaded, connection, what, from_environment("token_key").encode(), places(Settings.load().skip)
    )
    made = Export(source, folder, rows_per_part, span, skip_deleted=skip_deleted)
    with progress(what, made.size()) as advance:
        return made.run(advance)


def _show(task: str, found: dict[What, Exported], *, as_json: bool) -> None:
    if as_json:
        print_json({"task": task, "exported": {what: each.data() for what, each in found.items()}})
        return
    for what, each in found.items():
        click.echo(f"{task}.{what}: {each.rows:,} rows in {each.files:,} files")
        if each.completed:
            note(f"completed the interrupted export of {what}")
        if each.passed_over:
            note(f"skipped {each.passed_over:,} unreadable records of {what}: see the task's dead letters")
        for gone in each.deleted:
            note(f"deleted before they were exported: {gone}")
