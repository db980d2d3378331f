"""The generated reference pages: `python -m agents.cli.reference` writes them, `--check` compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click

from agents.cli.main import riverloop
from agents.http.problems import STATUS
from agents.settings import Settings, environment_name
from schemas import avro_form
from schemas.reasons import REASONS
from schemas.topics import MAX_RECORD_BYTES, PARTITIONER, TopicSpec
from schemas.topics import topics as topics_of
from streams.metrics.registry import METRICS, REGISTRY
from streams.metrics.rules import COHORTS, PARTS

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "reference"
MIB: Final = 1024 * 1024
DAY_MS: Final = 86_400_000
MADE: Final = "<!-- Made by `python -m agents.cli.reference`; do not edit. -->"


def pages() -> dict[str, str]:
    """Give every page's text by file name."""
    made = {
        "settings.md": settings(),
        "topics.md": topics(),
        "records.md": records(),
        "reasons.md": reasons(),
        "commands.md": commands(),
        "metrics.md": metrics(),
    }
    return {name: f"{MADE}\n\n{text.rstrip()}\n" for name, text in made.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Give a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


# ---------------------------------------------------------------------- settings


def settings() -> str:
    """Give the page of a worker's settings."""
    rows = [
        (
            f"`{each.name}`",
            f"`{environment_name(each.name)}`",
            type(each.default).__name__,
            _default(each.default),
            each.metadata["unit"],
            each.metadata["says"] + (" Secret." if each.metadata["secret"] else ""),
        )
        for each in fields(Settings)
    ]
    return f"""# Settings of a worker

`riverloop worker` takes each setting as an option (`snapshot_every` is `--snapshot-every`) or from the
environment; the option wins. Secrets have no option, since other users of the machine can read a command
line, and are never printed; each may also lie in a file, named by its variable with `_FILE` behind it
(`RIVERLOOP_HTTP_TOKEN_FILE=/run/secrets/token`). A bool is `true` or `false`.

{table(("setting", "environment", "type", "default", "unit", "what it says"), rows)}
"""


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else f"`{value}`" if value else ""


# ---------------------------------------------------------------------- topics


def topics() -> str:
    """Give the page of a task's topics."""
    rows = [
        (
            f"`{each.name}`",
            each.key,
            "P" if each.partitions > 1 else 1,
            _keeps(each),
            f"{each.max_message_bytes // MIB} MiB",
            each.description,
            each.written_by,
        )
        for each in topics_of("T", 2)
    ]
    return f"""# Topics of a task

T is the task's name, P the number of partitions: `riverloop topics create TASK --partitions P`. All topics
use LogAppendTime: Kafka's timestamp is arrival, event time is the record's `ts`. Keys are UTF-8, placed by
`{PARTITIONER}`. riverloop accepts records up to {MAX_RECORD_BYTES // MIB} MiB; the topics let larger ones
in, so that they can be refused with a reason.

{table(("topic", "key", "partitions", "keeps", "limit", "what lies on it", "written by"), rows)}

`riverloop topics check TASK` compares a cluster's topics with this page.
"""


def _keeps(spec: TopicSpec) -> str:
    if spec.cleanup == "compact":
        return "the newest of each key"
    return "everything" if spec.retention_ms is None else f"{spec.retention_ms // DAY_MS} days"


# ---------------------------------------------------------------------- records


def records() -> str:
    """Give the page of the records on the wire."""
    parts = [_record(name) for name in (*avro_form.RECORDS, *avro_form.PARTS)]
    return "\n\n".join(
        [
            """# Records

What lies on the topics, field by field, from `schemas/avro/`. `Features` is the record that the task's
dictionary makes: `riverloop schemas export TASK DIR` writes one task's schemas with it filled in, as Avro
and JSON Schema, with an example of each record. A field with a default may be left out in JSON. How a reader
tells JSON and Avro apart: [the wire](../concepts/wire.md).""",
            *parts,
        ]
    )


def _record(name: str) -> str:
    schema = avro_form.load(name)
    rows = [
        (f"`{each['name']}`", _type(each["type"]), _given(each), each["doc"]) for each in schema["fields"]
    ]
    return f"## {name}\n\n{schema['doc']}\n\n{table(('field', 'type', 'default', 'what it says'), rows)}"


def _given(field: avro_form.Schema) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _type(node: Any) -> str:
    """Give a type as a person reads it."""
    if isinstance(node, list):
        return " or ".join(_type(each) for each in node)
    if isinstance(node, str):
        return f"[{node}](#{node.lower()})" if node in (*avro_form.RECORDS, *avro_form.PARTS) else node
    if node["type"] == "enum":
        return "one of " + ", ".join(f"`{symbol}`" for symbol in node["symbols"])
    if node["type"] == "array":
        return f"list of {_type(node['items'])}"
    if node["type"] == "map":
        return f"map of {_type(node['values'])} by name"
    return _type(node["type"])


# ---------------------------------------------------------------------- reasons


def reasons() -> str:
    """Give the page of why a record is refused."""
    rows = [
        (f"[`{code}`](../reasons.md#{code})", STATUS.get(code, 422), meaning)
        for code, meaning in REASONS.items()
    ]
    return f"""# Reasons

Why a record went to the dead letters ([how to read them](../how-to/read-dead-letters.md)), or over HTTP was
answered with a problem of this `reason` and status. HTTP has more reasons of its own: [HTTP](http.md#errors).
What to change in the producing service, with examples: [why a record was refused](../reasons.md).

{table(("reason", "HTTP status", "meaning"), rows)}
"""


# ---------------------------------------------------------------------- commands


def commands() -> str:
    """Give the page of the command line."""
    intro = """# Commands

`riverloop COMMAND --help` says the same. TASK is `file.py`, `file.py:name` or a dotted module; `file.py`
alone means the file's first task. FILE is CSV, CSV.gz or Parquet. Exit codes: 0 done, 1 something failed or
does not hold, 2 a mistake in how the command was called, 130 interrupted."""
    return "\n\n".join([intro, *_commands(riverloop, "riverloop")])


def _commands(group: click.Group, name: str) -> Iterator[str]:
    for each in sorted(group.commands):
        command = group.commands[each]
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name} {each}")
        else:
            yield _command(command, f"{name} {each}")


def _command(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    told = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    rows = [
        (f"`{record[0]}`", record[1])
        for each in command.params
        if isinstance(each, click.Option) and not each.hidden and (record := each.get_help_record(context))
    ]
    parts = [f"## {name}", f"```text\n{usage}\n```", told, table(("option", "what it does"), rows)]
    if command.epilog:
        parts.append(f"```sh\n{command.epilog.removeprefix('Example: ')}\n```")
    return "\n\n".join(parts)


# ---------------------------------------------------------------------- metrics


def metrics() -> str:
    """Give the page of the metrics of what was served."""
    river: dict[str, set[str]] = {name: set() for registry in REGISTRY.values() for name in registry}
    for registry in REGISTRY.values():
        for name, make in registry.items():
            river[name].add(f"`river.metrics.{type(make()).__name__}`")
    rows = [
        (
            f"`{each.name}`",
            ", ".join(each.kinds) or "the loop",
            each.unit,
            each.formula,
            each.better,
            ", ".join(sorted(river.get(each.name, ()))) or each.source,
            each.do,
        )
        for each in METRICS
    ]
    windows = [
        (
            "`all`",
            "All labels so far, by River where the table names it; by `segment` and by revision, too.",
        ),
        ("`last_N`", "The newest N labels that were given, N being `rolling`; 1,000 by default."),
        ("`window_SPAN`", "Requests made within `window` before stream time; a day by default."),
        *(
            (f"`{name}`", f"Requests whose age is {young:.1%} to {old:.1%} of the horizon.")
            for name, (young, old) in zip(COHORTS, PARTS, strict=False)
        ),
        (
            f"`{COHORTS[-1]}`",
            "Requests of one window's span that are older than the horizon: all have resolved.",
        ),
    ]
    return f"""# Metrics

Each resolution that has a label under the model's policy is scored once, with the score that was served. A
later correction takes back the label that it replaces, in every slice, without a trace: sums are whole numbers
in fixed point. A null score and a backfilled example are not scored. What a model served is kept apart from
what it would have served as a shadow. A value that does not exist (precision without a positive decision) is
not published.

The values lie on `T.metrics` as [Metric](records.md#metric) records, every `metrics_every_ms` while entries
come, keyed by the model, or `loop`. They are written in the transaction that commits the owner's offset of the
log, so `log_offset` tells which entries they cover, and a change of owner repeats none. The log's owner tells
them in `GET /tasks/T/status`, too.

{table(("metric", "kind of task", "unit", "formula", "better", "source", "when it moves the wrong way"), rows)}

`outcome` means the unit of the task's outcome. `riverloop backtest` gives an exact `roc_auc`, ties counted half,
since it has all scores at hand; here it is off by less than 1e-4 for smooth scores, and by up to 1e-3 for a
tree's few distinct ones.

## Windows

`Task(metrics=MetricRules(rolling=…, window=…, segments=(…)))` sets them.

{table(("window", "what it covers"), windows)}

Windows of event time and cohorts go by the time of the *request*, to the width of a pane (a 240th of the window
or of the horizon, whichever is longer; a horizon below eight panes has the mature cohort only).
A young cohort has its quick outcomes only: compare it with what the same cohort looked like at that age, never
with a mature one.

## What can be added up

| what | over partitions and workers |
| --- | --- |
| counts, sums, confusion, calibration table, AUC's and delays' bins | exact: one owner folds all of the log |
| `all`, windows, cohorts, revisions | exact, from those |
| quantiles of delays | from the merged bins, within 2.2 % |
| `last_N` | not to be added up: it depends on the log's order |
| join health | exact at the last entry of each join's batch; a join without entries tells the log once a minute |
| `freshness_s` in the status | of each worker since it started: add up buckets |
"""


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 when a page is stale.")
def main(check: bool) -> None:
    """Write the reference pages of the documentation."""
    made = pages()
    known = {name: FOLDER / name for name in made}
    stale = [
        name for name, path in known.items() if not path.is_file() or path.read_text("utf-8") != made[name]
    ]
    for name in stale:
        if check:
            click.echo(f"stale: {known[name]}; run: python -m agents.cli.reference", err=True)
        else:
            known[name].write_text(made[name], "utf-8")
            click.echo(f"written: {known[name]}")
    if check and stale:
        sys.exit(1)


if __name__ == "__main__":
    main()
