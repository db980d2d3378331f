"""The findings of a check: lost, doubled and wrong, each with its first examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

EXAMPLES: Final = 5
"""The number of examples kept of each; the others are counted."""


@dataclass(slots=True)
class Tally:
    """A number of findings of one kind, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    by_number: Counter[int] = field(default_factory=Counter)
    """By the number of the request concerned, where there is one."""

    def add(self, example: str, count: int = 1, number: int | None = None) -> None:
        """Add a finding, or several with one cause."""
        self.count += count
        if number is not None:
            self.by_number[number] += count
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


@dataclass(slots=True)
class Findings:
    """Everything that differs from the plans."""

    lost: Tally = field(default_factory=Tally)
    """Expected, and missing."""
    doubled: Tally = field(default_factory=Tally)
    """Present more often than expected."""
    wrong: Tally = field(default_factory=Tally)
    """Present, but with another value, in another order, or with another count."""

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not (self.lost.count or self.doubled.count or self.wrong.count)

    def as_data(self) -> dict[str, Any]:
        """Convert to plain data."""
        tallies = {"lost": self.lost, "doubled": self.doubled, "wrong": self.wrong}
        return {name: tally.count for name, tally in tallies.items()} | {
            "examples": {name: list(tally.examples) for name, tally in tallies.items() if tally.examples}
        }
