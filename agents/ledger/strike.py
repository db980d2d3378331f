"""How a fault is written: a function on the field, with its name and the sentence that the page prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agents.ledger.field import Field


@dataclass(slots=True)
class Strike:
    """A fault that a function makes happen; see `agents.ledger.field.Fault`."""

    name: str
    """Lower-case letters, digits, hyphens."""
    describe: str
    """One sentence: what happens, and what must hold afterwards."""
    act: Callable[[Field], None]
    """Lets it happen, and returns once it is healed."""
    needs_broker: bool = False
    """Whether it acts on a broker that must be ours."""
    needs_models: bool = False
    """Whether it needs the models of the ledger's own task, which fail on demand."""

    def strike(self, field: Field) -> None:
        """Let it happen, and return once it is over and healed."""
        self.act(field)
