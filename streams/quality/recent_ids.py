"""The ids of the newest requests of a partition."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

REMEMBERED: Final = 5_000
"""Ids a partition: one repeated within this many requests is noticed; it may be up to twice as many."""


@dataclass(slots=True)
class RecentIds:
    """Remembers the ids of a partition's last requests, `REMEMBERED` at least.

    Attributes
    ----------
    new
        Of the batch at work.
    later, earlier
        Of committed batches. Once the later ones are enough, the earlier ones are forgotten.

    Examples
    --------
    >>> ids = RecentIds()
    >>> ids.add("a"), ids.add("a")
    (False, True)
    >>> ids.drop()
    >>> ids.add("a")
    False
    """

    new: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)
    earlier: set[str] = field(default_factory=set)

    @property
    def sets(self) -> tuple[set[str], set[str], set[str]]:
        """All three, the new ones first."""
        return self.new, self.later, self.earlier

    def add(self, name: str) -> bool:
        """Add an id to the new ones; gives whether it is remembered."""
        known = name in self.new or name in self.later or name in self.earlier
        self.new.add(name)
        return known

    def commit(self) -> None:
        """Remember the new ids."""
        self.later |= self.new
        self.new = set()
        if len(self.later) >= REMEMBERED:
            self.earlier, self.later = self.later, set()

    def drop(self) -> None:
        """Forget the new ids."""
        if self.new:
            self.new = set()
