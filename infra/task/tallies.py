"""The tallies of what comes in: their owner adds them up, and says what differs from the requests of before."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from confluent_kafka import Message

from infra.kafka.admin import topic_id
from infra.kafka.channel import Batch
from infra.kafka.consumer import BatchConsumer
from infra.task.context import TaskContext
from infra.task.publisher import Output, Publisher
from infra.task.readiness import Readiness, TaskStopped
from infra.task.resume import Resume
from infra.task.statistics import Statistics
from infra.turns import Turns
from schemas.errors import BadRecord, RecordsGone
from schemas.tally import Tally
from streams.fold import Monitor
from streams.monitors import tally_monitors
from streams.native.tallies import TallyCodec

SNAPSHOT_EVERY: Final = 1_000
"""Tallies between two snapshots."""
log = logging.getLogger(__name__)


class TallyPublisher(Publisher[Tally]):
    """Folds and publishes the tallies of a task, a batch of the worker's group at a time.

    Parameters
    ----------
    statistics
        Counts tallies that cannot be read.
    """

    name: ClassVar[str] = "quality"
    lossy: ClassVar[bool] = True  # what is counted must not stop what is served

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        resume: Resume,
        turns: Turns,
        output: Output,
        statistics: Statistics,
    ) -> None:
        super().__init__(context, readiness, resume, turns, output, context.topics.quality, context.group)
        self._counts = statistics.counts
        self._tallies = TallyCodec(context.codec)
        self.lock = asyncio.Lock()
        """Held while the monitors move."""

    def make(self) -> Sequence[Monitor[Tally]]:
        """See `Publisher.make`."""
        return tally_monitors(self.context.task)

    def read(self, message: Message) -> Tally | None:
        """See `Publisher.read`; what cannot be read is counted and skipped."""
        try:
            return self._tallies.decode(message.value())
        except BadRecord as bad:
            self._counts["tallies_unreadable"] += 1
            place = (self.context.task.name, self.partition.topic, message.offset())
            log.error("%s: %s@%d cannot be read: %s", *place, bad)
            return None

    def event_time(self, item: Tally) -> int | None:
        """See `Publisher.event_time`: a rejection has none."""
        return item.ts if item.requests else None

    def topic_id(self) -> str:
        """See `Publisher.topic_id`."""
        return topic_id(self.context.connection, self.partition.topic)

    async def take_over(self, consumer: BatchConsumer) -> None:
        """Become the owner, from where the last one published. What stops that, stops the task, and no other."""
        async with self.lock:
            await self._take_over(consumer)

    async def _take_over(self, consumer: BatchConsumer) -> None:
        started = time.monotonic()
        try:
            committed, _ = await self.readiness.retry(self.committed_offset)
            published = committed or 0
            await self.readiness.retry(self.restore, published, published)
            await self.readiness.retry(self.fold_to, published)
        except RecordsGone as gone:
            self.readiness.reject(f"owner of {self.partition.topic}", str(gone))
        except TaskStopped:
            return
        else:
            self.is_owner = self.partition in consumer.assignment  # else it went to another worker meanwhile
            if self.is_owner:
                self.log_taken_over(started)
                consumer.start_at(self.partition, self.next_offset)

    async def on_batch(self, consumer: BatchConsumer, batch: Batch[Message]) -> None:
        """Publish for a batch; one whose transaction aborts comes again, and its records are folded already."""
        if self.readiness.rejected:
            return
        async with self.lock:
            if self.is_owner:  # else the task was rejected meanwhile, and all is taken up again
                await self.resolve()
                await self.turns.run(self._steps(batch.items))
                await self.take_state()
                below = batch.offsets[self.partition]
                await self.commit(below, consumer.batches.commit(batch, self.runner, self.pending(below)))

    def _steps(self, messages: Sequence[Message]) -> Iterator[None]:
        for message in messages:
            offset = message.offset()
            assert offset is not None
            self.apply(offset, self.read(message))
            yield

    async def on_silence(self, consumer: BatchConsumer) -> None:
        """Publish the metrics of the last batch, which came too early for them, when no further one brings them."""
        if self.lock.locked():
            return
        async with self.lock:
            end = self.next_offset
            if self.is_owner and consumer.metadata and self.published == end:
                await self.resolve()
                await self.take_state()
                records = self.pending(end)
                if records:
                    offsets = {self.partition: end}  # written only to be fenced by
                    await self.commit(end, self.runner.commit(records, offsets, consumer.metadata))
