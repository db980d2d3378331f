"""`riverloop backtest`: runs the loop in memory on a data file."""

from __future__ import annotations

import math
from typing import Any

import click

from agents.cli.bounds import EXACT, found_in, parse_bounds
from agents.cli.checking import check_first
from agents.cli.common import json_option, print_json, progress, table
from agents.cli.data import read_events, show_left_out, strict_option
from agents.cli.gate_report import show_gate
from agents.settings import from_environment
from infra.taskfile import load_task
from schemas.errors import UsageError
from streams import native
from streams.backtest import backtest as run_backtest
from streams.baselines import baselines
from streams.gate.replay import replay
from streams.leave_out import LeaveOut
from streams.metrics.extra import better

HIDDEN = {
    *("confusion", "classes", "digest", "most_waiting", "failures", "stopped", "published", "segments"),
    *EXACT,
}
"""What a model's row in the table does not show."""


@click.command(
    epilog="Example: riverloop backtest docs/examples/hotel_bookings/task.py --fail-below accuracy=0.69"
)
@click.argument("task")
@click.option("--data", metavar="FILE", help="Data file or folder; default: the task's own.")
@click.option("--model", "model_name", metavar="NAME", help="One model only; default: all.")
@click.option(
    "--fail-below",
    multiple=True,
    metavar="METRIC=BOUND",
    help="Exit code 1 when METRIC of the first model, MODEL.METRIC or METRIC@FEATURE=LEVEL is below BOUND, "
    "a number or a model (lr, lr-0.01). Repeatable.",
)
@click.option(
    "--fail-above",
    multiple=True,
    metavar="METRIC=BOUND",
    help="The same when the metric is above BOUND.",
)
@click.option(
    "--min-labels",
    type=click.IntRange(1),
    metavar="N",
    default=30,
    show_default=True,
    help="A bounded metric of fewer labels fails.",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="FROM..TO",
    help="Interval that no model learns, as event times (ISO 8601, UTC) or request:FROM..TO. Repeatable.",
)
@click.option("--where", default="", metavar="FEATURE=LEVEL", help="Leave out only entries with this level.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Maximum number of requests.")
@click.option(
    "--gate",
    "through_gate",
    is_flag=True,
    help="Also report the promotions and rollbacks of the task's gate, or of one with defaults, as if "
    "approved at once.",
)
@strict_option
@json_option
def backtest(
    task: str,
    data: str | None,
    model_name: str | None,
    fail_below: tuple[str, ...],
    fail_above: tuple[str, ...],
    min_labels: int,
    leave_out: tuple[str, ...],
    where: str,
    limit: int | None,
    through_gate: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Replay a data file in memory and report each model, with baselines that use no features.

    Metrics equal those of River's progressive_val_score on the same events.
    """
    native.choose(from_environment("core") or "auto")
    loaded = load_task(task)
    try:
        learns_not = LeaveOut.parse(leave_out, where)
        learns_not.check(loaded.task.features)
    except ValueError as error:
        raise UsageError(f"{error}") from None
    if learns_not and through_gate:
        raise UsageError("--gate judges models that learn all: it cannot be used with --leave-out")
    models = [loaded.task.model(model_name)] if model_name else list(loaded.task.models)
    names = [model.name for model in (*models, *baselines(loaded.task, models))]
    extra = {**EXACT, **better(loaded.task.metrics.extra)}
    bounds = parse_bounds("below", fail_below, names, loaded.task.kind, extra)
    bounds += parse_bounds("above", fail_above, names, loaded.task.kind, extra)
    if through_gate and len(models) < 2:
        raise UsageError(
            f"--gate needs at least two models that compete; task {loaded.task.name!r} has one here"
        )
    check_first(loaded, data)
    events, left_out = read_events(loaded, data, limit, strict=strict)
    with progress("backtest", len(events)) as advance:
        report = run_backtest(loaded.task, events, models, advance, learns_not)
    if through_gate:
        with progress("gate", len(events)) as advance:
            report["gate"] = replay(loaded.task, events, models, progress=advance)
    found = found_in(report)
    report["learns_not"] = [str(each) for each in learns_not.intervals]
    report["failed"] = [text for bound in bounds if (text := bound.failure(found, min_labels))]
    if strict:
        report["failed"] += _counted(report)
    if as_json:
        print_json(report)
    else:
        _print(report)
        show_left_out(left_out)
        if through_gate:
            show_gate(report["gate"])
        for each in report["learns_not"]:
            click.echo(f"not learned  {each}")
        for text in report["failed"]:
            click.echo(f"FAILED: {text}", err=True)
    if report["failed"]:
        raise click.exceptions.Exit(1)


def _counted(report: dict[str, Any]) -> list[str]:
    """Return the problems that a strict backtest fails on, beside those of the file."""
    found = [f"{count:,} request(s) were rejected" for count in [report["left_out"]["rejected"]] if count]
    for model, figures in report["models"].items():
        if failures := figures["failures"]:
            count = failures["answers"] + failures["skipped"]
            found.append(f"model {model} failed {count:,} time(s)")
        found += [f"metric {name} of model {model} stopped" for name in figures.get("stopped", {})]
    return found


def _print(report: dict[str, Any]) -> None:
    models: dict[str, dict[str, Any]] = report["models"]
    names = [name for name in next(iter(models.values())) if name not in HIDDEN]
    compared = models | report["baselines"]
    title = f"{report['task']}: {report['requests']:,} requests"
    if len(compared) < len(names):  # a row for each metric: a terminal has no room for as many columns
        table(title, ["", *compared], [[name, *(each[name] for each in compared.values())] for name in names])
    else:
        table(title, ["model", *names], [[model, *map(each.get, names)] for model, each in compared.items()])
    segments = [
        [segment, model, int(values["count"]), *(values.get(name, math.nan) for name in _shown(figures))]
        for model, figures in (models | report["baselines"]).items()
        for segment, values in figures["segments"].items()
    ]
    if segments:
        shown = _shown(next(iter(models.values())))
        table("segments", ["segment", "model", "labels", *shown], segments)
    rows = [[kind, count] for kind, count in report["resolutions"].items()]
    table("resolutions", ["kind", "count"], rows)
    delays = ", ".join(f"{name} {days:.1f} d" for name, days in report["delay_days"].items()) or "-"
    rate = "-" if report["label_rate"] is None else f"{report['label_rate']:.1%}"
    click.echo(f"label rate {rate} · delay {delays} · most waiting {report['most_waiting']:,}")
    if report["left_out"]["never_labelled"]:
        click.echo(f"left out     {report['left_out']['never_labelled']:,} request(s) were never labelled")
    for model, figures in models.items():
        for name, why in figures.get("stopped", {}).items():
            click.echo(f"failures     metric {name} of model {model} stopped: {why}")
        if failures := figures["failures"]:
            stopped = ", and stopped learning" if failures["stopped"] else ""
            click.echo(
                f"failures     model {model} failed to answer {failures['answers']:,} request(s) and to learn "
                f"{failures['skipped']:,} example(s){stopped}: {failures['last']}"
            )
    if report["left_out"]["rejected"]:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in report["left_out"]["reasons"].items())
        click.echo(f"left out     {report['left_out']['rejected']:,} request(s) were rejected: {reasons}")


def _shown(figures: dict[str, Any]) -> list[str]:
    """Return the metrics that a segment has: those of a model's row that cost little."""
    any_segment: dict[str, float] = next(iter(figures["segments"].values()), {})
    return [name for name in figures if name in any_segment]
