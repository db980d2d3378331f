"""Models change while the loop runs: commands whose owner dies, and rolling updates."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final

from infra.commands import Commands, new_id
from infra.hooks import COMMAND_POINTS
from schemas.errors import BrokerError
from schemas.records import Command
from tests.faults.context import TIMEOUT_S, FaultContext
from tests.faults.fault import Fault
from tests.faults.worker import HarnessWorker

DECISION_POINTS: Final = COMMAND_POINTS[:3]
REVISION_POINTS: Final = COMMAND_POINTS[3:]


def promote_under_kill(context: FaultContext) -> None:
    """Promote the shadow and then the served model again; the owner dies in the first decision."""
    owner = context.doom_owner(context.random.choice(DECISION_POINTS))
    change(context, Command("promote", "shadow"))
    wait_dead(owner)
    context.restart(owner)
    context.wait_for_entries(100)
    change(context, Command("promote", "lr"))


def change(context: FaultContext, command: Command, timeout_s: float = TIMEOUT_S) -> None:
    """Ask for a command, and wait until every live worker has applied it; for a rollback, until it is finished."""
    commands = Commands(context.connection, context.codec, context.group)
    asked = time.time_ns() // 1_000_000
    command = replace(command, author="harness", reason="a fault", id=new_id(), asked=asked)
    ids = (command.id, f"{command.id}-done") if command.name == "rollback" else (command.id,)

    async def ask() -> str:
        at = await commands.ask(command)
        for each in ids:
            followed, last = replace(command, id=each), each == ids[-1]
            progress = await commands.follow(followed, at.offset, timeout_s, everywhere=last)
            if progress.state != "done" or (last and not progress.everywhere):
                return f"{each}: {progress.data()}"
        return ""

    if problem := asyncio.run(ask()):
        what = f"{command.name} of {command.model}"
        context.failures.append(f"{what} was not done within {timeout_s:.0f} s: {problem}")


def rolling_update(context: FaultContext) -> None:
    """Replace each worker by one with a changed task file, and back; an owner dies as it opens the revision."""
    before = context.running()
    context.doom_owner(context.random.choice(REVISION_POINTS))
    after = [context.add_changed() for _ in before]
    for worker in before:
        if worker.running:
            context.stop(worker)
    context.wait_for_entries(100)
    victim = context.random.choice(after)
    context.kill(victim)
    context.restart(victim)
    context.wait_for_entries(100)
    for worker in before:
        context.restart(worker)
    for worker in after:
        context.remove(worker)


def wait_dead(doomed: HarnessWorker, timeout_s: float = TIMEOUT_S) -> None:
    """Wait until a worker has died at its crash point.

    Raises
    ------
    BrokerError
        When it lives on.
    """
    until = time.monotonic() + timeout_s
    while doomed.running:
        if time.monotonic() > until:
            raise BrokerError(f"worker {doomed.number} has not died at its crash point")
        time.sleep(0.05)


FAULTS: Final = (
    Fault(
        "promote-under-kill",
        "A model is promoted while the log's owner dies in the decision; each prediction follows from the log.",
        promote_under_kill,
        needs_models=True,
    ),
    Fault(
        "rolling-update",
        "All workers are replaced by ones with a changed task file, and back; two die meanwhile.",
        rolling_update,
        needs_models=True,
    ),
)
