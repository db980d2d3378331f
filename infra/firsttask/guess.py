"""Guesses which columns are the id, the time, the outcome and the features."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from infra.firsttask.columns import BOOLEANS, Column
from schemas.errors import UsageError
from streams.cells import CellForm, moment_of, zone_of

OUTCOME_NAME: Final = re.compile(
    r"(^|_)(y|label|target|outcome|class|cls|churn\w*|fraud\w*|convert\w*|click\w*|cancel\w*|return\w*|"
    r"default\w*|surviv\w*|bought|purchas\w*|won|lost|paid|revenue|rating|price)(_|$)"
)
ID_NAME: Final = re.compile(r"(^|_)(id|uuid|guid|key|no|nr|number)$")
ASKED_NAME: Final = re.compile(
    r"created|placed|request|book|order|start|opened|asked|sent|event|timestamp|^ts$|^time$"
)
KNOWN_NAME: Final = re.compile(
    r"status|outcome|result|known|resolved|closed|ended|finish|label|reported|updated"
)
MAX_LEVELS: Final = 50
"""Levels of an outcome of several classes."""
MAX_ID: Final = 200

Kind = Literal["binary", "multiclass", "regression"]


@dataclass(slots=True)
class Guess:
    """Which columns are what."""

    request_id: Column | None
    """None: the row's number."""
    ts: Column | None
    """None: no column has times."""
    outcome: Column
    when: Column | None
    """The time at which the outcome was known; None: the file does not say it."""
    kind: Kind
    positive: str
    """The cell of the outcome that means true; empty where its time means that."""
    features: list[Column]
    left_out: list[tuple[str, str]] = field(default_factory=list)
    """Columns that are no features, and why."""


def guess(columns: Sequence[Column], request_id: str = "", ts: str = "", outcome: str = "") -> Guess:
    """Guess the columns' roles; those that are given are taken.

    Raises
    ------
    UsageError
        When a given column is not there or cannot be what it is to be, or nothing can be the outcome.
    """
    by_name = {each.name: each for each in columns}
    for option, name in (("--id", request_id), ("--time", ts), ("--outcome", outcome)):
        if name and name not in by_name:
            raise UsageError(
                f"{option} {name}: there is no such column; the columns are {', '.join(by_name)}"
            )
    times = [each for each in columns if each.type == "time"]
    asked = by_name[ts] if ts else _asked([each for each in times if each.name != outcome])
    if asked is not None and (asked.type != "time" or asked.missing):
        raise UsageError(
            f"--time {ts}: the column must have a time in each row, as an ISO date, a date such as 31.12.2024, or "
            "a number since 1970 in a column whose name says that it is a time"
        )
    named = by_name[request_id] if request_id else _identity(columns)
    if named is not None and not named.is_unique:
        raise UsageError(f"--id {request_id}: a cell occurs twice or is empty")
    taken = {each.name for each in (asked, named) if each is not None}
    free = [each for each in columns if each.name not in taken and each.type != "empty"]
    target = by_name[outcome] if outcome else _outcome(free)
    if target.type == "empty":
        raise UsageError(f"--outcome {outcome}: the column is empty in the rows that were read")
    later = [each for each in times if each.name not in taken | {target.name}]
    when = target if target.type == "time" else _known([each for each in later if not each.missing])
    kind, positive = _kind(target)
    made = Guess(named, asked, target, when, kind, positive, [])
    for each in columns:
        if each.name in taken | {target.name}:
            continue
        why = _no_feature(each) or _comes_with(each, target)
        if why:
            made.left_out.append((each.name, why))
        else:
            made.features.append(each)
    if not made.features:
        raise UsageError(
            "no column is left for a feature: a task needs the id, the time, the outcome and features"
        )
    return made


def delays_ms(found: Guess) -> list[int]:
    """Return the times from requests to outcomes, in ms, where both are there."""
    if found.ts is None or found.when is None:
        return []
    form = CellForm(tuple(dict.fromkeys(found.ts.dates + found.when.dates)), zone_of("UTC"), "first")
    return [
        form.time(late) - form.time(early)
        for early, late in zip(found.ts.cells, found.when.cells, strict=True)
        if late and late not in found.when.markers
    ]


def is_naive(column: Column) -> bool:
    """Whether a column has times without an offset."""
    return any(
        moment is not None and moment.tzinfo is None
        for cell in column.levels
        for moment in (moment_of(cell, form) for form in column.dates if form[:5] != "epoch")
    )


def _asked(times: list[Column]) -> Column | None:
    complete = [each for each in times if not each.missing]
    hinted = [each for each in complete if ASKED_NAME.search(each.words)]
    return next(iter(hinted or complete), None)


def _known(times: list[Column]) -> Column | None:
    """Return the column of the time at which outcomes were known."""
    hinted = [each for each in times if KNOWN_NAME.search(each.words)]
    return next(iter(hinted or times), None)


def _identity(columns: Sequence[Column]) -> Column | None:
    for each in columns:
        fits = each.is_unique and each.type in {"text", "integer"} and max(map(len, each.cells)) <= MAX_ID
        if fits and ID_NAME.search(each.words):
            return each
    return None


def _outcome(free: list[Column]) -> Column:
    def fits(each: Column) -> bool:
        return each.type != "text" or 2 <= len(each.levels) <= MAX_LEVELS

    hinted = [each for each in free if OUTCOME_NAME.search(each.words) and fits(each)]
    events = [each for each in free if each.type == "time" and each.missing]
    binary = [each for each in free if each.type == "boolean"]
    # Of several the first event, and else the last column: that is where files have it.
    for candidates in (
        [each for each in events if each in hinted][:1],
        [each for each in binary if each in hinted],
        hinted,
        events[:1],
        binary,
    ):
        if candidates:
            return candidates[-1]
    raise UsageError("no column looks like an outcome; name it with --outcome COLUMN")


def _kind(target: Column) -> tuple[Kind, str]:
    if target.type == "time":
        return "binary", ""
    if target.type == "boolean":
        return "binary", next(
            (cell for cell in target.levels if BOOLEANS.get(cell.lower(), cell == "1")), "true"
        )
    if target.type in {"integer", "number"} and len(target.levels) > 2:
        return "regression", ""
    if len(target.levels) > MAX_LEVELS:
        raise UsageError(
            f"--outcome {target.name}: text with {len(target.levels):,} different cells is no class"
        )
    if len(target.levels) == 2:
        return "binary", target.levels.most_common()[-1][0]
    return "multiclass", ""


def _comes_with(column: Column, target: Column) -> str:
    """Say that a column is filled in the rows that have an outcome and in no other; empty when it is not."""

    def filled(each: Column) -> list[bool]:
        return [bool(cell) and cell not in each.markers for cell in each.cells]

    if not target.missing or not column.missing or filled(column) != filled(target):
        return ""
    return f"filled only where {target.name} is"


def _no_feature(column: Column) -> str:
    """Say why a column is no feature; empty when it is one."""
    rows, levels = len(column.cells), len(column.levels)
    if column.type == "empty":
        return "empty"
    if column.type == "time":
        return "a time, perhaps later than the request"
    if levels == 1 and not column.missing and rows > 2:
        return "the same in every row"
    if (
        column.type in {"text", "integer"}
        and column.is_unique
        and (ID_NAME.search(column.words) or rows > 50)
    ):
        return "different in every row"
    if column.type == "text" and levels > max(50, rows // 2):
        return "text with few repetitions; it may name persons"
    return ""
