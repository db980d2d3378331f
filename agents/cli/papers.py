"""`riverloop models card` and `riverloop models diff`: papers about versions, from the log and its topics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, progress, table
from agents.cli.versions import versions_of
from agents.settings import Settings
from infra.papers.cards import Cards
from infra.taskfile import load_task
from infra.versions import CHAMPION
from schemas.errors import UsageError
from streams import native
from streams.papers.card import Card
from streams.papers.difference import compare
from streams.papers.document import markdown, page
from streams.papers.layout import card_blocks

uri_option = click.option("--snapshots", metavar="URI", help="Snapshot store. [RIVERLOOP_SNAPSHOTS]")


@click.command(epilog="Example: riverloop models card task.py lr.1@9999 --html --out card.html")
@click.argument("task")
@click.argument("version", required=False, default=CHAMPION)
@click.option("--html", "as_html", is_flag=True, help="HTML in one file, instead of Markdown.")
@click.option("--out", metavar="FILE", help="Write FILE instead of printing.")
@uri_option
@cluster_options
@json_option
def card(
    task: str,
    version: str,
    as_html: bool,
    out: str | None,
    snapshots: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print the model card of VERSION of TASK: MODEL.REVISION@OFFSET, or MODEL or TASK@champion (default).

    MODEL and TASK@champion mean the version that answers now. The card has question, data dictionary, training
    history, specification, metrics with intervals, calibration, alerts and decisions.
    """
    if as_json and as_html:
        raise UsageError("--json and --html exclude each other")
    if as_json and out is not None:
        raise UsageError("--json and --out exclude each other")
    (found,) = _cards(task, [version], snapshots, bootstrap, properties)
    if as_json:
        print_json(found.data())
        return
    blocks = card_blocks(found)
    text = page(f"Model card of {found.version}", blocks) if as_html else markdown(blocks)
    if out is None:
        click.echo(text, nl=False)
    else:
        Path(out).write_text(text, encoding="utf-8")
        click.echo(f"{out}: model card of {found.version}, from the log before offset {found.log_end:,}")


@click.command(epilog="Example: riverloop models diff task.py lr.1@9999 lr@file")
@click.argument("task")
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@click.option("--all", "equal", is_flag=True, help="Also list equal values.")
@uri_option
@cluster_options
@json_option
def diff(
    task: str,
    one: str,
    other: str,
    equal: bool,
    snapshots: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare A and B of TASK: versions, models, TASK@champion, or MODEL@file for the task file as it is now.

    Compares parameters, pipeline, policy, dictionary, runtime, log interval, left-out intervals and metrics.
    """
    cards = _cards(task, [one, other], snapshots, bootstrap, properties)
    rows = [row for row in compare(*cards) if equal or not row.equal]
    names = [each.version for each in cards]
    if as_json:
        print_json(
            {
                "task": cards[0].task,
                "versions": names,
                "log_end": cards[0].log_end,
                "rows": [row._asdict() | {"equal": row.equal} for row in rows],
            }
        )
        return
    title = f"{cards[0].task}: {names[0]} and {names[1]}, from the log before offset {cards[0].log_end:,}"
    if rows:
        table(title, ["section", "name", *_apart(names)], [[*row] for row in rows])
    else:
        click.echo(f"{title}: no difference")


def _apart(names: Sequence[str]) -> list[str]:
    return [f"{each} " if number and each == names[0] else each for number, each in enumerate(names)]


def _cards(
    task: str, named: Sequence[str], snapshots: str | None, bootstrap: str | None, properties: tuple[str, ...]
) -> list[Card]:
    loaded, given = load_task(task), Settings.load({"snapshots": snapshots})
    native.choose(given.core)
    connection = connect(bootstrap, properties)
    versions = versions_of(loaded, codec_of(loaded), connection, given)
    with progress("card", versions.extent.end) as advance:
        return Cards(versions, advance).cards(named)
