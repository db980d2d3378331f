"""The join of one partition, and how far it is on Kafka."""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf
from typing import Any

from schemas.state import JoinPosition
from schemas.topics import TaskTopics
from streams.join.join import Join


class JoinPartition:
    """The join of one partition on Kafka, with the next offsets of its two inputs.

    Parameters
    ----------
    position
        Where to go on; None when nothing was taken yet.
    ids
        Of the topics of predictions and outcomes that the offsets are of.
    """

    def __init__(
        self, join: Join, topics: TaskTopics, position: JoinPosition | None, ids: tuple[str, str] = ("", "")
    ) -> None:
        self.join = join
        self.restored = position is not None
        """Whether the state says where to go on."""
        self.predictions = position.predictions if position else 0
        self.outcomes = position.outcomes if position else 0
        self._topics, self._ids = topics, ids
        self._committed = (self.predictions, self.outcomes)
        self.quiet_since = time.monotonic()
        """When the last prediction was taken (s, monotonic)."""
        self.marks_at = -inf
        """When it was last noted that marks of transactions were passed (s, monotonic)."""
        self.reported_at = self.quiet_since
        """When this join's progress was last written to the log (s, monotonic)."""
        self.reported = join.stream_time
        """Stream time then."""
        self.quiet_from = join.stream_time
        """Stream time then."""

    def position(self) -> JoinPosition:
        """Return how far the join is, with the batch at work."""
        made = self.join.position(self.predictions, self.outcomes)
        return replace(made, predictions_id=self._ids[0], outcomes_id=self._ids[1])

    def commit(self) -> None:
        """Make the batch's changes the state: its transaction has committed."""
        self._committed = (self.predictions, self.outcomes)
        self.join.commit(self.position())

    def rollback(self) -> None:
        """Drop the batch: its transaction is known not to have committed."""
        self.predictions, self.outcomes = self._committed
        self.join.rollback()
        self.quiet_since = self.reported_at = time.monotonic()
        self.quiet_from = self.reported = self.join.stream_time

    def take(self, scanned: list[Any], start: int) -> int:
        """Take records that were scanned, from one of them on; gives how many."""
        join, before = self.join, self.predictions
        count, self.predictions, self.outcomes = join.take(scanned, start, before, self.outcomes)
        if self.predictions > before:
            self.quiet_since, self.quiet_from = time.monotonic(), join.stream_time
        return count

    def taken(self, topic: str, offset: int) -> None:
        """Take note that a record was taken; never back: one that is read again is in the state already."""
        if topic == self._topics.predictions:
            self.predictions = max(self.predictions, offset + 1)
        else:
            self.outcomes = max(self.outcomes, offset + 1)

    def has_taken(self, topic: str, offset: int) -> bool:
        """Whether a record's effects are in the state already: the changelog, not the group, has the last word."""
        return offset < (self.predictions if topic == self._topics.predictions else self.outcomes)
