"""A worker's wall clock is wrong."""

from __future__ import annotations

from typing import Final

from tests.faults.context import FaultContext
from tests.faults.fault import Fault


def wrong_clock(context: FaultContext) -> None:
    """Let a worker's wall clock jump by a day, back and forth."""
    worker = context.pick()
    context.stop(worker)
    context.restart(worker, clock_jump=context.random.choice(("86400:2", "-86400:2")))
    context.wait_for_entries(500)
    context.stop(worker)
    context.restart(worker)


FAULTS: Final = (
    Fault("wrong-clock", "A worker's clock jumps by a day every 2 s, back and forth.", wrong_clock),
)
