"""`riverloop backtest`: runs the loop in memory on a data file."""

from __future__ import annotations

import operator
import re

import click

from agents.cli.common import json_option, print_json, progress, table
from agents.settings import from_environment
from infra.taskfile import load_task
from schemas.errors import UsageError
from streams import native
from streams.backtest import backtest as run_backtest

BIGGER_IS_BETTER = {"accuracy": True, "f1": True, "roc_auc": True, "r2": True}
SMALLER_IS_BETTER = {"log_loss": False, "mae": False, "rmse": False}
BETTER = BIGGER_IS_BETTER | SMALLER_IS_BETTER


@click.command(
    epilog="Example: riverloop backtest docs/examples/hotel_bookings/task.py --fail-below accuracy=0.69"
)
@click.argument("task")
@click.option("--data", metavar="FILE", help="Data file; default: the task's own.")
@click.option("--model", "model_name", metavar="NAME", help="One model only; default: all.")
@click.option(
    "--fail-below",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Exit with code 1 when the first model is worse than VALUE; repeatable.",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Maximum number of requests.")
@json_option
def backtest(
    task: str,
    data: str | None,
    model_name: str | None,
    fail_below: tuple[str, ...],
    limit: int | None,
    as_json: bool,
) -> None:
    """Replay a data file through the loop in memory and report each model.

    Metrics equal those of River's progressive_val_score on the same events.
    """
    native.choose(from_environment("core") or "auto")
    loaded = load_task(task)
    gates = [_gate(text) for text in fail_below]
    models = [loaded.task.model(model_name)] if model_name else list(loaded.task.models)
    events = loaded.events(data, limit)
    with progress("backtest", len(events)) as advance:
        report = run_backtest(loaded.task, events, models, advance)
    first = report["models"][models[0].name]
    missed = [_missed(name, bound, first) for name, bound in gates]
    report["failed"] = [text for text in missed if text]
    if as_json:
        print_json(report)
    else:
        _print(report)
    if report["failed"]:
        raise click.exceptions.Exit(1)


def _gate(text: str) -> tuple[str, float]:
    found = re.fullmatch(r"(\w+)=(-?[0-9.]+(?:e-?[0-9]+)?)", text)
    if not found or found[1] not in BETTER:
        raise UsageError(
            f"--fail-below {text}: must be METRIC=VALUE with one of the metrics {', '.join(BETTER)}"
        )
    return found[1], float(found[2])


def _missed(name: str, bound: float, found: dict[str, float]) -> str:
    if name not in found:
        raise UsageError(f"--fail-below {name}: this task has no such metric")
    good = operator.ge if BETTER[name] else operator.le
    return "" if good(found[name], bound) else f"{name} is {found[name]:.6f}, the bound is {bound}"


def _print(report: dict[str, object]) -> None:
    models: dict[str, dict[str, float]] = report["models"]  # type: ignore[assignment]  # plain data
    names = [name for name in next(iter(models.values())) if name not in {"digest", "most_waiting"}]
    rows_of = [[model, *(figures[name] for name in names)] for model, figures in models.items()]
    table(f"{report['task']}: {report['requests']:,} requests", ["model", *names], rows_of)
    resolutions: dict[str, int] = report["resolutions"]  # type: ignore[assignment]  # plain data
    delays: dict[str, float] = report["delay_days"]  # type: ignore[assignment]  # plain data
    rows = [[kind, count] for kind, count in resolutions.items()]
    table("resolutions", ["kind", "count"], rows)
    quantiles = ", ".join(f"{name} {days:.1f} d" for name, days in delays.items())
    click.echo(
        f"coverage {report['coverage']:.1%} · delay {quantiles} · most waiting {report['most_waiting']:,}"
    )
    for text in report["failed"]:  # type: ignore[attr-defined]  # plain data
        click.echo(f"FAILED: {text}", err=True)
