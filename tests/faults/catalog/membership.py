"""Workers join, leave and restart gracefully."""

from __future__ import annotations

from typing import Final

from tests.faults.context import FaultContext
from tests.faults.fault import Fault


def add_and_remove(context: FaultContext) -> None:
    """Add a worker, and remove a random one."""
    context.add()
    context.wait_for_entries(300)
    context.remove(context.pick())


def stop_and_start(context: FaultContext) -> None:
    """Stop a worker gracefully, and start it again."""
    worker = context.pick()
    context.stop(worker)
    context.wait_for_entries(100)
    context.restart(worker)


FAULTS: Final = (
    Fault("add-remove", "A worker joins, another leaves.", add_and_remove),
    Fault("stop-start", "A worker is stopped gracefully and started again.", stop_and_start),
)
