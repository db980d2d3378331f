"""`riverloop episodes`: compares the episodes of a data file with the loss in its labels."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from agents.cli.common import json_option, print_json, table
from infra.taskfile import examples, load_task
from streams.drift.real import Episode, Report, play

REAL = (
    "hotel_bookings/task.py:cancellation",
    "hotel_bookings/task.py:cancellation_within_30_days",
    "online_retail/task.py",
)


@click.command(epilog="Example: riverloop episodes --list docs/examples/online_retail/task.py")
@click.argument("tasks", nargs=-1)
@click.option("--list", "listed", is_flag=True, help="Also list each episode.")
@json_option
def episodes(tasks: tuple[str, ...], listed: bool, as_json: bool) -> None:
    """Replay data files in memory and compare episodes with the loss of the labels.

    Default TASKS: the examples with real times. Exit code 1: fewer than half of the paging episodes have a
    higher loss, or one of the ten worst weeks has no episode.
    """
    found = []
    for name in tasks or [str(examples() / each) for each in REAL]:
        loaded = load_task(name)
        found.append(play(loaded.task, list(loaded.events(None, None))))
    if as_json:
        print_json([_as_json(each) for each in found])
    else:
        rows = [_row(each) for each in found]
        head = ["task", "labels", "episodes", "paged", "with worse loss", "shaded", "worst weeks missed"]
        table("Episodes and loss", head, rows)
        for each in found if listed else ():
            table(each.task, ["opened", "closed", "family", "severity", "loss", "before", ""], _rows(each))
    if not all(each.met for each in found):
        raise click.exceptions.Exit(1)


def _row(report: Report) -> list[Any]:
    paged = len(report.paged)
    worse = f"{report.worse} ({report.worse / paged:.0%})" if paged else "none"
    missed = ", ".join(_day(week.ts) for week in report.missed) or f"0 of {len(report.worst)}"
    return [
        report.task,
        f"{report.labels:,}",
        len(report.episodes),
        paged,
        worse,
        f"{report.shaded:.0%}",
        missed,
    ]


def _rows(report: Report) -> list[list[Any]]:
    return [
        [
            _day(each.opened_ts),
            "open" if each.is_open else _day(each.closed_ts),
            each.family,
            each.severity,
            _loss(each.loss),
            _loss(each.before),
            _said(each),
        ]
        for each in report.episodes
    ]


def _said(each: Episode) -> str:
    return ("worse" if each.worse else "not worse") if each.pages else ""


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _day(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).date().isoformat()


def _as_json(report: Report) -> dict[str, Any]:
    fields = asdict(report) | {"paged": len(report.paged), "worse": report.worse, "met": report.met}
    return fields | {"missed": [asdict(week) for week in report.missed]}
