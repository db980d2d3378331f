"""Outcomes that lie on another partition than their join's: they are forwarded, each in the join's transaction."""

from __future__ import annotations

import logging

from infra.inbound import FORWARDED, Inbound, original
from infra.kafka.partitioner import partition_of
from infra.kafka.transaction import Headers, OutRecord
from infra.task.context import TaskContext
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from schemas.cloudevents import PREFIX
from schemas.errors import BadRecord
from schemas.escaped import line
from schemas.records import Outcome
from streams.join.join import Join

log = logging.getLogger(__name__)


class Forwarding:
    """Says where outcomes of a task belong, and forwards them."""

    def __init__(self, context: TaskContext, current: CurrentTopics, statistics: Statistics) -> None:
        self._context, self._current, self._counts = context, current, statistics.counts

    def right_place(self, number: int, outcome: Outcome, item: Inbound, join: Join) -> int:
        """Return the partition on which an outcome belongs that lies on a partition with a join.

        Our own predictions lie where murmur2 puts their key. So an outcome whose prediction is known here is
        in place, and only for the others the hash is computed.
        """
        if self._context.partitions == 1 or join.knows(outcome.request_id):
            return number
        right = partition_of(outcome.request_id.encode(), self._context.partitions)
        return number if right != number and item.header(FORWARDED) else right

    def forward(self, outcome: Outcome, item: Inbound, right: int) -> OutRecord:
        """Forward an outcome to its partition."""
        if self._current.count_of(self._context.topics.outcomes) > self._context.partitions:
            self._counts["further"] += 1  # by its key it lies right among more partitions
        else:
            self._misplaced(outcome, item)
        return self._copy(outcome, item, right)

    def from_further(self, item: Inbound) -> OutRecord:
        """Forward what lies on a partition that no join has: services may have more partitions than the loop.

        Raises
        ------
        BadRecord
            It is no outcome.
        """
        if not isinstance(item.record, Outcome):
            raise BadRecord("unexpected_punctuation", "punctuations are for lockstep runs only")
        self._counts["further"] += 1
        right = partition_of(item.record.request_id.encode(), self._context.partitions)
        return self._copy(item.record, item, right)

    def _misplaced(self, outcome: Outcome, item: Inbound) -> None:
        self._counts["misplaced"] += 1
        if self._counts["misplaced"] in {1, 10, 100, 1000, 10_000}:
            log.warning(
                "%s: %d outcomes lay on the wrong partition and were forwarded; the last one, %s, comes from %s: "
                "its producer needs partitioner=murmur2_random",
                self._context.task.name,
                self._counts["misplaced"],
                item.at,
                line(outcome.reporter or "an unnamed reporter"),
            )

    def _copy(self, outcome: Outcome, item: Inbound, right: int) -> OutRecord:
        attributes = [each for each in item.message.headers() or () if each[0].startswith(PREFIX)]
        headers: Headers = [(FORWARDED, str(item.at).encode()), *attributes]
        key = outcome.request_id.encode()
        # As it was sent: another worker may not know the schema by its fingerprint.
        return OutRecord(self._context.topics.outcomes, key, original(item.message), right, headers)
