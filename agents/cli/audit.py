"""`riverloop audit`: the audit chain of a task, and what became of its requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, table
from agents.cli.filters import time_of
from agents.cli.trace import request
from agents.settings import from_environment
from infra.audit.chain import ChainReader, announced
from infra.audit.checkpoints import read_checkpoints
from infra.kafka.connection import Connection
from infra.taskfile import load_task
from schemas.codec import Codec
from schemas.escaped import harmless
from streams.audit import Checkpoint, Line
from streams.audit_check import AuditReport, check, compare, read_export, time_text
from streams.audit_check import export as export_lines
from streams.audit_history import AuditHistory

KINDS = ("audit", "request", "applied", "link", "unreadable")


@click.group()
def audit() -> None:
    """Show decisions with their authors, what became of a request, and whether the records are intact."""


audit.add_command(request)


@audit.command("check", epilog="Example: riverloop audit check task.py --checkpoint s3://kept/riverloop")
@click.argument("task")
@click.option("--file", "file", metavar="EXPORT", help="Export to check; - is standard input.")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="URI",
    help="Checkpoint, or folder of them; repeatable.",
)
@cluster_options
@json_option
def check_(
    task: str,
    file: str | None,
    checkpoints: tuple[str, ...],
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check the audit chain of TASK; exit code 1 when a record was altered, dropped, moved or inserted.

    Compares the records with the links of the log's owner, the heads in snapshots, and checkpoints, whose
    signatures need RIVERLOOP_SNAPSHOT_KEY.
    """
    loaded, report = load_task(task), AuditReport()
    known = [each for uri in checkpoints for each in read_checkpoints(uri, loaded.task.name)]
    if file is None:
        connection, codec = connect(bootstrap, properties), codec_of(loaded)
        # First the manifests: each states what lay on the topic before it.
        stated = list(announced(connection, codec))
        lines = [each.line for each in ChainReader(connection, codec).read()]
    else:
        stated = []
        with click.open_file(file, "rb") as opened:
            lines = read_export(opened, report)
    if report.ok or file is None:
        check(lines, report)
        _compare(lines, stated, known, report)
    if as_json:
        print_json({"task": loaded.task.name} | report.as_data())
    else:
        _show(loaded.task.name, report)
    if not report.ok:
        raise click.exceptions.Exit(1)


def _compare(
    lines: list[Line], stated: list[Checkpoint], known: list[Checkpoint], report: AuditReport
) -> None:
    compare(lines, stated, report)
    key = from_environment("snapshot_key").encode()
    if known and not key:
        report.notes.append(
            "the signatures of the checkpoints are not checked: RIVERLOOP_SNAPSHOT_KEY is not set"
        )
    compare(lines, known, report, (lambda each: each.is_signed_by(key)) if key else None)


def _show(task: str, report: AuditReport) -> None:
    rows = [
        ["records in the chain", report.size],
        ["not yet linked", report.not_linked],
        ["checkpoints and snapshots compared", report.checkpoints],
    ]
    table(f"{task}: audit chain", ["what", "count"], rows)
    for note in report.notes:
        click.echo(f"note: {note}")
    for each in report.findings:
        click.echo(f"WRONG: {harmless(each)}", err=True)
    if report.found > len(report.findings):
        click.echo(f"WRONG: {report.found - len(report.findings):,} more", err=True)
    click.echo(f"head {report.head}")
    click.echo("the chain is intact" if report.ok else f"{report.found:,} things do not hold")


@audit.command(epilog="Example: riverloop audit export task.py --out audit.jsonl")
@click.argument("task")
@click.option("--out", default="-", metavar="FILE", help="File to write; - is standard output.")
@cluster_options
def export(task: str, out: str, bootstrap: str | None, properties: tuple[str, ...]) -> None:
    """Export the audit chain of TASK as canonical JSON, one record a line.

    Each line has number, previous hash, hash and record.
    """
    loaded = load_task(task)
    reader = ChainReader(connect(bootstrap, properties), codec_of(loaded))
    with click.open_file(out, "wb") as file:
        for line in export_lines(each.line for each in reader.read()):
            file.write(line)
    if out != "-":
        click.echo(f"{reader.chain.size:,} records, head {reader.chain.head}")


@audit.command("list", epilog="Example: riverloop audit list task.py --command promote --since 2026-11-01")
@click.argument("task")
@click.option("--since", metavar="TIME", help="At TIME (UTC, 2026-03-01T12:00) or later.")
@click.option("--until", metavar="TIME", help="Before TIME.")
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(KINDS),
    multiple=True,
    help="Of this kind; repeatable. Default: audits and undecided requests.",
)
@click.option("--command", "commands", multiple=True, metavar="NAME", help="Of this command; repeatable.")
@click.option("--author", "authors", multiple=True, metavar="NAME", help="By this author; repeatable.")
@cluster_options
@json_option
def list_(
    task: str,
    since: str | None,
    until: str | None,
    kinds: tuple[str, ...],
    commands: tuple[str, ...],
    authors: tuple[str, ...],
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """List the audit records of TASK, oldest first."""
    loaded = load_task(task)
    begin, end = time_of("--since", since), time_of("--until", until)
    history = read_history(connect(bootstrap, properties), codec_of(loaded))
    rows = [
        row
        for row in history.rows()
        if (row["kind"] in kinds if kinds else row["kind"] == "audit" or row.get("result") == "asked")
        and (not commands or row.get("command") in commands)
        and (not authors or row.get("author") in authors)
        and (begin is None or row.get("ts", 0) >= begin)
        and (end is None or row.get("ts", 0) < end)
    ]
    if as_json:
        print_json({"task": loaded.task.name, "records": rows})
        return
    columns = ["number", "kind", "command", "model", "result", "author", "reason", "log_offset"]
    shown = [[_at(row), *(row.get(each, "") for each in columns)] for row in rows]
    table(f"{loaded.task.name}: audit", ["at", *(each.replace("_", " ") for each in columns)], shown)


@audit.command(epilog="Example: riverloop audit at task.py 2026-11-03T03:10")
@click.argument("task")
@click.argument("when", metavar="TIME|OFFSET")
@cluster_options
@json_option
def at(task: str, when: str, bootstrap: str | None, properties: tuple[str, ...], as_json: bool) -> None:
    """Show which models of TASK answered at TIME (UTC) or after the log entry OFFSET, and by whose decision."""
    loaded = load_task(task)
    offset = int(when) if when.isdecimal() and len(when) < 19 else None
    ts = None if offset is not None else time_of("TIME|OFFSET", when)
    found = read_history(connect(bootstrap, properties), codec_of(loaded)).at(offset, ts)
    if as_json:
        print_json(found)
        return
    rows = list(_answering(found["models"]))
    columns = ["model", "role", "share", "state", "revision", "log offset", "by", "reason", "evidence", "at"]
    where = f"after log offset {offset}" if offset is not None else f"at {time_text(ts or 0)}"
    table(f"{loaded.task.name} {where}", columns, rows)


def _answering(models: list[Mapping[str, Any]]) -> Iterator[list[Any]]:
    for each in models:
        by = each["put_there_by"] or each["revision_by"] or {}
        what = [each[name] for name in ("model", "role", "share", "state", "revision")]
        who = [by.get(name) for name in ("log_offset", "author", "reason", "evidence")]
        yield [*what, *who, time_text(by["ts"]) if by else ""]


def _at(row: Mapping[str, Any]) -> str:
    return time_text(row["ts"]) if "ts" in row else ""


def read_history(connection: Connection, codec: Codec) -> AuditHistory:
    """Read all records of `T.control`."""
    history = AuditHistory(codec.task)
    for each in ChainReader(connection, codec).read():
        history.take(each.record, each.line)
    return history
