"""Taking up partitions: where the loop's state says, and again when topics have changed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

from agents.join import JoinAgent
from agents.log_fold import LogFold
from agents.readiness import Readiness, TaskStopped
from agents.resume import Resume
from agents.task_context import TaskContext
from agents.topic_watch import TopicWatch
from infra.kafka.buffers import Partition
from infra.kafka.consumer import BatchConsumer
from schemas.errors import RecordsGone

GONE_S: Final = 30.0
"""A partition that cannot be read on again so soon after it was taken up again is refused."""
POSITIONS: Final = "positions"
"""What is refused where partitions do not hold what is to be read next."""
log = logging.getLogger(__name__)


class TakingUp:
    """Takes up the partitions of a task that are assigned to this worker.

    Parameters
    ----------
    context, readiness, resume, watch, join, log_fold
        Of the task.
    tenures
        By partition of the joins that is ours: a token of its assignment.
    restore
        Restores the joins of those partitions that are not ours already.
    """

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        resume: Resume,
        watch: TopicWatch,
        join: JoinAgent,
        log_fold: LogFold,
        tenures: Mapping[int, object],
        restore: Callable[[set[int]], Awaitable[None]],
    ) -> None:
        self._context, self._readiness, self._resume, self.watch = context, readiness, resume, watch
        self._join, self._log_fold, self._tenures, self._restore = join, log_fold, tenures, restore
        self._gone: dict[Partition, str] = {}
        """Partitions that cannot be read on, with the cluster's words for it."""
        self._gone_at: dict[Partition, float] = {}
        """When they were taken up again for it (s, monotonic)."""

    async def assigned(self, consumer: BatchConsumer, partitions: Collection[Partition]) -> None:
        """Take up those partitions that are not ours already, each where the loop's state says.

        What cannot be gone on with stops this task, and no other.
        """
        topics = self._context.topics
        mine = {each.number for each in partitions if each.topic == topics.predictions}
        nothing_yet = not self._tenures
        await self.watch.look()
        if nothing_yet:
            self.watch.take()
        try:
            await self._restore({number for number in mine if number < self._context.partitions})
            found = await self._readiness.retry(
                lambda: self._resume.starts(partitions, self._join.partitions)
            )
        except RecordsGone as gone:
            self._readiness.refuse(POSITIONS, str(gone))
        except TaskStopped:
            log.warning("%s: its partitions are restored when the task may continue", self._context.task.name)
        else:
            for partition, offset in found.items():
                consumer.start_at(partition, offset)
            self._go_on()

    def _go_on(self) -> None:
        """Lift the refusals of topics and positions: everything is taken up again."""
        if self.watch.refused:
            return
        for what in [
            each for each in self._readiness.refused if each == POSITIONS or each in self.watch.names
        ]:
            del self._readiness.refused[what]
        if not self._readiness.refused:
            self._readiness.open.set()
            self._log_fold.check_ready(self._log_fold.caught_up)

    async def look(self, consumers: Sequence[BatchConsumer]) -> None:
        """Look at the topics, and take all partitions up again where that is due."""
        gone, self._gone = self._gone, {}
        changed = await self.watch.look()
        said = self._readiness.refused.keys()
        gone = {} if POSITIONS in said else {each: gone[each] for each in gone if each.topic not in said}
        if self._readiness.stopping or not (changed or gone):
            return
        now = time.monotonic()
        for partition, text in gone.items():
            if not changed and now < self._gone_at.get(partition, -math.inf) + GONE_S:
                self._readiness.refuse(
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
