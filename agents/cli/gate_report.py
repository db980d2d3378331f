"""What a gate would have decided, as tables."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import click

from agents.cli.common import table


def show_gate(report: dict[str, Any]) -> None:
    """Print the decisions, and the loss as it would have been served."""
    rows = [
        [
            f"{datetime.fromtimestamp(row['ts'] / 1000, UTC):%Y-%m-%d}",
            _decision(row),
            row["challenger"],
            row["incumbent"],
            row["n"],
            f"{row['estimate']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})",
            _after(row),
        ]
        for row in report["decisions"]
        if row["action"] != "verdict"
    ]
    head = ["date", "decision", "challenger", "against", "matured", "gain", "gain afterwards"]
    table(f"gate {report['gate']}: {report['loss']}", head, rows)
    losses = [
        ["as served", report["served"]],
        *([f"{name} alone", loss] for name, loss in report["fixed"].items()),
    ]
    table("loss", ["answers", "mean loss"], losses)
    for name, test in report["tests"].items():
        click.echo(
            f"test         {name}: {test['verdict']} after {test['n']:,} matured requests with a label and "
            f"{test['unlabelled']:,} without"
        )
    wrong = report["false"]
    click.echo(
        f"promotions {report['promotions']}, false {wrong['promotions']} · "
        f"rollbacks {report['rollbacks']}, false {wrong['rollbacks']}"
    )


def _decision(row: dict[str, Any]) -> str:
    if row["share"]:
        return f"{row['action']} {row['share']} %"
    return f"{row['action']}: {row['reason']}"


def _after(row: dict[str, Any]) -> str:
    if not row["done"]:
        return "after the last request" if row["asked"] else "-"
    if math.isnan(row["after"]):
        return "no labels"
    return f"{row['after']:+.4f} of {row['after_n']:,}{', FALSE' if row['wrong'] else ''}"
