"""The commands of `riverloop models` about rollouts: each is asked for on `T.control`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from agents.cli.asking import Asked, ask_for, command_options, commands_of
from infra.taskfile import load_task
from schemas.errors import UsageError
from streams.rollout import DIGEST, PROPOSAL
from streams.rollout_checks import TTL
from streams.shares import SHARE


def shares_given(shares: Sequence[str]) -> dict[str, str]:
    """Return the arguments of shares that are written as `MODEL=SHARE`.

    Raises
    ------
    UsageError
        One cannot be read.
    """
    arguments: dict[str, str] = {}
    for each in shares:
        name, equals, number = each.partition("=")
        if not equals or f"{SHARE}{name}" in arguments:
            raise UsageError(f"{each!r:.80}: give each model once, as MODEL=SHARE, for example tree=0.1")
        arguments[f"{SHARE}{name}"] = number
    return arguments


@click.command(epilog="Example: riverloop models propose task.py tree --reason 'better since May'")
@click.argument("task")
@click.argument("model")
@click.argument("shares", nargs=-1, metavar="[MODEL=SHARE...]")
@click.option(
    "--valid-hours", type=click.FloatRange(0.01, 2160), help="Time in which it can be approved. [168]"
)
@command_options
def propose(asked: Asked, model: str, shares: Sequence[str], valid_hours: float | None) -> None:
    """Propose that MODEL of TASK answers all requests, or the shares given; another person approves it.

    A change of the models' revisions or of the evidence drops the proposal.
    """
    arguments = shares_given(shares)
    if valid_hours is not None:
        arguments[TTL] = str(round(valid_hours * 3_600_000))
    ask_for(asked, "propose", model, arguments)


@click.command(epilog="Example: riverloop models approve task.py 3f1c --reason 'read the evidence'")
@click.argument("task")
@click.argument("proposal")
@click.option("--digest", help="Digest of the proposal that you approve; default: the current one.")
@command_options
def approve(asked: Asked, proposal: str, digest: str | None) -> None:
    """Approve PROPOSAL of TASK; its change takes effect in the same transaction."""
    found = digest or _digest(asked, proposal)
    ask_for(asked, "approve", "", {PROPOSAL: proposal, DIGEST: found})


@click.command(epilog="Example: riverloop models reject task.py 3f1c --reason 'too early for this season'")
@click.argument("task")
@click.argument("proposal")
@command_options
def reject(asked: Asked, proposal: str) -> None:
    """Reject PROPOSAL of TASK. If the gate proposed it, the challenger's test ends and it loses its share."""
    ask_for(asked, "reject", "", {PROPOSAL: proposal})


@click.command(epilog="Example: riverloop models abort task.py tree --reason 'complaints from support'")
@click.argument("task")
@click.argument("model")
@command_options
def abort(asked: Asked, model: str) -> None:
    """End the rollout and the test of MODEL of TASK; the model before answers its requests again."""
    ask_for(asked, "abort", model)


@click.command(epilog="Example: riverloop models pause task.py --reason 'release freeze until Monday'")
@click.argument("task")
@click.argument("model", required=False, default="")
@click.option("--end", is_flag=True, help="End the pause.")
@command_options
def pause(asked: Asked, model: str, end: bool) -> None:
    """Block higher shares of MODEL of TASK, or of all models, and drop pending proposals; rollbacks still work."""
    ask_for(asked, "pause", model, {"end": "true"} if end else {})


def _digest(asked: Asked, proposal: str) -> str:
    loaded = load_task(asked.task)
    roles, _, _ = commands_of(loaded, asked.group, asked.bootstrap, asked.properties).history()
    found = roles.rollout.proposals.get(proposal)
    return "" if found is None else found.digest
