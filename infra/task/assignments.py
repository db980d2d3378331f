"""The assignment of partitions: each is taken up where the task's state says, and again after a topic changed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Sequence
from typing import Final

from infra.kafka.buffers import Partition
from infra.kafka.consumer import BatchConsumer
from infra.task.aggregates import AggregatesAgent
from infra.task.context import TaskContext
from infra.task.join import JoinAgent
from infra.task.log_fold import LogFold
from infra.task.readiness import Readiness, TaskStopped
from infra.task.resume import Resume
from infra.task.tenures import Tenures
from infra.task.topic_watch import TopicWatch
from schemas.errors import RecordsGone

GONE_S: Final = 30.0
"""A partition is rejected if it cannot be read this soon after it was taken up again."""
POSITIONS: Final = "positions"
"""The name under which a task is rejected whose partitions do not hold the next records."""
log = logging.getLogger(__name__)


class Assignments:
    """The partitions of a task that are assigned to this worker, with the state of their joins."""

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        resume: Resume,
        watch: TopicWatch,
        join: JoinAgent,
        fold: LogFold,
        aggregates: AggregatesAgent | None = None,
    ) -> None:
        self._context, self._readiness, self._resume = context, readiness, resume
        self.watch, self._join, self._fold = watch, join, fold
        self._aggregates = aggregates
        self._joins = Tenures(join, readiness, lambda: watch.rejected)
        self._counted = None if aggregates is None else Tenures(aggregates, readiness, lambda: watch.rejected)
        self._gone: dict[Partition, str] = {}
        """Partitions that cannot be read, with the cluster's reason."""
        self._gone_at: dict[Partition, float] = {}
        """When they were taken up again for it (s, monotonic)."""

    # ------------------------------------------------------------------ positions

    async def begin(self) -> None:
        """Look at the topics, and go on with them as they are unless some of them are consumed already."""
        nothing_yet = not self._joins and not self._counted
        await self.watch.look()
        if nothing_yet and not self._joins and not self._counted:
            self.watch.take()

    async def assigned(self, consumer: BatchConsumer, partitions: Collection[Partition]) -> None:
        """Take up those partitions that are not ours already, each where the loop's state says.

        What cannot be gone on with stops this task, and no other.
        """
        topics = self._context.topics
        count = self._context.partitions
        mine, requests = (
            {each.number for each in partitions if each.topic == topic and each.number < count}
            for topic in (topics.predictions, topics.requests)
        )
        await self.begin()
        try:
            await self.take_up(mine, requests)
            counted = {} if self._aggregates is None else self._aggregates.next_offsets
            found = await self._readiness.retry(
                lambda: self._resume.starts(partitions, self._join.partitions, counted)
            )
        except RecordsGone as gone:
            self._readiness.reject(POSITIONS, str(gone))
        except TaskStopped:
            log.warning("%s: its partitions are restored when the task may continue", self._context.task.name)
        else:
            for partition, offset in found.items():
                consumer.start_at(partition, offset)
            self._go_on()

    def _go_on(self) -> None:
        """Lift the rejections of topics and positions: everything is taken up again."""
        if self.watch.rejected:
            return
        for what in [
            each for each in self._readiness.rejected if each == POSITIONS or each in self.watch.names
        ]:
            del self._readiness.rejected[what]
        if not self._readiness.rejected:
            self._readiness.open.set()
            self._fold.answering.check(caught_up=self._fold.answering.caught_up)

    async def look(self, consumers: Sequence[BatchConsumer]) -> None:
        """Look at the topics, and take all partitions up again where that is due."""
        gone, self._gone = self._gone, {}
        changed = await self.watch.look()
        said = self._readiness.rejected.keys()
        gone = {} if POSITIONS in said else {each: gone[each] for each in gone if each.topic not in said}
        if self._readiness.stopping or not (changed or gone):
            return
        now = time.monotonic()
        for partition, text in gone.items():
            if not changed and now < self._gone_at.get(partition, -math.inf) + GONE_S:
                self._readiness.reject(
                    POSITIONS, f"{partition} cannot be read on: {text}. Start the workers again"
                )
                return
            self._gone_at[partition] = now
        log.warning(
            "%s: %s; all partitions of the task are restored",
            self._context.task.name,
            "topics have changed" if changed else ", ".join(f"{each}: {text}" for each, text in gone.items()),
        )
        for consumer in consumers:
            consumer.rejoin()

    def gone(self, partition: Partition, text: str) -> None:
        """Take note that a partition cannot be read on: the next look says why."""
        if partition.topic in self.watch.names:
            self._gone[partition] = text

    # ------------------------------------------------------------------ state

    async def take_up(self, numbers: Collection[int], requests: Collection[int] = ()) -> None:
        """Restore the joins, and the aggregates, of those partitions that are not ours already."""
        await self._joins.take_up(numbers)
        if self._counted is not None:
            await self._counted.take_up(requests)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Give partitions up."""
        topics = self._context.topics
        self._joins.revoked(each.number for each in partitions if each.topic == topics.predictions)
        if self._counted is not None:
            self._counted.revoked(each.number for each in partitions if each.topic == topics.requests)

    async def undo(self, joins: set[int], requests: set[int], error: BaseException) -> None:
        """Bring joins and aggregates back to what is committed, after a batch that failed."""
        try:
            await self._joins.undo(joins, error)
            if self._counted is not None:
                await self._counted.undo(requests, error)
        except RecordsGone as gone:
            self._readiness.reject(POSITIONS, str(gone))
        except TaskStopped:
            log.warning("%s: the state is restored when the task may continue", self._context.task.name)
