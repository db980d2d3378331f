"""A worker dies at a point of `infra.hooks.POINTS`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from infra.hooks import ASIDE_POINTS, COMMAND_POINTS, MAP_POINT, POINTS
from tests.faults.context import FaultContext
from tests.faults.fault import Fault
from tests.faults.worker import HarnessWorker

TIMEOUT_S: Final = 60.0
"""A crash point that the worker does not reach within this time is abandoned: the worker has no such work."""
OWNERS: Final = ("between-publish-and-commit", "in-snapshot")
"""Points that only the log's owner reaches."""
SNAPSHOT_EVERY: Final = 300
"""Entries between two snapshots where a worker is to die in one."""
REBALANCE: Final = ("in-revoke", "in-restore")
"""Points that are reached in a rebalance only."""


def crash(point: str) -> Callable[[FaultContext], None]:
    """Return a fault that kills a worker at a point; at the owner's points, the worker that will be the owner."""

    def inject(context: FaultContext) -> None:
        doomed = context.owner() if point in OWNERS else context.pick()
        count = 1 if point in (*OWNERS, *REBALANCE) else context.random.randrange(1, 30)
        context.stop(doomed)
        settings = {"snapshot_every": str(SNAPSHOT_EVERY)} if point == "in-snapshot" else {}
        context.start(doomed, crash_point=f"{point}:{count}", **settings)
        if point == "in-revoke":
            context.wait_ready(doomed)
            newcomer = context.make(1 + max(each.number for each in context.workers))
            context.workers.append(newcomer)
            context.start(newcomer)
            _wait_dead(context, doomed)
            context.wait_ready(newcomer)
            context.remove(newcomer)
        else:
            _wait_dead(context, doomed)
        # Restarts without the fault, also where it did not die of it.
        context.kill(doomed)
        context.restart(doomed)

    return inject


def _wait_dead(context: FaultContext, doomed: HarnessWorker) -> None:
    until = time.monotonic() + TIMEOUT_S
    while doomed.running:
        if time.monotonic() > until or not context.sender.keep_sending():
            context.echo("the crash point was not reached; the worker is killed")
            return
        time.sleep(0.05)
    context.note_death(doomed)


FAULTS: Final = tuple(
    Fault(f"crash-{point}", f"A worker kills itself (SIGKILL) at the point {point}.", crash(point))
    for point in POINTS
    if point
    not in (*COMMAND_POINTS, *ASIDE_POINTS, MAP_POINT)  # the workload has no command and no foreign topic
)
