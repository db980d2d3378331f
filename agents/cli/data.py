"""Reading of a task's data file for the commands: what was found in it, and what of it is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from infra.taskfile import LoadedTask
from schemas.errors import UsageError
from streams.datafile import Event, LeftOut, left_out

strict_option = click.option(
    "--strict",
    is_flag=True,
    help="Fail if a request id is repeated, an outcome lies before its request, or code of the task's fails.",
)


def rows_per_part(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of a command that writes files in parts."""
    return click.option(
        "--rows-per-part",
        type=click.IntRange(1, 1_000_000),
        default=default,
        show_default=True,
        metavar="N",
        help="Rows in memory and in one write; an interruption loses no more.",
    )


def read_events(
    loaded: LoadedTask, data: str | None, limit: int | None, *, strict: bool
) -> tuple[list[Event], LeftOut]:
    """Read a data file in the order of event times; says on standard error what was found and is left out.

    Raises
    ------
    UsageError
        When the file cannot be read, and with `strict` when something is left out.
    """
    events = loaded.events(data, limit, note)
    found = left_out(events, loaded.task.tolerance_ms)
    if strict and found:
        raise UsageError(f"{loaded.data_path(data)}: {'; '.join(found.sentences())}")
    return events, found


def not_chained(loaded: LoadedTask, command: str) -> None:
    """Reject a task that takes its requests from another one.

    Raises
    ------
    UsageError
        It does.
    """
    after = loaded.task.after
    if after is not None:
        raise UsageError(
            f"{command} cannot send requests of task {loaded.task.name}, which are the predictions of "
            f"{after.task.name}: send requests of that task, and outcomes to both"
        )


def note(text: str) -> None:
    """Say something about the file on standard error."""
    click.echo(f"Note: {text}", err=True)


def show_left_out(found: LeftOut) -> None:
    """Say on standard output what of a file is left out."""
    for sentence in found.sentences():
        click.echo(f"left out     {sentence}")
