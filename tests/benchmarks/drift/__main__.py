"""`python -m tests.benchmarks.drift`: drifts found, and false alarms, of riverloop's and River's detectors."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from agents.cli.common import json_option, print_json, table
from agents.cli.main import main
from tests.benchmarks.drift.protocols import PROTOCOLS, SEED, Table


@click.command(epilog="Example: python -m tests.benchmarks.drift --quick --only conversions")
@click.option("--quick", is_flag=True, help="Short streams: a minute instead of ten; bars may be missed.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(list(PROTOCOLS)),
    help="One protocol; all by default. Repeatable.",
)
@click.option("--page", metavar="FILE", type=click.Path(dir_okay=False), help="Write a Markdown page too.")
@json_option
def drift(quick: bool, only: tuple[str, ...], page: str | None, as_json: bool) -> None:
    """Measure the drift detectors on streams whose drifts are known, beside River's defaults and a dummy.

    Exit code 1 when a bar is missed.
    """
    made = [PROTOCOLS[name](quick, _progress) for name in PROTOCOLS if not only or name in only]
    _progress("")
    if page:
        Path(page).write_text(markdown(made, quick), encoding="utf-8")
    if as_json:
        print_json({"seed": SEED, "quick": quick, "made": _made(), "tables": [asdict(each) for each in made]})
    else:
        for each in made:
            table(each.title, each.columns, each.rows)
            click.echo(f"{'reached' if each.met else 'MISSED'}: {each.bar}\n")
    if not all(each.met for each in made):
        raise click.exceptions.Exit(1)


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[2K{what}", nl=False, err=True)


def _made() -> dict[str, str]:
    names = ("riverloop", "river", "numpy")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def markdown(tables: Sequence[Table], quick: bool = False) -> str:
    """Give the tables as a page."""
    made = ", ".join(f"{name} {value}" for name, value in _made().items())
    size = " --quick" if quick else ""
    parts = [
        f"<!-- Made by `python -m tests.benchmarks.drift{size} --page FILE`; do not edit. -->",
        "# Drift bench",
        "`riverloop` is a task with default drift settings; it alarms when an "
        "[episode](../concepts/drift.md) opens. The other detectors are River's, with defaults, on the "
        f"error. Parameters were set on streams of other seeds. {made}, seed {SEED}.",
    ]
    for each in tables:
        if each.internal:
            continue
        first, *others = (" | ".join(_cell(cell) for cell in row) for row in (each.columns, *each.rows))
        lines = "\n".join([first, "|".join(["---"] * len(each.columns)), *others])
        verdict = "reached" if each.met else "missed"
        parts += [f"## {each.title}", each.description, lines, f"Target ({verdict}): {each.bar}."]
    return "\n\n".join(parts) + "\n"


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell >= 100 else f"{cell:.1f}" if cell >= 10 else f"{cell:.3f}"
    return str(cell)


if __name__ == "__main__":
    main(drift)
