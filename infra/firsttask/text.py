"""The text of a first task file."""

from __future__ import annotations

import keyword
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from infra.firsttask.columns import Column, words_of
from infra.firsttask.guess import OUTCOME_NAME, Guess, delays_ms, is_naive

HORIZONS: Final = ("hours=1", "days=1", "days=7", "days=30", "days=90", "days=365", "days=730")
HORIZON_MS: Final = tuple(ms * 3_600_000 for ms in (1, 24, 168, 720, 2160, 8760, 17_520))
HUNDRED_DAYS_MS: Final = 8_640_000_000
SHOWN_LEVELS: Final = 12
MAX_LINE: Final = 100
LEAST_ROWS: Final = 100
"""Rows from which on levels are declared."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What is known of the data file."""

    path: str
    """Relative to the task file."""
    rows: int
    encoding: str
    decimal: str


def task_text(name: str, facts: FileFacts, found: Guess) -> str:
    """Return the text of a task file."""
    features = _named(found.features)
    numbers = [key for key, each in features if each.type in {"integer", "number"}]
    levels = [key for key, each in features if each.type not in {"integer", "number"}]
    lines = [
        f'"""A first task for {Path(facts.path).name}.',
        "",
        "Check each line, above all the outcome, when it was known, the horizon, and that each feature is known at",
        'the request."""',
        "",
        "from datetime import timedelta",
        "",
        f"from river import {', '.join(_modules(found, numbers, levels))}",
        "",
        f"from schemas import {', '.join(sorted({'Dictionary', *(_word(each) for each in found.features)}))}",
        f"from streams import {', '.join(_names(found))}",
        "",
    ]
    if numbers:
        lines += _wrapped("NUMBERS", numbers)
    if levels:
        lines += _wrapped("LEVELS", levels)
    lines += ["", "", *_model(found, numbers, levels), "", "", *_outcome(found)]
    lines += ["", "", f"{_identifier(name)} = Task("]
    lines += [f"    name={_text(name)},", f"    question={_text(_question(found))},"]
    if found.kind != "binary":
        lines.append(f'    kind="{found.kind}",')
    lines.append("    features=Dictionary(")
    for key, each in features:
        lines += _feature(key, each, facts)
    lines += [f"        # Left out: {column} ({why})." for column, why in found.left_out]
    lines += ["    ),", *_horizon(found), *_models(found), *_data(facts, found), ")", ""]
    return "\n".join(lines)


def _named(columns: list[Column]) -> list[tuple[str, Column]]:
    """Return the features' names, each a Python identifier, with their columns."""
    taken: dict[str, Column] = {}
    for each in columns:
        name = (
            each.name
            if each.name.isidentifier() and each.name.isascii()
            else _identifier(words_of(each.name))
        )
        number, unique = 1, name
        while unique in taken:
            number, unique = number + 1, f"{name}_{number + 1}"
        taken[unique] = each
    return list(taken.items())


def _wrapped(name: str, items: list[str]) -> list[str]:
    """Return the assignment of a tuple, on several lines if it is long."""
    line = f"{name} = {_tuple(items)}"
    if len(line) <= MAX_LINE:
        return [line]
    inside = textwrap.wrap(", ".join(map(_text, items)) + ",", MAX_LINE - 4, break_on_hyphens=False)
    return [f"{name} = (", *(f"    {each}" for each in inside), ")"]


def _identifier(text: str) -> str:
    name = re.sub(r"\W", "_", text, flags=re.ASCII)
    return f"f_{name}" if not name or name[0].isdigit() or keyword.iskeyword(name) else name


def _text(text: str) -> str:
    """Return a Python literal in double quotation marks."""
    plain = repr(text)
    return plain if '"' in text else f'"{plain[1:-1]}"' if plain[0] == "'" and "\\'" not in plain else plain


def _tuple(items: list[str]) -> str:
    inside = ", ".join(map(_text, items))
    return f"({inside},)" if len(items) == 1 else f"({inside})"


def _word(column: Column) -> str:
    return (
        {"integer": "Integer", "number": "Number", "boolean": "Boolean"}.get(column.type, "Category")
        if (column.type != "boolean" or _is_plain_boolean(column))
        else "Category"
    )


def _is_plain_boolean(column: Column) -> bool:
    """Whether a Boolean feature reads its cells: yes and no are levels of a category."""
    return {cell.lower() for cell in column.levels} <= {"true", "false", "0", "1"}


def _feature(key: str, column: Column, facts: FileFacts) -> list[str]:
    word = _word(column)
    parts = [f"name={_text(key)}"]
    if key != column.name:
        parts.append(f"column={_text(column.name)}")
    said = ""
    if word in {"Integer", "Number"}:
        values = sorted(column.numbers(facts.decimal))
        if values[0] >= 0:
            parts.append("low=0")
        if column.missing:
            middle = median(values)
            parts.append(f"missing={int(middle) if word == 'Integer' else middle!r}")
        said = f"{values[0]:g} to {values[-1]:g} in the file"
    elif word == "Category":
        seen = sorted(column.levels)
        whole = len(seen) <= SHOWN_LEVELS and facts.rows >= LEAST_ROWS and len(_tuple(seen)) <= MAX_LINE - 30
        if whole:
            parts.append(f"levels={_tuple(seen)}")
        else:
            said = f"{len(seen):,} levels in the file"
        if column.missing:
            parts.append('missing="unknown"')
    elif column.missing:
        parts.append("missing=False")
    if OUTCOME_NAME.search(column.words):
        said += f"{', ' if said else ''}named like an outcome: is it known at the request?"
    if column.missing:
        said += f"{', ' if said else ''}missing in {column.missing:,} rows"
    comment = f"  # {said}" if said else ""
    return [f"        {word}({', '.join(parts)}),{comment}"]


def _modules(found: Guess, numbers: list[str], levels: list[str]) -> list[str]:
    names = {"dummy", "linear_model", "optim"}
    if numbers or levels:
        names.add("preprocessing")
    if found.kind == "regression":
        names.add("stats")
    return sorted(names)


def _names(found: Guess) -> list[str]:
    names = {"DataFile", "Model", "Select", "Task"}
    if found.positive == "" and found.outcome.type == "time":
        names.add("DefaultAtHorizon")
    if found.ts is not None:
        names.add("millis")
    if found.kind == "regression":
        names.add("number")
    return sorted(names, key=lambda each: (each[0].islower(), each))


def _model(found: Guess, numbers: list[str], levels: list[str]) -> list[str]:
    kind = {
        "binary": ("logistic_regression", "linear_model.LogisticRegression(optim.SGD(learning_rate))"),
        "multiclass": ("softmax_regression", "linear_model.SoftmaxRegression(optim.SGD(learning_rate))"),
        "regression": ("linear_regression", "linear_model.LinearRegression(optim.SGD(learning_rate))"),
    }
    name, last = kind[found.kind]
    if found.kind == "regression":
        last = f"preprocessing.TargetStandardScaler(regressor={last})"
    lines = [f"def {name}(learning_rate):"]
    if numbers:
        lines.append("    numbers = Select(*NUMBERS) | preprocessing.StandardScaler()")
    if levels:
        lines.append("    levels = Select(*LEVELS) | preprocessing.OneHotEncoder()")
    both = "(numbers + levels)" if numbers and levels else "numbers" if numbers else "levels"
    lines.append(f"    return {both} | {last}")
    lines += ["", "", "def baseline():", '    """What a model must beat."""']
    lines.append(
        "    return dummy.StatisticRegressor(stats.Mean())"
        if found.kind == "regression"
        else "    return dummy.PriorClassifier()"
    )
    return lines


def _models(found: Guess) -> list[str]:
    name, builder = {
        "binary": ("lr", "logistic_regression"),
        "multiclass": ("softmax", "softmax_regression"),
        "regression": ("linear", "linear_regression"),
    }[found.kind]
    policy = ", policy=DefaultAtHorizon(False)" if found.outcome.type == "time" else ""
    return [
        "    models=(",
        f'        Model("{name}", {builder}, {{"learning_rate": 0.01}}{policy}),',
        f'        Model("baseline", baseline{policy}),',
        "    ),",
    ]


def _outcome(found: Guess) -> list[str]:
    column = f"row[{_text(found.outcome.name)}]"
    lines = ["def outcome(row):"]
    if found.outcome.type == "time":
        lines.append('    """None: nothing was ever reported, which means false when the horizon ends."""')
        lines.append(f"    return (millis({column}), True) if {column} else None")
        return lines
    if found.when is not None:
        when = f"millis(row[{_text(found.when.name)}])"
        lines.append('    """When the outcome became known, and its value."""')
    else:
        when = "asked(row)" if found.ts is None else f"millis(row[{_text(found.ts.name)}])"
        lines.append(
            '    """The file has no time of the outcome: it counts as known at once, which flatters models."""'
        )
    value = {
        "binary": f"{column} == {_text(found.positive)}",
        "multiclass": column,
        "regression": f"number({column})",
    }
    lines.append(f"    return ({when}, {value[found.kind]}) if {column} else None")
    if found.ts is None:
        lines = [
            "def asked(row):",
            '    """The file has no time: its rows count as a second apart, from 2000 on."""',
            '    return 946_684_800_000 + int(row["#"]) * 1000',
            "",
            "",
            *lines,
        ]
    return lines


def _question(found: Guess) -> str:
    if found.outcome.type == "time":
        return f"Will there be a time {found.outcome.name} within the horizon?"
    return f"What will {found.outcome.name} be?"


def _horizon(found: Guess) -> list[str]:
    delays = delays_ms(found)
    longest = max(delays, default=0)
    fitting = [text for text, ms in zip(HORIZONS, HORIZON_MS, strict=True) if longest <= ms]
    horizon = fitting[0] if fitting else f"days={-(-longest // HUNDRED_DAYS_MS) * 100}"
    if not delays:
        return ["    horizon=timedelta(days=1),  # how long outcomes may take"]
    return [f"    horizon=timedelta({horizon}),  # the longest took {longest / 86_400_000:.1f} days"]


def _data(facts: FileFacts, found: Guess) -> list[str]:
    times = [each for each in (found.ts, found.when) if each is not None]
    lines = ["    data=DataFile(", f"        path={_text(facts.path)},"]
    identity = "#" if found.request_id is None else found.request_id.name
    lines.append(f"        request_id={_text(identity)},")
    lines.append(f"        ts={'asked' if found.ts is None else _text(found.ts.name)},")
    if any(is_naive(each) for each in times):
        lines.append('        timezone="UTC",  # of times without an offset: correct it')
    dates = list(dict.fromkeys(form for each in times for form in each.dates))
    doubt = next((each.doubt for each in times if each.doubt), "")
    if dates not in ([], ["iso"]):
        comment = f"  # {doubt}" if doubt else ""
        lines.append(f"        dates={_tuple(dates)},{comment}")
    if facts.encoding:
        lines.append(f"        encoding={_text(facts.encoding)},")
    if facts.decimal == ",":
        lines.append('        decimal=",",')
    markers = sorted(set().union(*(each.markers for each in [found.outcome, *times, *found.features])))
    if markers:
        lines.append(f"        missing={_tuple(markers)},")
    return [*lines, "        outcome=outcome,", "    ),"]
