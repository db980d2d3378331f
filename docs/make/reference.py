"""The generated reference pages: `python -m docs.make.reference` writes them, `--check` compares."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click

from agents.cli.main import riverloop, subcommands
from agents.declared import allowed
from agents.settings import Settings
from docs.make.metrics_page import metrics_page
from docs.make.models_page import models_page
from docs.make.records_page import records_page
from schemas.clients import rows as client_rows
from schemas.topics import (
    MAX_DEAD_LETTER_BYTES,
    MAX_RECORD_BYTES,
    MAX_TOPIC_RECORD_BYTES,
    PARTITIONER,
    TopicSpec,
)
from schemas.topics import topics as topics_of

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "reference"
MIB: Final = 1024 * 1024
DAY_MS: Final = 86_400_000
MADE: Final = "<!-- Made by `python -m docs.make.reference`; do not edit. -->"


def pages() -> dict[str, str]:
    """Return every page's text by file name."""
    made = {
        "settings.md": settings(),
        "topics.md": topics(),
        "records.md": records_page(),
        "clients.md": clients(),
        "commands.md": commands(),
        "metrics.md": metrics_page(table),
        "models.md": models_page(table),
    }
    return {name: f"{MADE}\n\n{text.rstrip()}\n" for name, text in made.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; a row has bars at its ends only where a cell at an end is empty."""
    first, *others = (_row([_cell(cell) for cell in line]) for line in (head, *rows))
    return "\n".join([first, "|".join(["---"] * len(head)), *others])


def _row(cells: Sequence[str]) -> str:
    text = " | ".join(cells)
    return text if cells[0] and cells[-1] else f"| {text} |"


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


# ---------------------------------------------------------------------- settings


def settings() -> str:
    """Return the page of a worker's settings."""
    rows = [(f"`{each.name}`", _value(each), each.metadata["description"]) for each in fields(Settings)]
    return f"""# Settings of a worker

Each setting is an option of `riverloop worker` (`--snapshot-every`) and an environment variable
(`RIVERLOOP_SNAPSHOT_EVERY`); the option wins. A *secret* has no option and is never printed. The variable with the
suffix `_FILE` names a file with the secret (`RIVERLOOP_HTTP_TOKEN_FILE=/run/secrets/token`). Names have up to 100
letters, digits, dots, dashes, underscores.

{table(("setting", "default", "description"), rows)}
"""


def _value(declared: Any) -> str:
    """Return default, unit and bounds of a setting."""
    default, metadata = declared.default, declared.metadata
    if metadata["secret"]:
        bounds = f", {allowed(declared)}" if metadata["characters"] else ""
        return f"secret{bounds}"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, int):
        low, high = metadata["within"]
        return f"{default:,} {metadata['unit']} ({low:,}…{high:,})".replace("  ", " ")
    return f"{default} ({allowed(declared)})" if metadata["one_of"] else str(default)


# ---------------------------------------------------------------------- topics


def topics() -> str:
    """Return the page of a task's topics."""
    rows = [
        (
            f"`{each.name}`",
            each.key,
            "P" if each.partitions > 1 else 1,
            _keeps(each),
            each.description,
            each.written_by,
        )
        for each in (*topics_of("T", 2), topics_of("T", 2, aggregates=True)[-1])
    ]
    return f"""# Topics of a task

T is the task, P the number of partitions: `riverloop topics create TASK --partitions P`. Topics use LogAppendTime:
Kafka's timestamp is arrival, `ts` event time. Keys are UTF-8, partitioned by `{PARTITIONER}`. Records have up to
{MAX_RECORD_BYTES // MIB} MiB; topics accept {MAX_TOPIC_RECORD_BYTES // MIB} MiB
({MAX_DEAD_LETTER_BYTES // MIB} MiB for dead letters), so that larger records are rejected with a reason.

{table(("topic", "key", "partitions", "retention", "content", "written by"), rows)}

`riverloop topics check TASK` checks a cluster's topics.
"""


def _keeps(spec: TopicSpec) -> str:
    if spec.cleanup == "compact":
        return "compacted"
    return "unlimited" if spec.retention_ms is None else f"{spec.retention_ms // DAY_MS} d"


# ---------------------------------------------------------------------- clients


def clients() -> str:
    """Return the page of the settings of Kafka clients."""
    head, *families = (row[:-1] for row in client_rows())
    return f"""# Settings of Kafka clients

A producer of requests or outcomes sets the key to the `request_id` in UTF-8 and partitions as Java's default
partitioner does; other records are forwarded at the cost of a second hop. A consumer reads committed records only,
since riverloop writes in transactions. Most clients return aborted records by default.

{table(head, families)}

Other clients need Java's murmur2: the lower 31 bits of the key's hash, modulo the number of partitions, as in
`infra/kafka/partitioner.py`. Test them with six partitions: a client that takes all 32 bits places half of the keys
wrong then, and none with eight. See [examples](../how-to/call-from-a-service.md) in Python, Java, Node and Go.
"""


# ---------------------------------------------------------------------- commands

COMMON: Final = 2
"""Commands that share an option before it is described once, at the top of the page."""
UNNAMED: Final = frozenset({"--bootstrap", "--property", "--json"})
"""Options that the top of the page gives to all commands of their kind."""
OF_A_COMMAND: Final = (
    "--reason",
    "--author",
    "--id",
    "--evidence",
    "--dry-run",
    "--wait",
    "--timeout",
    "--group",
)
"""Options of each command to a model."""
EXAMPLE: Final = " (UTC, 2026-03-01T12:00)"
BOUNDS: Final = re.compile(r"(; |\[)[\d.]*(?:x|[\d.]+<=x)(?:[<>]=?[\d.]+)?\]")


def commands() -> str:
    """Return the page of the command line."""
    found = list(_leaves(riverloop, "riverloop"))
    first: dict[int, str] = {}
    for name, command in found:
        first.setdefault(id(command.callback), name)
    counts = Counter(
        row for name, command in found if name in first.values() for row in _options(command, name)
    )
    common: dict[str, tuple[str, str]] = {}
    for row, count in counts.most_common():
        if count >= COMMON:
            common.setdefault(row[0].split()[0], row)
    intro = f"""# Commands

TASK is `file.py` (its first task), `file.py:name` or a dotted module. FILE is CSV, CSV.gz or Parquet. TIME is UTC:
2026-03-01T12:00. Exit codes: 0 success, 1 failure, 2 usage error, 3 unreadable record, 130 interrupted. `--help`
describes a command, with the bounds of its options.

Common options:

{_listed([row for row in counts if row in common.values()])}

Commands on a cluster have `--bootstrap` and `--property`, most commands `--json`. *Command options* are
{_names(OF_A_COMMAND)}."""
    return "\n\n".join(
        [
            intro,
            *(
                _command(command, name, set(common.values()))
                if (of := first[id(command.callback)]) == name
                else f"## {_title(name)}\n\nThe same as `{of}`."
                for name, command in found
            ),
        ]
    )


def _leaves(group: click.Group, name: str) -> Iterator[tuple[str, click.Command]]:
    for each, command in sorted(subcommands(group).items()):
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{name} {each}")
        else:
            yield f"{name} {each}", command


def _options(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """Yield name and description of each option that is not a setting."""
    context = click.Context(command, info_name=name)
    declared = {each.name for each in fields(Settings)} if name == "riverloop worker" else set()
    for each in command.params:
        if isinstance(each, click.Option) and not each.hidden and each.name not in declared:
            record = each.get_help_record(context)
            if record is not None:
                text = BOUNDS.sub(_closed, record[1]).replace(EXAMPLE, "")
                yield record[0].replace(" RANGE", ""), text.rstrip()


def _closed(bounds: re.Match[str]) -> str:
    return "]" if bounds[1] == "; " else ""


def _title(name: str) -> str:
    return name.removeprefix("riverloop ")


def _listed(options: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- `{name}`: {' '.join(text.split())}" for name, text in options)


def _names(options: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in options)


def _shared(options: Sequence[str]) -> str:
    """Return the sentence about options that are described at the top of the page."""
    left = [each for each in options if each not in UNNAMED]
    if not set(OF_A_COMMAND) <= set(left):
        return f"Also {_names(left)}." if left else ""
    left = [each for each in left if each not in OF_A_COMMAND]
    return f"Also {_names(left)} and the command options." if left else "Also the command options."


def _command(command: click.Command, name: str, common: set[tuple[str, str]]) -> str:
    help_text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    options = list(_options(command, name))
    own = [row for row in options if row not in common]
    shared = [option.split()[0] for option, text in options if (option, text) in common]
    parts = [f"## {_title(name)}", help_text]
    if own:
        parts.append(_listed(own))
    if also := _shared(shared):
        parts.append(also)
    if name == "riverloop worker":
        parts.append("Each [setting](settings.md) except secrets is an option.")
    if command.epilog:
        example, *notes = command.epilog.removeprefix("Example: ").split("\n\n")
        parts += [f"```sh\n{' '.join(example.split())}\n```", *notes]
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
