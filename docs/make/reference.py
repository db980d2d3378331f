"""The generated reference pages: `python -m docs.make.reference` writes them, `--check` compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click

from agents.cli.main import riverloop, subcommands
from agents.declared import allowed, environment_name
from agents.http.problems import STATUS
from agents.settings import Settings
from docs.make.metrics_page import metrics_page
from schemas.clients import rows as client_rows
from schemas.codec import avro_form
from schemas.reasons import REASONS
from schemas.topics import MAX_RECORD_BYTES, PARTITIONER, TopicSpec
from schemas.topics import topics as topics_of

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "reference"
MIB: Final = 1024 * 1024
DAY_MS: Final = 86_400_000
MADE: Final = "<!-- Made by `python -m docs.make.reference`; do not edit. -->"


def pages() -> dict[str, str]:
    """Give every page's text by file name."""
    made = {
        "settings.md": settings(),
        "topics.md": topics(),
        "records.md": records(),
        "reasons.md": reasons(),
        "clients.md": clients(),
        "commands.md": commands(),
        "metrics.md": metrics_page(table),
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
            allowed(each),
            each.metadata["says"] + (" Secret." if each.metadata["secret"] else ""),
        )
        for each in fields(Settings)
    ]
    return f"""# Settings of a worker

`riverloop worker` takes each setting as an option (`snapshot_every` is `--snapshot-every`) or from the
environment; the option wins. Secrets have no option, since other users of the machine can read a command
line, and are never printed; each may also lie in a file, named by its variable with `_FILE` behind it
(`RIVERLOOP_HTTP_TOKEN_FILE=/run/secrets/token`). A bool is `true` or `false`.

{table(("setting", "environment", "type", "default", "unit", "allowed", "what it says"), rows)}
"""


def _bounds(declared: Mapping[str, Any]) -> str:
    return "" if declared["low"] is None else f" From {declared['low']:,} to {declared['high']:,}."


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


# ---------------------------------------------------------------------- clients


def clients() -> str:
    """Give the page of the settings of Kafka clients."""
    head, *families = client_rows()
    return f"""# Settings of Kafka clients

A producer of requests or outcomes sets the key, the `request_id` in UTF-8, and places records as Java's default
partitioner does. A record on another partition is forwarded to its own and counted, at the price of a second hop.
A consumer reads committed records only: predictions, metrics and alerts are written in transactions.

{table(head, families)}

A client that is not here needs Java's murmur2: the lower 31 bits of the key's hash, modulo the number of
partitions. `infra/kafka/partitioner.py` is an implementation in a few lines.

## Whether a request was refused

A record that is refused gets no prediction, and the producer is not informed by Kafka. Whatever the client:

- Over HTTP the answer is a problem with `reason`, `field` and `detail`: [errors](http.md#errors).
- On the topics a dead letter is written to `T.dead-letters`, under the key of the refused record. It has the
  reason, the field and a sentence: [read dead letters](../how-to/read-dead-letters.md). A header `client.id` on a
  record comes back as the `producer` of its dead letter, so that a service finds its own.
"""


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
    for each, command in sorted(subcommands(group).items()):
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
            click.echo(f"stale: {known[name]}; run: python -m docs.make.reference", err=True)
        else:
            known[name].write_text(made[name], "utf-8")
            click.echo(f"written: {known[name]}")
    if check and stale:
        sys.exit(1)


if __name__ == "__main__":
    main()
