"""How a command of `riverloop models` is asked for, shown beforehand, and followed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from agents.cli.cluster import cluster_options, codec_of, connect
from agents.cli.common import json_option, print_json, store_of, table, user_name
from agents.settings import Settings
from infra.clock import now_ms
from infra.commands import Commands, Progress, new_id
from infra.kafka.watching import extents
from infra.rollback_cost import cost
from infra.runtime import runtime_fingerprint
from infra.taskfile import LoadedTask, load_task
from schemas.errors import CommandRejected, UsageError
from schemas.records import Command
from schemas.topics import TaskTopics
from streams.commands import decide_all
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.roles import ModelRole, Roles
from streams.rollout_checks import Situation
from streams.shares import SHARE, UNIT
from streams.task import Task
from streams.task_model import Model
from streams.version import Version

DECIDED_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What all commands are given."""

    task: str
    reason: str
    author: str | None
    command_id: str | None
    evidence: str
    dry_run: bool
    wait: bool
    timeout: float
    group: str | None
    bootstrap: str | None
    properties: tuple[str, ...]
    as_json: bool


def command_options(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options of every command; the function gets them as one `Asked`, and its own parameters."""

    def call(**given: Any) -> None:
        asked = Asked(**{name: given.pop(name) for name in Asked.__slots__})
        function(asked, **given)

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    for option in reversed(
        (
            click.option("--reason", required=True, help="Why, for the audit."),
            click.option("--author", help="Author for the audit; default: your user name."),
            click.option("--id", "command_id", help="Id of the command; a repeated id is done once."),
            click.option("--evidence", default="", help="What the command is based on, for the audit."),
            click.option("--dry-run", is_flag=True, help="Show what would change; change nothing."),
            click.option("--wait", is_flag=True, help="Wait until every live worker has applied it."),
            click.option(
                "--timeout",
                type=click.FloatRange(1, 3600),
                default=DECIDED_S,
                show_default=True,
                help="Seconds to wait.",
            ),
            click.option("--group", help="The workers' consumer group. [RIVERLOOP_GROUP]"),
            cluster_options,
            json_option,
        )
    ):
        call = option(call)
    return call


def ask_for(asked: Asked, name: Any, model: str, arguments: Mapping[str, str] | None = None) -> None:
    """Ask for a command, and show what becomes of it."""
    loaded, arguments = load_task(asked.task), arguments or {}
    known = [each.name for each in loaded.task.models]
    named = [each.removeprefix(SHARE) for each in arguments if each.startswith(SHARE)]
    for each in [model] if model else named:
        if each not in known:
            raise UsageError(f"task {loaded.task.name} has no model {each!r:.80}; it has {', '.join(known)}")
    command = Command(
        name,
        model,
        arguments,
        asked.author or user_name(),
        asked.reason,
        asked.command_id or new_id(),
        "stated" if asked.author else "os_user",
        now_ms(),
        asked.evidence,
    )
    commands = commands_of(loaded, asked.group, asked.bootstrap, asked.properties)
    if asked.dry_run:
        _show_plan(loaded, commands, command, asked.as_json)
        return
    progress = asyncio.run(_ask(commands, command, asked))
    finishing = progress.command is not None and "number" in progress.command.arguments
    if asked.wait and finishing and progress.everywhere:
        progress = asyncio.run(_finished(commands, command, asked))
    found = {"id": command.id, "command": name, "model": model} | progress.data()
    if asked.as_json:
        print_json(found)
    else:
        click.echo(_sentence(command, progress, asked))
    if not (progress.everywhere if asked.wait else progress.state == "done") or progress.state == "rejected":
        raise click.exceptions.Exit(1)


async def _ask(commands: Commands, command: Command, asked: Asked) -> Progress:
    at = await commands.ask(command)
    # The audit of a repeated id lies before this request.
    start = 0 if asked.command_id else at.offset
    return await commands.follow(command, start, asked.timeout, everywhere=asked.wait)


async def _finished(commands: Commands, command: Command, asked: Asked) -> Progress:
    """Wait for the command that finishes a rollback, or for the one that ends it."""
    done = replace(command, id=f"{command.id}-done")
    following = asyncio.create_task(commands.follow(done, 0, asked.timeout, everywhere=True))
    ended = replace(command, id=f"{command.id}-abandon")
    ending = asyncio.create_task(commands.follow(ended, 0, asked.timeout))
    await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
    if ending.done() and ending.result().state == "done" and not following.done():
        following.cancel()
        found = ending.result()
        why = "" if found.command is None else found.command.reason
        return Progress("rejected", f"it was ended: {why}")
    progress = await following
    ending.cancel()
    return progress


def _sentence(command: Command, progress: Progress, asked: Asked) -> str:
    what = f"{command.name} {command.model}".strip()
    if progress.state == "rejected":
        return f"{what} is rejected: {progress.why}"
    if progress.state == "asked":
        return (
            f"{what} is asked for under the id {command.id}; no worker has decided it within {asked.timeout:g} s. "
            "It stays on the control topic: a worker that owns the task's log does it"
        )
    at = "" if progress.log_offset is None else f" at log offset {progress.log_offset}"
    if not asked.wait:
        return f"{what} is done{at}, id {command.id}"
    if progress.everywhere:
        return f"{what} is active in every live worker{at}, id {command.id}"
    return (
        f"{what} is done{at}, id {command.id}; not applied yet by: {', '.join(progress.waiting) or 'unknown'}"
    )


def _show_plan(loaded: LoadedTask, commands: Commands, command: Command, as_json: bool) -> None:
    """Show the roles before and after a command."""
    before, _, _ = commands.history()
    runtime, next_offset = "", 0
    if command.name == "rollback":
        runtime = runtime_fingerprint()[0]
        place = (TaskTopics(loaded.task.name).log, 0)
        next_offset = extents(commands.connection, [place])[place].end
    folds = {
        each.name: _standing(loaded.task, each, before, runtime, next_offset) for each in loaded.task.models
    }
    try:
        commands_done = decide_all(command, before, folds, at=Situation(now_ms(), knows_gate=False))
    except CommandRejected as error:
        raise UsageError(f"the command would be rejected: {error}") from None
    decided, after = commands_done[0], before
    for each in commands_done:
        after = after.after(each)
    plan = [
        {"model": name, "before": _words(before.role(name)), "after": _words(after.role(name))}
        for name in after.models
    ]
    found = dict[str, Any]()
    if command.name == "rollback":
        found = cost(decided, folds[command.model], commands.connection, commands.codec, store_of())
        found["answers_now"] = ", ".join(_newest(before, each) for each in before.answering)
    if as_json:
        print_json({"dry_run": True, "command": command.name, "models": plan} | found)
        return
    if found:
        click.echo(
            f"{found['version']} would answer in place of {command.model}; now {found['answers_now']} answers. "
            f"At most {found['entries']:,} log offsets are folded beside the loop, about {found['seconds']:.0f} s"
        )
    columns = ["model", "before", "after"]
    table(f"{loaded.task.name}: {command.name}, dry run", columns, [[*each.values()] for each in plan])


def _standing(task: Task, model: Model, roles: Roles, runtime: str, next_offset: int) -> ModelFold:
    """Return a fold that stands where the log's owner is, with nothing learned.

    Its version has the last offset of the log: which entry the model has learned last is not read for a dry run.
    """
    left_out = LeaveOut.read(roles.revisions.left_out(model.name, task.spec(model)))
    known = roles.revisions.of(model.name)
    fold = ModelFold(task, model, runtime, equals={each.runtime for each in known}, leave_out=left_out)
    number = known[-1].number if known else 1
    state = replace(fold.snapshot(), version=f"{Version(model.name, number, next_offset - 1)}")
    fold.restore(replace(state, next_offset=next_offset, roles=roles.snapshot()))
    return fold


def _newest(roles: Roles, model: str) -> str:
    opened = roles.revisions.of(model)
    return f"{model}.{opened[-1].number}" if opened else model


def _words(role: ModelRole) -> str:
    share = f"{role.role} {role.share / UNIT:g}" if role.share else role.role
    return f"{share}, frozen" if role.frozen_at >= 0 else share


def commands_of(
    loaded: LoadedTask, group: str | None, bootstrap: str | None, properties: tuple[str, ...]
) -> Commands:
    """Return the commands of a task."""
    connection = connect(bootstrap, properties)
    return Commands(connection, codec_of(loaded), Settings.load({"group": group}).group)
