"""The faults there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agents.ledger.field import Fault, Field


class Kill:
    """SIGKILL of one worker at a random time, then a restart."""

    name = "kill"
    needs_broker = False
    describe = "A random worker is killed (SIGKILL) at a random time and started again."

    def strike(self, field: Field) -> None:
        """See `Fault.strike`."""
        field.wait_progress(field.random.randrange(1, 500))
        worker = field.pick()
        field.say(f"kill {worker}")
        field.kill(worker)
        field.restart(worker)


FAULTS: Final[Mapping[str, Fault]] = {fault.name: fault for fault in (Kill(),)}
"""By name."""
