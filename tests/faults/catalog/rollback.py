"""Models go back while the loop runs: one is rebuilt, a version of another is frozen, and workers die meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from infra.hooks import ASIDE_POINTS, COMMAND_POINTS
from infra.kafka.log import read_all
from schemas.records import Command
from streams.leave_out import LeaveOut
from streams.revisions import LEFT_OUT
from streams.rollback import MODE
from tests.faults.catalog.models_change import change, wait_dead
from tests.faults.check.facts import FAULT_PREFIX
from tests.faults.context import TIMEOUT_S, FaultContext
from tests.faults.fault import Fault

REBUILD_POINTS: Final = (*COMMAND_POINTS, *ASIDE_POINTS)
"""A rebuild ends with a revision."""
FREEZE_POINTS: Final = (*COMMAND_POINTS[:3], *ASIDE_POINTS)
INTERVAL: Final = 100
"""Log offsets that a rebuild leaves out."""
FOLDED_PER_S: Final = 2_000
"""Log offsets that a process beside the loop folds in a second, at least."""


def rollback_under_kill(context: FaultContext) -> None:
    """Rebuild the shadow, freeze the served model at an older version, and resume it; three workers die in each."""
    _roll_back(context, "shadow", _rebuild(context), context.random.choice(REBUILD_POINTS))
    context.wait_for_entries(100)
    version = _version(context, "lr")
    context.wait_for_entries(100)
    point = context.random.choice(FREEZE_POINTS)
    if point not in ASIDE_POINTS:
        point = f"{point}:{context.random.choice((1, 2))}"  # the decision that begins it, or that finishes it
    _roll_back(context, "lr", {MODE: "freeze", "version": version}, point)
    context.wait_for_entries(100)
    _killed(context)
    context.wait_for_entries(100)
    change(context, Command("resume", "lr", {MODE: "catch-up"}))


def _roll_back(context: FaultContext, model: str, arguments: dict[str, str], point: str) -> None:
    """Ask for a rollback; the log's owner dies at a point of it, and then one of the others."""
    timeout_s = TIMEOUT_S + context.log_end() / FOLDED_PER_S
    owner = context.doom_owner(point)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(change, context, Command("rollback", model, arguments), timeout_s)
        wait_dead(owner, timeout_s)
        _killed(context)
        context.restart(owner)
        done.result()


def _killed(context: FaultContext) -> None:
    """Kill a worker, if one lives, and start it again."""
    if context.running():
        victim = context.pick()
        context.kill(victim)
        context.restart(victim)


def _version(context: FaultContext, model: str) -> str:
    """Return the version with which a model scores now."""
    worker = context.pick()
    states = worker.get(f"/tasks/{worker.task}/digests")["models"]
    return next(str(each["version"]) for each in states if each["model"] == model)


def _rebuild(context: FaultContext) -> dict[str, str]:
    """Return the arguments of a rebuild that leaves out some of the newest entries.

    None of them is of a fault's request: the check expects that each model has skipped those on which it fails.
    """
    best, current = list[int](), list[int]()
    end = context.log_end()
    for message in read_all(context.connection, context.topics.log, 0, max(0, end - 20 * INTERVAL), end):
        prediction = context.codec.decode_entry(message.value()).prediction
        planned = prediction is None or not prediction.request_id.startswith(FAULT_PREFIX)
        current = [*current[1 - INTERVAL :], message.offset() or 0] if planned else []
        best = max(best, current, key=len)
    left_out = LeaveOut.parse([f"{best[0]}..{best[-1]}"])
    return {MODE: "rebuild", LEFT_OUT: left_out.text}


FAULTS: Final = (
    Fault(
        "rollback-under-kill",
        "A model is rebuilt without an interval of the log, and another is frozen at an older version and resumed, "
        "while the log's owner and other workers die; each prediction follows from the log.",
        rollback_under_kill,
        needs_models=True,
    ),
)
