"""Tables, JSON and progress bars, shared by the commands."""

from __future__ import annotations

import getpass
import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from agents.settings import Settings
from infra.snapshots.store import SnapshotStore
from infra.web.redact import finite
from schemas.escaped import harmless

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Advance(Protocol):
    """Reports progress."""

    def __call__(self, done: int) -> None:
        """Set the number of items done."""


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """Show a bar on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def print_json(value: Any) -> None:
    """Print plain data as JSON; NaN and infinity become null."""
    click.echo(json.dumps(finite(value), indent=2, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers are right-aligned."""
    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float | None) for row in rows)
        made.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # As text: square brackets in a cell are no markup, and nothing in it steers the terminal.
        made.add_row(*(Text(harmless(shown(cell), keep="\n")) for cell in row))
    Console().print(made)


def shown(cell: Any) -> str:
    """Format a cell; a value that does not exist is a dash."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.4f}" if math.isfinite(cell) else "-"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def short(path: str) -> str:
    """Shorten a path relative to the current or home folder."""
    for base, sign in ((Path.cwd(), ""), (Path.home(), "~/")):
        if Path(path).is_relative_to(base):
            return sign + str(Path(path).relative_to(base))
    return path


def user_name() -> str:
    """Return the user's name, for audits."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def store_of(uri: str | None = None) -> SnapshotStore:
    """Return the snapshot store of an option, or of the settings."""
    settings = Settings.load({"snapshots": uri})
    return SnapshotStore(settings.snapshot_uri, settings.snapshot_key.encode() or None)
