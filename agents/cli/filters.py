"""The options that select dead letters: `--reason`, `--topic`, `--since`, `--until`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from infra.deadletters import Wanted, parse_place
from schemas.errors import UsageError
from schemas.reasons import REASONS
from schemas.topics import TaskTopics
from streams.datafile import millis

SOURCES = ("requests", "outcomes", "predictions")


@dataclass(frozen=True, slots=True)
class Meant:
    """Values of the options."""

    reasons: tuple[str, ...]
    topics: tuple[str, ...]
    since: str | None
    until: str | None

    @property
    def anything(self) -> bool:
        """Whether any option was given."""
        return bool(self.reasons or self.topics or self.since or self.until)

    def of(self, task: str, places: tuple[str, ...] = ()) -> Wanted:
        """Return the selection for a task, with further places.

        Raises
        ------
        UsageError
            For an invalid time or place.
        """
        names = TaskTopics(task)
        return Wanted(
            frozenset(self.reasons),
            frozenset(getattr(names, each) for each in self.topics),
            time_of("--since", self.since),
            time_of("--until", self.until),
            frozenset(parse_place(each) for each in places),
        )


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command, which receives them as `meant`."""

    @functools.wraps(command)
    def collected(
        reasons: tuple[str, ...], topics: tuple[str, ...], since: str | None, until: str | None, **more: Any
    ) -> None:
        command(meant=Meant(reasons, topics, since, until), **more)

    codes = click.Choice(list(REASONS))
    options = (
        click.option("--until", metavar="TIME", help="Arrived before TIME."),
        click.option("--since", metavar="TIME", help="Arrived at TIME (UTC, 2026-03-01T12:00) or later."),
        click.option(
            "--topic",
            "topics",
            type=click.Choice(SOURCES),
            multiple=True,
            help="From this topic; repeatable.",
        ),
        click.option(
            "--reason",
            "reasons",
            type=codes,
            metavar="CODE",
            multiple=True,
            help="With this reason; repeatable.",
        ),
    )
    for option in options:
        collected = option(collected)
    return collected


def time_of(
    option: str,
    text: str | None,
    cure: str = "is not a date or time; write 2026-03-01 or 2026-03-01T12:00",
) -> int | None:
    """Return the time of an option, ms.

    Raises
    ------
    UsageError
        For anything else; `cure` is the end of its message.
    """
    if text is None:
        return None
    try:
        return millis(text, "UTC")
    except ValueError:
        raise UsageError(f"{option} {text[:60]!r} {cure}") from None
