"""What a check of a ledger has found: lost, doubled, wrong, each with its first examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

SHOWN: Final = 5
"""So many examples of each are kept; the others are counted."""


@dataclass(slots=True)
class Tally:
    """How often something was found, and where first."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    by_number: Counter[int] = field(default_factory=Counter)
    """By the number of the request that it is about, where there is one."""

    def add(self, example: str, count: int = 1, number: int | None = None) -> None:
        """Take one down, or several of one cause."""
        self.count += count
        if number is not None:
            self.by_number[number] += count
        if len(self.examples) < SHOWN:
            self.examples.append(example)


@dataclass(slots=True)
class Findings:
    """What does not hold."""

    lost: Tally = field(default_factory=Tally)
    """Due, and not there."""
    doubled: Tally = field(default_factory=Tally)
    """There more often than due."""
    wrong: Tally = field(default_factory=Tally)
    """There, but not as it must be: another value, another order, another count."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost.count or self.doubled.count or self.wrong.count)

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data."""
        tallies = {"lost": self.lost, "doubled": self.doubled, "wrong": self.wrong}
        return {name: tally.count for name, tally in tallies.items()} | {
            "examples": {name: list(tally.examples) for name, tally in tallies.items() if tally.examples}
        }
