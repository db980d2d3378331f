"""Transactions abort, and some are slow."""

from __future__ import annotations

from typing import Final

from tests.faults.context import FaultContext
from tests.faults.fault import Fault

SLOW: Final = ("turn:0.1", "owner:0.3")
"""Role and delay (s) of each transaction while others abort."""


def aborts(context: FaultContext) -> None:
    """Abort a tenth of all transactions, while those of one role are slow: the others overtake them."""
    slow = context.random.choice(SLOW)
    for worker in context.running():
        context.stop(worker)
        context.restart(worker, abort_rate="0.1", abort_seed=str(context.random.randrange(1000)), slow=slow)
    context.wait_for_entries(1500)
    for worker in context.running():
        context.stop(worker)
        context.restart(worker)


FAULTS: Final = (
    Fault("aborts", "A tenth of all transactions abort, and those of one role are slow.", aborts),
)
