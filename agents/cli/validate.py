"""`riverloop validate`: checks the models of a task at fixed offsets of its log, beside the loop."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import click

from agents.cli.asking import commands_of
from agents.cli.cluster import cluster_options, codec_of, connect, reading_codec
from agents.cli.common import json_option, print_json, table, user_name
from agents.cli.data import note
from agents.cli.versions import versions_of
from agents.settings import Settings
from infra.clock import now_ms
from infra.commands import Commands
from infra.taskfile import LoadedTask, load_task
from infra.validation.at_offset import AtOffset, Found, file_entries, newest_point, rules_of
from schemas.errors import BrokerError, RecordsGone, UsageError
from schemas.records import Command
from streams import native

POLL_S: Final = 2.0
"""Between two looks at the end of the log."""
log = logging.getLogger(__name__)


@click.command(epilog="Example: riverloop validate task.py --once --bootstrap localhost:9092")
@click.argument("task")
@click.option(
    "--once", is_flag=True, help="Validate at the newest offset only; exit code 1 when a model fails."
)
@click.option("--dry-run", is_flag=True, help="Write nothing to the log.")
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for the log's owner.",
)
@click.option("--snapshots", metavar="URI", help="Snapshot store. [RIVERLOOP_SNAPSHOTS]")
@click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")
@cluster_options
@json_option
def validate(
    task: str,
    once: bool,
    dry_run: bool,
    timeout: float,
    snapshots: str | None,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run the checks of TASK on its models, beside the loop, at each multiple of `every` log offsets.

    An offset always has the same verdict, because models are made from snapshots and the log. Verdicts are
    entries of the log; a model whose newest validation failed is not promoted. After a pause of the validator
    only the newest offset is validated.
    """
    loaded = load_task(task)
    rules = rules_of(loaded)
    given = Settings.load({"snapshots": snapshots})
    native.choose(given.core)
    connection = connect(bootstrap, properties)
    codec = reading_codec(loaded, connection, serving=True) if rules.files else codec_of(loaded)
    held_back = {file: file_entries(loaded, codec, file, note) for file in rules.files}
    commands = commands_of(loaded, group, bootstrap, properties)
    last = 0
    while True:
        try:
            versions = versions_of(loaded, codec, connection, given)
            at = newest_point(versions, rules.every)
            if at > last:
                found = AtOffset(versions, at, held_back).run()
                decided = {} if dry_run else asyncio.run(_record(commands, found, timeout))
                _show(loaded, found, decided, dry_run, as_json)
                if once and not found.passed:
                    raise click.exceptions.Exit(1)
                last = at
            elif once:
                raise UsageError(f"the log of {loaded.task.name} has fewer than {rules.every:,} offsets")
        except (BrokerError, RecordsGone) as error:
            if once:
                raise
            log.error("%s: not validated, tried again: %s", loaded.task.name, error)
        if once:
            return
        time.sleep(POLL_S)


async def _record(commands: Commands, found: Found, timeout_s: float) -> dict[str, str]:
    """Ask for a command for each verdict; returns by model what has become of it."""
    asked = list[Command]()
    for each in found.verdicts:
        command = each.command(user_name(), "os_user", now_ms())
        await commands.ask(command)
        asked.append(command)
    states = dict[str, str]()
    for command in asked:
        # The same verdict may have been written before; its audit lies before this request.
        progress = await commands.follow(command, 0, timeout_s)
        states[command.model] = progress.why or progress.state
    return states


def _show(loaded: LoadedTask, found: Found, decided: dict[str, str], dry_run: bool, as_json: bool) -> None:
    written = {each.model: "dry run" if dry_run else decided[each.model] for each in found.verdicts}
    if as_json:
        models = [
            {
                "model": each.model,
                "version": each.version,
                "passed": each.passed,
                "configuration": each.digest,
                "log": written[each.model],
                "checks": [result.data() for result in each.results],
            }
            for each in found.verdicts
        ]
        about = {"task": loaded.task.name, "at": found.at, "passed": found.passed}
        print_json(about | {"models": models, "notes": list(found.notes)})
        return
    rows = [
        [each.version, result.name, "passed" if result.passed else "FAILED", result.text]
        for each in found.verdicts
        for result in each.results
    ]
    table(f"{loaded.task.name}: validation at log offset {found.at}", ["version", "check", "", "found"], rows)
    for each in found.verdicts:
        state = {"done": "in the log", "asked": "asked for; no worker has decided it"}
        where = state.get(written[each.model], written[each.model])
        click.echo(f"{each.version}: {'passed' if each.passed else 'FAILED'} ({where})")
    for text in found.notes:
        note(text)
