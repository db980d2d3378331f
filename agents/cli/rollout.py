"""`riverloop models rollout status`: how far the rollouts of a task are, with exit codes for CI."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from agents.cli.asking import commands_of
from agents.cli.cluster import cluster_options
from agents.cli.common import json_option, print_json, table
from infra.taskfile import load_task
from schemas.errors import UsageError
from streams.rollout_status import CODES, ENDS, rollout_status

POLL_S: Final = 1.0
"""Between two reads of the control topic."""


@click.group()
def rollout() -> None:
    """Follow rollouts: the gate's verdicts, proposals, steps, pauses."""


@rollout.command(
    epilog="Example: riverloop models rollout status task.py tree --watch --timeout 3600\n\n"
    "Exit codes with MODEL: 0 it answers all requests, 3 under way, 4 waits for an approval, 5 paused or blocked, "
    "6 ended without a promotion."
)
@click.argument("task")
@click.argument("model", required=False, default="")
@click.option(
    "--watch", is_flag=True, help="Wait until MODEL is promoted, its rollout ends or needs an approval."
)
@click.option("--past-approval", is_flag=True, help="With --watch: go on while an approval is pending.")
@click.option(
    "--timeout", type=click.FloatRange(1, 604_800), default=600.0, show_default=True, help="Seconds."
)
@click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")
@cluster_options
@json_option
def status(
    task: str,
    model: str,
    watch: bool,
    past_approval: bool,
    timeout: float,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show the rollouts of TASK, or of MODEL alone."""
    loaded = load_task(task)
    if watch and not model:
        raise UsageError("--watch needs a MODEL")
    if model and model not in {each.name for each in loaded.task.models}:
        raise UsageError(f"task {loaded.task.name} has no model {model!r:.80}")
    commands, until = commands_of(loaded, group, bootstrap, properties), time.monotonic() + timeout
    ends = ENDS - ({"waits for approval"} if past_approval else set())
    while True:
        found = rollout_status(commands.history()[0])
        mine = next((each for each in found["models"] if each["model"] == model), None)
        state = "under way" if mine is None else mine["state"]
        if not watch or state in ends or time.monotonic() >= until:
            break
        time.sleep(POLL_S)
    if model:
        found["models"] = [mine] if mine else []
    if as_json:
        print_json(found)
    else:
        _print(loaded.task.name, found)
    if model and (code := CODES[state]):
        raise click.exceptions.Exit(code)


def _print(task: str, found: dict[str, Any]) -> None:
    columns = ["model", "state", "share", "gate", "gain", "matured", "waits for"]
    table(f"rollouts of {task}", columns, [[each[name] for name in columns] for each in found["models"]])
    columns = ["id", "change", "by", "expires", "digest"]
    table("proposals", columns, [[each[name] for name in columns] for each in found["proposals"]])
    for each in found["paused"]:
        click.echo(f"paused       {each}")
