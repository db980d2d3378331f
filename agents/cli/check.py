"""`riverloop check`: checks a task before anything is done with it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from agents.cli.checking import check_models
from agents.cli.cluster import cluster_options, connect
from agents.cli.common import json_option, print_json
from agents.cli.data import note, strict_option
from agents.settings import Settings, from_environment
from infra.joining import joining
from infra.kafka.admin import check_topics, partition_count
from infra.known_topics import check_foreign
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask, load_task
from schemas.errors import UsageError
from schemas.topics import TaskTopics
from streams.backtest import backtest
from streams.datafile import Event, in_time_order, left_out
from streams.topology import declared

FIRST_ROWS = 1_000


@click.command(epilog="Example: riverloop check task.py --data orders.csv")
@click.argument("task")
@click.option("--data", metavar="FILE", help="Data file or folder; default: the task's own.")
@strict_option
@cluster_options
@json_option
def check(
    task: str,
    data: str | None,
    strict: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check TASK: its file, its models, the first rows of its data, and its topics if a cluster is given.

    With a cluster it reports which revisions a worker would open, and how many entries it would fold for how
    long. It writes nothing.

    Each model must be reproducible, survive a snapshot, and answer and learn the first 1,000 rows.
    """
    loaded = load_task(task)
    names = [model.name for model in loaded.task.models]
    found: dict[str, Any] = {"task": loaded.task.name, "file": loaded.reference}
    said = [
        ("task file", f"task {loaded.task.name}, {loaded.task.kind}, {len(loaded.task.features)} features")
    ]
    proofs = check_models(loaded)
    said.append(("models", f"{', '.join(names)}: reproducible, stored and read back"))
    for lookup in loaded.task.lookup:
        keys = ", ".join(f"{key} from {name}" for key, name in lookup.keys.items())
        said.append(("look-up", f"{lookup.view}: {', '.join(lookup.names)} by {keys}"))
    found["lookups"] = [
        {"view": each.view, "keys": each.keys, "features": each.names} for each in loaded.task.lookup
    ]
    if data or (loaded.task.data and loaded.task.data.path):
        found["data"] = _check_rows(loaded, data, strict)
        said.append(("data", found["data"].pop("said")))
    if bootstrap or from_environment("bootstrap"):
        connection = connect(bootstrap, properties)
        partitions = partition_count(connection, TaskTopics(loaded.task.name).predictions) or 1
        if wrong := check_topics(connection, declared(loaded.task, partitions)):
            raise UsageError("; ".join(wrong))
        check_foreign(connection, loaded.task)
        found["partitions"] = partitions
        said.append(("topics", f"as they must be, with {partitions} partition(s)"))
        settings = Settings.load()
        store = SnapshotStore(settings.snapshot_uri, settings.snapshot_key.encode() or None)
        rows = joining(loaded, connection, settings.group, store, proofs)
        found["revisions"] = [row.data() for row in rows]
        said += [("revision", row.sentence) for row in rows]
    if as_json:
        print_json(found | {"models": names})
        return
    for what, text in said:
        click.echo(f"{what:<10} {text}")


def _check_rows(loaded: LoadedTask, data: str | None, strict: bool) -> dict[str, Any]:
    """Read the first rows, and let the models answer and learn them."""
    task = loaded.task
    rows: list[Event] = list(islice(loaded.file_events(data, note), FIRST_ROWS))
    leaves_out = left_out(rows, task.tolerance_ms)
    path = loaded.data_path(data)
    if strict and leaves_out:
        raise UsageError(f"{path}: {'; '.join(leaves_out.sentences())}")
    report = backtest(task, in_time_order(rows))
    for model, figures in report["models"].items():
        if failures := figures["failures"]:
            raise UsageError(
                f"model {model!r} failed to answer {failures['answers']:,} of the first {len(rows):,} rows of "
                f"{path}, and to learn {failures['skipped']:,}: {failures['last']}"
            )
    labels = len(rows) - report["left_out"]["never_labelled"]
    said = f"{path.name}: {len(rows):,} rows read and learned, {labels:,} with a label"
    return {
        "file": str(path),
        "rows": len(rows),
        "labels": labels,
        "duplicates": leaves_out.duplicates,
        "outcomes_before_request": leaves_out.before_request,
        "said": "; ".join([said, *leaves_out.sentences()]),
    }
