"""`riverloop score`: scores a file, or the requests of the log, with a fixed version."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import click

from agents.cli.cluster import cluster_options, connect, reading_codec
from agents.cli.common import Advance, json_option, print_json, progress
from agents.cli.data import note, rows_per_part
from agents.cli.versions import span_of, versions_of
from agents.settings import Settings
from infra.scoring.forms import form_of
from infra.scoring.parts import Parts
from infra.scoring.requests import FileRequests, LogRequests
from infra.scoring.run import run
from infra.taskfile import load_task
from infra.trusted import places
from infra.versions import Versions, model_named
from schemas.errors import UsageError
from streams import native
from streams.model import ModelFold
from streams.version import Version

ROWS_PER_PART: Final = 10_000


@click.command(
    epilog="Example: riverloop score task.py --version lr.1@9999 --data orders.csv --out scores.parquet"
)
@click.argument("task")
@click.option(
    "--version",
    "named",
    required=True,
    metavar="VERSION",
    help="MODEL.REVISION@OFFSET; or MODEL or TASK@champion: the version that answers now.",
)
@click.option("--data", metavar="FILE", help="Data file or folder; default: the task's own.")
@click.option("--from-log", is_flag=True, help="Score the requests of the training log.")
@click.option(
    "--since", metavar="WHEN", help="With --from-log: from this request time (UTC) or log offset on."
)
@click.option(
    "--until", metavar="WHEN", help="With --from-log: before this request time (UTC) or log offset."
)
@click.option("--out", required=True, metavar="FILE", help="File to write, .parquet or .csv.")
@rows_per_part(ROWS_PER_PART)
@click.option("--force", is_flag=True, help="Replace FILE and another run's parts of it.")
@click.option("--snapshots", metavar="URI", help="Snapshot store. [RIVERLOOP_SNAPSHOTS]")
@cluster_options
@json_option
def score(
    task: str,
    named: str,
    data: str | None,
    from_log: bool,
    since: str | None,
    until: str | None,
    out: str,
    rows_per_part: int,
    force: bool,
    snapshots: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Score a data file, or the requests of the log, with a fixed version of a model of TASK.

    Scores equal those of that version's predictions, bit for bit. A repeated command continues an interrupted
    one, and the file has the same bytes. Columns: request_id, ts, version, score, label, failure.
    """
    if from_log and data is not None:
        raise UsageError("--data and --from-log exclude each other")
    if not from_log and (since is not None or until is not None):
        raise UsageError("--since and --until need --from-log")
    started, loaded, target = time.monotonic(), load_task(task), Path(out)
    given = Settings.load({"snapshots": snapshots})
    native.choose(given.core)
    connection = connect(bootstrap, properties)
    codec = reading_codec(loaded, connection, serving=not from_log)
    versions = versions_of(loaded, codec, connection, given)
    parts = Parts(target)
    before = parts.about() or {}
    requests: FileRequests | LogRequests
    if from_log:
        requests = LogRequests(codec, connection, span_of(since, until), versions.extent, places(given.skip))
        if "log" in before.get("requests", {}):
            # The log has grown since the interruption.
            requests = requests.ending(before["requests"]["log"][1])
    else:
        requests = FileRequests(loaded, codec, data, note)
    fold = _fold(versions, named, before)
    state = {"task": loaded.task.name, "version": str(fold.version), "state": fold.digest}
    state |= {"spec": fold.spec, "runtime": fold.runtime}
    form = form_of(target, loaded.task.kind, state)
    about = state | {"named": named, "requests": requests.identity(), "rows_per_part": rows_per_part}
    with _bar(requests) as advance:

        def tick(rows: int) -> None:
            advance(requests.passed if isinstance(requests, LogRequests) else rows)

        found = run(fold, iter(requests), parts, form, about, rows_per_part, force=force, progress=tick)
    seconds = time.monotonic() - started
    if as_json:
        print_json(state | found.data() | {"file": str(target), "seconds": seconds})
        return
    more = f", {found.resumed:,} of them by an interrupted run" if found.resumed else ""
    click.echo(f"{target}: {found.rows:,} rows scored by {fold.version} in {seconds:.1f} s{more}")
    if found.failed:
        note(f"{fold.model.name} failed on {found.failed:,} row(s); column failure says why")


def _fold(versions: Versions, named: str, before: dict[str, Any]) -> ModelFold:
    """Make the model at the version that is named, or that an interrupted run has resolved the name to."""
    task = versions.loaded.task
    version: Version | None = None
    if before.get("named") == named:
        version = Version.parse(before["version"])
        name = version.model
    else:
        found = model_named(named, task.name, [each.name for each in task.models], versions.roles)
        if isinstance(found, Version):
            version = found
        name = found.model if isinstance(found, Version) else found
    total = versions.extent.end if version is None else version.offset + 1
    with progress(f"restore {version or name}", total) as advance:
        return versions.fold(task.model(name), version, advance)


def _bar(requests: FileRequests | LogRequests) -> AbstractContextManager[Advance]:
    if isinstance(requests, LogRequests):
        start, end = requests.span.offsets(requests.extent)
        return progress("score", max(end - start, 0))
    # Only a terminal shows a bar; its length costs a reading of the file.
    return progress("score", requests.count() if sys.stderr.isatty() else None)
