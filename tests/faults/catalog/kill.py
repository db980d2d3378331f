"""A worker is killed at a random time."""

from __future__ import annotations

from typing import Final

from tests.faults.context import FaultContext
from tests.faults.fault import Fault


def kill(context: FaultContext) -> None:
    """Kill a random worker at a random time, and start it again."""
    context.wait_for_entries(context.random.randrange(1, 500))
    worker = context.pick()
    context.kill(worker)
    context.restart(worker)


FAULTS: Final = (Fault("kill", "A worker is killed (SIGKILL) and started again.", kill),)
