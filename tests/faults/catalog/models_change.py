"""Models change while the loop runs: commands whose owner dies, and rolling updates."""

from __future__ import annotations

import asyncio
import time
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
    owner = context.owner()
    context.kill(owner)
    context.restart(owner, crash_point=context.random.choice(DECISION_POINTS))
    _promote(context, "shadow")
    _restarted(context, owner)
    context.wait_for_entries(100)
    _promote(context, "lr")


def _promote(context: FaultContext, model: str) -> None:
    """Ask for a promotion, and wait until it is active in every live worker."""
    commands = Commands(context.connection, context.codec, context.group)
    command = Command("promote", model, author="harness", reason="a fault", id=new_id(), asked=_now_ms())

    async def ask() -> str:
        at = await commands.ask(command)
        progress = await commands.follow(command, at.offset, TIMEOUT_S, everywhere=True)
        return "" if progress.everywhere and progress.state == "done" else str(progress.data())

    if problem := asyncio.run(ask()):
        context.failures.append(f"{model} was not promoted within {TIMEOUT_S:.0f} s: {problem}")


def rolling_update(context: FaultContext) -> None:
    """Replace each worker by one with a changed task file, and back; an owner dies as it opens the revision."""
    before = context.running()
    owner = context.owner()
    context.kill(owner)
    context.restart(owner, crash_point=context.random.choice(REVISION_POINTS))
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


def _restarted(context: FaultContext, doomed: HarnessWorker) -> None:
    until = time.monotonic() + TIMEOUT_S
    while doomed.running and time.monotonic() < until:
        time.sleep(0.05)
    if doomed.running:
        raise BrokerError(f"worker {doomed.number} has not died in the decision")
    context.restart(doomed)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


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
