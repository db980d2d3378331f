"""`riverloop models`: which models of a task answer, and the commands that change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from agents.cli.asking import commands_of
from agents.cli.cluster import cluster_options
from agents.cli.common import json_option, print_json, table
from agents.cli.model_commands import (
    freeze,
    keep,
    promote,
    restore,
    resume,
    retire,
    rollback,
    share,
)
from agents.cli.papers import card, diff
from agents.cli.rollout import rollout
from agents.cli.rollout_commands import abort, approve, pause, propose, reject
from infra.taskfile import LoadedTask, load_task
from schemas.errors import UsageError
from schemas.records import Command, Control
from streams.roles import Roles
from streams.rollout_status import logged_line, rollout_status
from streams.shares import SHARE, UNIT


@click.group()
def models() -> None:
    """Show which models answer, and change it: each command is an entry of the log. Print their cards."""


for each in (
    *(promote, share, freeze, resume, rollback, retire, restore, keep, card, diff),
    *(propose, approve, reject, abort, pause, rollout),
):
    models.add_command(each)


@models.command("list", epilog="Example: riverloop models list task.py")
@click.argument("task")
@click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")
@cluster_options
@json_option
def list_(
    task: str, group: str | None, bootstrap: str | None, properties: tuple[str, ...], as_json: bool
) -> None:
    """List the models of TASK: which answer with which share, learn, are frozen or retired."""
    loaded = load_task(task)
    roles, audits, offsets = commands_of(loaded, group, bootstrap, properties).history()
    rows = [_row(name, roles, audits, offsets, loaded) for name in _names(loaded, roles)]
    if as_json:
        print_json({"task": loaded.task.name, "models": rows})
        return
    columns = ["model", "role", "share", "state", "revision", "last command", "by", "reason", "at"]
    table(f"models of {loaded.task.name}", columns, [[row[each] for each in columns] for row in rows])


@models.command(epilog="Example: riverloop models show task.py tree")
@click.argument("task")
@click.argument("model")
@click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]")
@cluster_options
@json_option
def show(
    task: str,
    model: str,
    group: str | None,
    bootstrap: str | None,
    properties: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show MODEL of TASK, and every command about it, rejected ones as well."""
    loaded = load_task(task)
    roles, audits, offsets = commands_of(loaded, group, bootstrap, properties).history()
    if model not in _names(loaded, roles):
        raise UsageError(f"task {loaded.task.name} has no model {model!r:.80}")
    row = _row(model, roles, audits, offsets, loaded)
    commands = [_audit(each, offsets) for each in audits if _concerns(each.command, model)]
    line = roles.rollout.lines.get(model)
    if line is not None:
        row["gate"] = logged_line(line)
    row["waits for"] = next(
        (each["waits for"] for each in rollout_status(roles)["models"] if each["model"] == model), ""
    )
    if as_json:
        print_json(row | {"task": loaded.task.name, "commands": commands})
        return
    table(f"{loaded.task.name}: {model}", ["field", "value"], [[key, value] for key, value in row.items()])
    columns = ["log offset", "command", "result", "by", "reason", "at"]
    table("commands", columns, [[each[name] for name in columns] for each in commands])


def _names(loaded: LoadedTask, roles: Roles) -> list[str]:
    return [*dict.fromkeys([*roles.models, *(each.name for each in loaded.task.models)])]


def _concerns(command: Command, model: str) -> bool:
    return command.model == model or f"{SHARE}{model}" in command.arguments


def _row(
    model: str, roles: Roles, audits: Sequence[Control], offsets: Mapping[str, int], loaded: LoadedTask
) -> dict[str, Any]:
    role = roles.role(model)
    done = [each for each in audits if each.entry_id and _concerns(each.command, model)]
    revisions = [each.command.arguments["revision"] for each in done if "revision" in each.command.arguments]
    state = "frozen" if role.frozen_at >= 0 else "retired" if role.retired_at >= 0 else "learns"
    last = done[-1] if done else None
    return {
        "model": model,
        "role": role.role if model in roles.models else "not in the log",
        "share": role.share / UNIT,
        "state": state,
        "in_file": model in {each.name for each in loaded.task.models},
        "revision": int(revisions[-1]) if revisions else None,
        "last command": last.command.name if last else "",
        "by": (last.command.author or "riverloop") if last else "",
        "reason": last.command.reason if last else "",
        "at": _when(last.ts) if last else "",
        "log offset": offsets.get(last.entry_id) if last else None,
    }


def _audit(audit: Control, offsets: Mapping[str, int]) -> dict[str, Any]:
    command = audit.command
    return {
        "log offset": offsets.get(audit.entry_id),
        "command": command.name,
        "result": f"rejected: {audit.rejected}" if audit.rejected else "done",
        "by": command.author or "riverloop",
        "reason": command.reason,
        "at": _when(audit.ts),
        "asked": _when(command.asked) if command.asked else "",
        "id": command.id,
        "authentication": command.authentication,
        "evidence": command.evidence,
        "entry_id": audit.entry_id,
    }


def _when(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
