"""How far the workers' groups have consumed the topics."""

from __future__ import annotations

import time
from typing import Final

from confluent_kafka import ConsumerGroupState

from infra.kafka.admin import client_of, partition_count
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import committed_offsets, end_offsets
from schemas.errors import BrokerError
from schemas.topics import TaskTopics, topics

TIMEOUT_S: Final = 20.0
SETTLED_S: Final = 20.0
"""Longer than a session, and than an open transaction's time-out."""


class Progress:
    """Reads the committed offsets of one task's groups.

    Parameters
    ----------
    connection
        The cluster.
    task
        Its name.
    partitions
        Of the topics keyed by request.
    group
        The workers' consumer group.
    foreign
        Whether another loop runs, which consumes requests and outcomes only.
    """

    def __init__(
        self, connection: Connection, task: str, partitions: int, group: str, *, foreign: bool = False
    ) -> None:
        self._connection, self._partitions, self._group = connection, partitions, group
        self._topics, self._foreign = TaskTopics(task), foreign
        self.log_group = f"{group}.{task}.log"
        """The consumer group of the log's owners."""

    def lag(self) -> dict[tuple[str, int], int]:
        """Count, by partition, the committed records of the inputs and the log that are not consumed.

        Raises
        ------
        BrokerError
            When the cluster does not answer.
        """
        names = self._topics
        inputs = (names.requests, names.outcomes, *([] if self._foreign else [names.predictions]))
        consumed = {self._group: self._places(*inputs)}
        if not self._foreign:
            consumed[self.log_group] = [(names.log, 0)]
        left: dict[tuple[str, int], int] = {}
        for group, places in consumed.items():
            committed = committed_offsets(self._connection, group, places)
            ends = end_offsets(self._connection, places, committed=False)
            for place in places:
                count = ends[place] - (start := committed.get(place, 0))
                if 0 < count <= 100:  # they may all be commit markers
                    count = sum(1 for _ in read_all(self._connection, *place, start, ends[place]))
                if count > 0:
                    left[place] = count
        return left

    def consumed(self) -> set[tuple[str, int]]:
        """Return the partitions of the inputs for which the workers' group has committed an offset."""
        places = self._places(self._topics.requests, self._topics.outcomes)
        committed = committed_offsets(self._connection, self._group, places)
        return {place for place, offset in committed.items() if offset > 0}

    def wait_consumed(self, timeout_s: float = 300.0) -> None:
        """Wait until the workers have consumed everything that was sent, and the owner the log.

        Raises
        ------
        BrokerError
            After `timeout_s` without progress.
        """
        heard = time.monotonic()
        before: dict[tuple[str, int], int] = {}
        while left := self.lag():
            if left != before:
                heard, before = time.monotonic(), left
            elif time.monotonic() - heard > timeout_s:
                count = sum(left.values())
                raise BrokerError(f"{count} records are not consumed by the workers after {timeout_s:.0f} s")
            time.sleep(0.2)

    def find_unfinished(self) -> list[str]:
        """List the open transactions and group members that are left after all workers have stopped.

        A worker that was killed remains a member until its session ends; this waits for that.
        """
        until = time.monotonic() + SETTLED_S
        while (found := self._unfinished()) and time.monotonic() < until:
            time.sleep(0.5)
        return found

    def _unfinished(self) -> list[str]:
        specs = topics(self._topics.task, self._partitions)
        places = [(spec.name, number) for spec in specs for number in range(spec.partitions)]
        stable = end_offsets(self._connection, places)
        ends = end_offsets(self._connection, places, committed=False)
        found = [
            f"a transaction is open on {topic}[{number}]"
            for (topic, number), end in ends.items()
            if stable[topic, number] != end
        ]
        groups = [self._group, self.log_group]
        with client_of(self._connection) as admin:
            for name, future in admin.describe_consumer_groups(groups, request_timeout=TIMEOUT_S).items():
                group = future.result(TIMEOUT_S)
                if group.state not in {ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD}:
                    found.append(
                        f"group {name} is {group.state.name.lower()} with {len(group.members)} members"
                    )
        return found

    def join_lag(self) -> int:
        """Count the predictions and outcomes that the joins have yet to consume, markers included.

        Raises
        ------
        BrokerError
            When the cluster does not answer.
        """
        places = self._places(self._topics.predictions, self._topics.outcomes)
        ends = end_offsets(self._connection, places)
        committed = committed_offsets(self._connection, self._group, places)
        return sum(end - committed.get(place, 0) for place, end in ends.items())

    def _places(self, *names: str) -> list[tuple[str, int]]:
        """List the partitions of topics: faults may have added some."""
        return [(name, number) for name in names for number in range(partition_count(self._connection, name))]
