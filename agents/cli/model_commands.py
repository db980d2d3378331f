"""The commands of `riverloop models` that change something: each is asked for on `T.control`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from agents.cli.asking import Asked, ask_for, command_options
from agents.cli.common import store_of
from agents.cli.rollout_commands import shares_given
from infra.taskfile import load_task
from schemas.errors import UsageError
from streams.leave_out import LeaveOut
from streams.revisions import LEFT_OUT
from streams.rollback import MODE, ROLLBACK_MODES
from streams.rollout import BREAK_GLASS

break_glass_option = click.option(
    "--break-glass",
    is_flag=True,
    help="Override a proposal, a pause or the gate; raises an alert.",
)


def broken(break_glass: bool) -> dict[str, str]:
    """Return the argument of a command that is done whatever stands against it."""
    return {BREAK_GLASS: "true"} if break_glass else {}


@click.command(epilog="Example: riverloop models promote task.py tree --reason 'better for a week' --wait")
@click.argument("task")
@click.argument("model")
@click.option("--propose", "proposed", is_flag=True, help="Only propose it: another person approves it.")
@break_glass_option
@command_options
def promote(asked: Asked, model: str, proposed: bool, break_glass: bool) -> None:
    """Let MODEL of TASK answer all requests; the one before becomes a shadow."""
    if proposed and break_glass:
        raise UsageError("--propose and --break-glass exclude each other")
    ask_for(asked, "propose" if proposed else "promote", model, broken(break_glass))


@click.command(epilog="Example: riverloop models share task.py lr=0.9 tree=0.1 --reason 'first step'")
@click.argument("task")
@click.argument("shares", nargs=-1, required=True, metavar="MODEL=SHARE...")
@break_glass_option
@command_options
def share(asked: Asked, shares: Sequence[str], break_glass: bool) -> None:
    """Let several models of TASK answer, each its share; the shares add up to 1.

    A request's entity, or without one its id, decides which model answers. Raising a share moves only new
    entities.
    """
    ask_for(asked, "share", "", shares_given(shares) | broken(break_glass))


@click.command(epilog="Example: riverloop models freeze task.py tree --reason 'odd outcomes since noon'")
@click.argument("task")
@click.argument("model")
@command_options
def freeze(asked: Asked, model: str) -> None:
    """Let MODEL of TASK score without learning, until it is resumed."""
    ask_for(asked, "freeze", model)


@click.command(
    epilog="Example: riverloop models resume task.py tree --catch-up --reason 'outcomes are right'"
)
@click.argument("task")
@click.argument("model")
@click.option(
    "--catch-up/--skip",
    "catch_up",
    required=True,
    default=None,
    help="With the entries that it missed, or without.",
)
@command_options
def resume(asked: Asked, model: str, catch_up: bool) -> None:
    """Let MODEL of TASK learn again."""
    ask_for(asked, "resume", model, {"mode": "catch-up" if catch_up else "skip"})


@click.command(epilog="Example: riverloop models retire task.py lr --reason 'replaced by tree'")
@click.argument("task")
@click.argument("model")
@command_options
def retire(asked: Asked, model: str) -> None:
    """Let MODEL of TASK neither score nor learn; its snapshots stay."""
    ask_for(asked, "retire", model)


@click.command(epilog="Example: riverloop models restore task.py lr --reason 'compare it again'")
@click.argument("task")
@click.argument("model")
@command_options
def restore(asked: Asked, model: str) -> None:
    """Let the retired MODEL of TASK score and learn again, as a shadow, without the entries that it missed."""
    ask_for(asked, "restore", model)


@click.command(
    epilog="Example: riverloop models rollback task.py lr --mode rebuild --leave-out 2016-03-01..2016-03-02 "
    "--where country=PRT --reason 'a feed was wrong' --wait"
)
@click.argument("task")
@click.argument("target", metavar="MODEL|VERSION")
@click.option(
    "--mode",
    required=True,
    type=click.Choice(ROLLBACK_MODES),
    help="freeze: VERSION answers and learns nothing. catch-up: another model or revision answers, with "
    "all of the log learned. rebuild: MODEL is learned anew without the left-out intervals. abandon: "
    "end the current rollback.",
)
@click.option(
    "--leave-out",
    multiple=True,
    metavar="FROM..TO",
    help="Log offsets or event times (ISO 8601, UTC) to leave out; also request:FROM..TO, "
    "arrival:FROM..TO. Repeatable.",
)
@click.option("--where", default="", metavar="FEATURE=LEVEL", help="Leave out only entries with this level.")
@command_options
def rollback(asked: Asked, target: str, mode: str, leave_out: tuple[str, ...], where: str) -> None:
    """Go back with MODEL of TASK, or to its VERSION such as lr.1@5000.

    The state is prepared beside the loop, then answers from one log offset on in every worker. --wait waits for
    that.
    """
    arguments = {MODE: mode}
    try:
        text = LeaveOut.parse(leave_out, where).text
    except ValueError as error:
        raise UsageError(f"{error}") from None
    model = target.partition(".")[0] if "@" in target else target
    arguments |= {LEFT_OUT: text} if text else {}
    arguments |= {"version": target} if "@" in target else {}
    ask_for(asked, "rollback", model, arguments)


@click.command(epilog="Example: riverloop snapshots keep task.py lr.1@9999 --reason 'before the new feed'")
@click.argument("task")
@click.argument("version")
@click.option("--release", is_flag=True, help="Let retention delete it again.")
@command_options
def keep(asked: Asked, version: str, release: bool) -> None:
    """Keep snapshot VERSION of TASK as an anchor: no retention deletes it."""
    if not release:
        store_of().check_has(load_task(asked.task).task.name, version)
    arguments = {"version": version} | ({"release": "true"} if release else {})
    ask_for(asked, "keep", version.partition(".")[0], arguments)
