"""A task's topics as the cluster has them, and as the task knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.positions import KnownTopics, TopicSeen


@dataclass(slots=True)
class CurrentTopics:
    """The topics of one task. `TopicWatch` keeps them up to date.

    Attributes
    ----------
    partitions
        Number of partitions of a topic that the cluster has not described.
    known
        The topics as the task's audits record them.
    seen
        The topics as the cluster described them last.
    stamps
        By topic: its id, which is written with offsets of it.
    names
        The names in positions of topics that are not the first of their names.
    """

    partitions: int
    known: KnownTopics = field(default_factory=KnownTopics)
    seen: dict[str, TopicSeen] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def count_of(self, topic: str) -> int:
        """Return the number of a topic's partitions."""
        return self.seen[topic].partitions if topic in self.seen else self.partitions
