"""`riverloop init`: writes a first task file from a data file."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import click

from agents.cli.data import note
from infra.datafiles.rows import FileForm, files, is_text_file, rows
from infra.datafiles.text import found_encoding
from infra.firsttask.columns import columns_of, words_of
from infra.firsttask.guess import Guess, guess
from infra.firsttask.text import FileFacts, task_text
from schemas.errors import UsageError

FIRST_ROWS = 20_000


@click.command(epilog="Example: riverloop init orders.csv --outcome cancelled_at")
@click.argument("data")
@click.option("--out", default="task.py", show_default=True, metavar="FILE", help="The task file to write.")
@click.option("--name", default="", help="The task's name; default: from the file's.")
@click.option("--id", "request_id", default="", metavar="COLUMN", help="Column of the request's id.")
@click.option("--time", "ts", default="", metavar="COLUMN", help="Column of the request's time.")
@click.option("--outcome", default="", metavar="COLUMN", help="Column of the outcome, or of its time.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def init(data: str, out: str, name: str, request_id: str, ts: str, outcome: str, force: bool) -> None:
    """Write a first task file for DATA, a CSV, JSON lines or Parquet file or a folder of them.

    Types, levels, id, time and outcome are guessed from the first 20,000 rows. Check the file before you use it.
    """
    path, target = Path(data), Path(out)
    known = files(path)
    if target.exists() and not force:
        raise UsageError(f"{target} exists; use --force to replace it, or --out for another file")
    encoding = found_encoding(known[0]) if is_text_file(known[0]) else ""
    found: list[str] = []
    first = list(islice(rows(path, FileForm(encoding=encoding), found.append), FIRST_ROWS))
    if not first:
        raise UsageError(f"{path} has no rows")
    columns, decimal = columns_of(first)
    made = guess(columns, request_id, ts, outcome)
    task_name = name or words_of(path.name.split(".")[0]).replace("_", "-") or "first"
    if task_name[0].isdigit():
        task_name = f"t{task_name}"
    relative = os.path.relpath(path.resolve(), target.resolve().parent)
    facts = FileFacts(relative, len(first), encoding, decimal)
    target.write_text(task_text(task_name, facts, made), encoding="utf-8")
    for each in found:
        note(each)
    click.echo(
        f"{target}: task {task_name}, {made.kind}, {len(made.features)} features of {len(first):,} rows"
    )
    for what, text in _said(made):
        click.echo(f"  {what:<8} {text}")
    click.echo(f"\nNext: read {target}, then\n\n  riverloop check {target}\n  riverloop demo {target}")


def _said(made: Guess) -> list[tuple[str, str]]:
    when = "at once" if made.when is None else f"at {made.when.name}"
    said = [
        ("id", made.request_id.name if made.request_id else "the row's number"),
        ("time", made.ts.name if made.ts else "none: rows count as a second apart"),
        ("outcome", f"{made.outcome.name}, known {when}"),
    ]
    return said + [("left out", f"{column}: {why}") for column, why in made.left_out]
