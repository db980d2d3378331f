"""A fault: a name, a sentence, and a function that injects it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.context import FaultContext


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong, and is repaired again."""

    name: str
    """As in `--faults` and on the page: lower-case letters, digits, hyphens."""
    description: str
    """One sentence for the page: what happens, and what must hold afterwards."""
    inject: Callable[[FaultContext], None]
    """Injects the fault. Returns once it is over and all workers of the context are ready again."""
    needs_broker: bool = False
    """Whether it acts on the process of an embedded broker."""
    needs_models: bool = False
    """Whether it needs the models of the harness's own task, which fail on demand."""
