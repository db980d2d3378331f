"""The join of one partition, and how far it is on Kafka."""

from __future__ import annotations

import time

from schemas.records import Position
from schemas.state import JoinPosition
from schemas.topics import TaskTopics
from streams.join import Join


class JoinPartition:
    """The join of one partition on Kafka, with the next offsets of its two inputs."""

    def __init__(self, join: Join, topics: TaskTopics, position: JoinPosition | None) -> None:
        self.join = join
        self.predictions = position.predictions if position else 0
        self.outcomes = position.outcomes if position else 0
        self._topics = topics
        self._committed = (self.predictions, self.outcomes)
        self.quiet_since = time.monotonic()
        """When the last prediction was taken (s, monotonic)."""
        self.told_at = self.quiet_since
        """When the log was last told of this join's progress (s, monotonic)."""
        self.told = join.stream_time
        """Stream time then."""
        self.quiet_from = join.stream_time
        """Stream time then."""

    def commit(self) -> None:
        """Make the batch's changes the state: its transaction has committed."""
        self._committed = (self.predictions, self.outcomes)
        self.join.commit(self.join.position(self.predictions, self.outcomes))

    def rollback(self) -> None:
        """Drop the batch: its transaction is known not to have committed."""
        self.predictions, self.outcomes = self._committed
        self.join.rollback()
        self.quiet_since = self.told_at = time.monotonic()
        self.quiet_from = self.told = self.join.stream_time

    def has_taken(self, at: Position) -> bool:
        """Whether a record's effects are in the state already: the changelog, not the group, has the last word."""
        return at.offset < (self.predictions if at.topic == self._topics.predictions else self.outcomes)
