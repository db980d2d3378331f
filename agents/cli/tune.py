"""`riverloop tune`: races configurations of a model over the same events."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import click

from agents.cli.cluster import cluster_options, connect, reading_codec
from agents.cli.common import json_option, print_json, progress, table
from agents.cli.data import note, read_events
from agents.settings import Settings
from infra.kafka.log import read_all
from infra.runtime import runtime_fingerprint
from infra.taskfile import LoadedTask, load_task
from infra.trusted import places
from infra.tuning.executors import DASK, Cluster, Executor, Processes
from infra.tuning.folder import RunFolder, read_about
from infra.tuning.jobs import Configuration, Work
from infra.tuning.run import Tuning, baseline_rows, lines_of, report_of
from infra.tuning.search import Range, grid, search
from infra.versions import log_extent, read_entry
from schemas.errors import UsageError
from schemas.topics import TaskTopics
from streams import native
from streams.race.contest import Contest
from streams.race.history import History, from_events, from_log
from streams.race.rules import Race
from streams.task import Task

PART: Final = 5_000


@click.command(
    epilog="Example: riverloop tune task.py --grid learning_rate=0.001,0.003,0.01 --horizon 180 --out tuned"
)
@click.argument("task")
@click.option("--model", "base", metavar="NAME", help="Model whose parameters vary; default: the first.")
@click.option(
    "--grid", "grids", multiple=True, metavar="NAME=V1,V2", help="Values of a parameter. Repeatable."
)
@click.option(
    "--space",
    "spaces",
    multiple=True,
    metavar="NAME=LOW..HIGH[:log]",
    help="Range of a parameter, from which Optuna proposes values. Repeatable.",
)
@click.option("--trials", type=click.IntRange(1), default=32, show_default=True, help="Proposals of Optuna.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of Optuna's sampler.")
@click.option("--data", metavar="FILE", help="Data file or folder; default: the task's own.")
@click.option("--from-log", is_flag=True, help="Take the examples of the training log.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Maximum number of requests.")
@click.option(
    "--horizon",
    type=click.FloatRange(min=0, min_open=True),
    metavar="DAYS",
    help="Age at which a request counts, with its label then; later labels are still learned. Default: the "
    "task's horizon.",
)
@click.option(
    "--burn-in", type=click.IntRange(1), metavar="N", help="Matured requests before the first decision."
)
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes; default: one for each processor."
)
@click.option(
    "--executor",
    default="processes",
    show_default=True,
    metavar="WHERE",
    help="`processes`, or dask://HOST:PORT of a scheduler.",
)
@click.option(
    "--part",
    type=click.IntRange(100),
    default=PART,
    show_default=True,
    metavar="N",
    help="Entries of a job; configurations are dropped between jobs.",
)
@click.option(
    "--out", required=True, metavar="FOLDER", help="Folder of results; a repeated command continues there."
)
@click.option("--models", "as_models", is_flag=True, help="Print the best models as lines of a task file.")
@cluster_options
@json_option
def tune(
    task: str,
    base: str | None,
    grids: tuple[str, ...],
    spaces: tuple[str, ...],
    trials: int,
    seed: int,
    data: str | None,
    from_log: bool,
    limit: int | None,
    horizon: float | None,
    burn_in: int | None,
    jobs: int | None,
    executor: str,
    part: int,
    out: str,
    as_models: bool,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Race configurations over the same events with their true delays, and rank them.

    Without --grid and --space the models of the task file race. A configuration that is shown to be worse than
    the leader is dropped, and revived when the leader's loss rises above its own. A repeated run continues an
    interrupted one and ends with the same digest.
    """
    given = Settings.load({})
    native.choose(given.core)
    loaded = load_task(task)
    if grids and spaces:
        raise UsageError("--grid and --space exclude each other")
    if from_log and (data is not None or limit is not None):
        raise UsageError("--from-log excludes --data and --limit")
    if from_log and horizon is not None:
        raise UsageError("--horizon needs a data file: the log has the facts of the task's own horizon")
    model = loaded.task.model(base or loaded.task.models[0].name)
    values, space = _read("--grid", grids, _values), _read("--space", spaces, Range.parse)
    racing = _delayed(loaded.task, horizon)
    race = racing.gate if isinstance(racing.gate, Race) else Race()
    race = race if burn_in is None else replace(race, least=burn_in)
    folder, end = Path(out), 0
    if from_log:
        end = int((read_about(folder) or {}).get("log_end", 0))
        history, end = _history_of_log(loaded, bootstrap, properties, end)
    else:
        history = from_events(racing, read_events(loaded, data, limit, strict=False)[0])
    about = {
        "task": loaded.task.name,
        "history": history.digest,
        "part": part,
        "runtime": runtime_fingerprint()[0],
        "log_end": end,
    }
    kept = RunFolder(folder, about)
    work = Work(loaded.reference, given.core, history)
    where = _executor(work, executor, jobs)
    try:
        with progress("tune", None) as advance:
            tuning = Tuning(racing, history, race, kept, where, part, lambda done, total: advance(done))
            if space:
                contest = search(tuning, model.name, space, trials, seed, note)
            elif values:
                contest = tuning.race_of(grid(model.name, values))
            else:
                contest = tuning.race_of([Configuration(each.name) for each in loaded.task.models])
    finally:
        where.close()
    against = [] if as_models else baseline_rows(contest)
    _show(racing, contest, kept, against, as_json=as_json, as_models=as_models)


def _show(
    task: Task,
    contest: Contest,
    kept: RunFolder,
    against: list[dict[str, Any]],
    *,
    as_json: bool,
    as_models: bool,
) -> None:
    report = report_of(contest) | {"baselines": against}
    lines = lines_of(task, contest)
    if as_json:
        print_json(report | {"lines": lines, "reused": kept.reused})
        return
    if as_models:
        for line in lines:
            click.echo(line)
        return
    names = {row["model"] for row in against}
    rows = [
        [
            row["model"],
            "baseline"
            if row["model"] in names
            else row["status"]
            if row["dropped_at"] is None
            else f"dropped {_day(row['dropped_at'])}",
            row["loss"],
            "-"
            if row["status"] == "leads"
            else f"{row['gain']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})",
            row["n"],
            row["why"],
        ]
        for row in (*report["leaderboard"], *against)
    ]
    title = f"{report['task']}: {report['requests']:,} requests, {report['matured']:,} of whole cohorts"
    table(title, ["model", "status", report["loss"], "gain over the leader", "compared", "why"], rows)
    changes = [
        [_day(each["ts"]), each["n"], each["model"], each["action"], each["why"]]
        for each in report["changes"]
    ]
    if changes:
        table("what happened", ["date", "matured", "model", "", "why"], changes)
    served = report["served"]
    shown = "-" if math.isnan(served) else f"{served:.4f}"
    click.echo(
        f"loss of what would have answered {shown} · digest {report['digest']} · parts reused {kept.reused:,}"
    )


def _day(ts: int) -> str:
    return f"{datetime.fromtimestamp(ts / 1000, UTC):%Y-%m-%d}"


def _read(option: str, texts: tuple[str, ...], parse: Callable[[str], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, rest = text.partition("=")
        if not sign or not name or not rest or name in found:
            raise UsageError(f"{option} {text!r} must be NAME=..., each parameter once")
        try:
            found[name] = parse(rest)
        except ValueError as error:
            raise UsageError(f"{option} {name}: {error}") from None
    return found


def _values(text: str) -> list[Any]:
    return [_value(each.strip()) for each in text.split(",")]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _delayed(task: Task, days: float | None) -> Task:
    if days is None:
        return task
    horizon = timedelta(days=days)
    more = max(timedelta(0), task.horizon + task.revision_horizon - horizon)
    return replace(task, horizon=horizon, revision_horizon=more)


def _executor(work: Work, where: str, jobs: int | None) -> Executor:
    if where.startswith(DASK):
        return Cluster(work, where)
    if where != "processes":
        raise UsageError(f"--executor {where!r} is not `processes` or dask://HOST:PORT")
    return Processes(work, jobs or os.cpu_count() or 1)


def _history_of_log(
    loaded: LoadedTask, bootstrap: str | None, properties: tuple[str, ...], end: int
) -> tuple[History, int]:
    """Read the log up to its end, or to that of an interrupted run."""
    connection = connect(bootstrap, properties)
    codec = reading_codec(loaded, connection, serving=False)
    topic, extent = TaskTopics(loaded.task.name).log, log_extent(connection, loaded.task.name)
    if extent.first:
        raise UsageError(f"{topic} begins at offset {extent.first}: configurations need all of it")
    skip, end = places(Settings.load({}).skip), end or extent.end
    found = []
    for message in read_all(connection, topic, 0, 0, end):
        entry = read_entry(codec, message, skip)
        if entry is not None:
            found.append((message.offset() or 0, entry))
    return from_log(found), end
