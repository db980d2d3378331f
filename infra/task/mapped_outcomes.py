"""Outcomes from foreign topics: each change gives one of `T.outcomes`, a dead letter, or nothing."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Message

from infra.clock import now_ms
from infra.inbound import Inbound
from infra.kafka.partitioner import partition_of
from infra.kafka.transaction import OutRecord
from infra.task.context import TaskContext
from infra.task.foreign_topics import ForeignTopics
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.codec.json_form import parse
from schemas.event_time import TimeBounds
from streams.topology import OUTCOMES_FROM

MAPPED: Final = "riverloop.mapped-from"
"""Header of an outcome that was made of a change: where that lies."""


class MappedOutcomes(ForeignTopics):
    """Writes the outcomes that the changes on a task's foreign topics give."""

    role = OUTCOMES_FROM.name
    made, ignored = "outcomes_mapped", "changes_ignored"

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        turns: Turns,
        statistics: Statistics,
        times: TimeBounds,
        max_batch: int,
    ) -> None:
        self._mappings = {each.topic: each for each in context.task.outcomes_from}
        self._times = times
        super().__init__(context, readiness, turns, statistics, self._mappings, max_batch)

    def record(self, message: Message) -> OutRecord | None:
        """Return the outcome of a change."""
        task, codec, value = self._context.task, self._context.codec, message.value()
        mapping = self._mappings[message.topic() or ""]
        outcome = mapping.outcome(None if value is None else parse(value), task.kind)
        if outcome is None:
            return None
        self._times.check(outcome.ts, now_ms())
        key = outcome.request_id.encode()
        place = partition_of(key, self._context.partitions)
        at = Inbound(message, None, None).at
        return OutRecord(
            self._context.topics.outcomes, key, codec.encode(outcome), place, [(MAPPED, str(at).encode())]
        )
