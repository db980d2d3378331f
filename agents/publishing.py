"""The agent of an owner: a batch of its topic is one transaction, and what is unsure is read again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from agents.loop import TaskLoop
from agents.owner import Owner
from agents.published import published_to
from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch
from infra.kafka.consumer import BatchConsumer
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import BrokerError, RecordsGone, TransactionAborted

AGAIN_S: Final = 1.0
T = TypeVar("T")
log = logging.getLogger(__name__)


class TaskStopped(Exception):
    """A topic of the task is refused: its state is read when that is over."""


class Publishing:
    """Publishes for an owner.

    Parameters
    ----------
    owner
        Whose state it is.
    runner
        Writes its transactions.

    Attributes
    ----------
    lock
        Held while the owner's state and what is committed differ.
    """

    def __init__(self, owner: Owner[Any], runner: TransactionRunner) -> None:
        self.owner, self.runner, self.lock = owner, runner, asyncio.Lock()
        self._partition = Partition(owner.owned.topic, 0)

    async def on_batch(self, consumer: BatchConsumer, batch: Batch[Any]) -> None:
        """Publish for a batch of the topic."""
        if self.owner.loop.refused:
            return
        async with self.lock:
            try:
                steps = await self.owner.loop.turns.run(self.owner.steps(batch.items))
                records = [each for each in steps if each is not None]
                if self.owner.snapshot_due():
                    records += await self.owner.loop.turns.apart(lambda: list(self.owner.snapshot_records()))
                self.runner.note = self.owner.note
                await consumer.commit(batch, self.runner, records)
                self.owner.published(True)
            except BaseException as error:
                # Whether it committed may be unknown, so what was folded is dropped and read again.
                await self._take_over(consumer)
                if not isinstance(error, TransactionAborted):
                    raise
                log.warning("%s: %s", batch.channel.name, error)

    async def on_silence(self, consumer: BatchConsumer) -> None:
        """Publish what the last batch came too early for, when no further one brings it."""
        if self.owner.held and not self.lock.locked():
            async with self.lock:
                records = await self.owner.loop.turns.run(self.owner.metric_records())
                await self.publish(consumer, records, "the last metrics")

    async def take_over(self, consumer: BatchConsumer) -> None:
        """Become the owner: from where the last one published.

        What cannot be gone on with stops the task, and no other. A batch that is still at work, although a
        rebalance waits for it no longer, ends first: it folds into the same monitors.
        """
        async with self.lock:
            await self._take_over(consumer)

    async def _take_over(self, consumer: BatchConsumer) -> None:
        loop = self.owner.loop

        def take_over() -> None:
            self.owner.take_over(*published_to(self.owner, consumer.group_id))

        try:
            await patiently(loop, take_over)
        except RecordsGone as gone:
            loop.refuse(f"owner of {self.owner.owned.topic}", str(gone))
        except TaskStopped:
            return
        if self._partition not in consumer.assignment:  # it went to another worker meanwhile
            self.owner.release()
        elif self.owner.held:
            consumer.start_at(self._partition, self.owner.next_offset)

    async def publish(self, consumer: BatchConsumer, records: list[OutRecord], what: str) -> bool:
        """Write records that no batch has caused; returns whether they were written. The caller holds the lock."""
        # The offset is written only to be fenced by: who is no longer the owner must not publish anything.
        offsets = {self._partition: self.owner.next_offset}
        if not records or not consumer.metadata:
            return False
        self.runner.note = self.owner.note
        try:
            await self.runner.commit(records, offsets, consumer.metadata)
        except TransactionAborted as error:
            log.warning("%s: publishing %s: %s", self.owner.loop.task.name, what, error)
            self.owner.published(False)
            if not error.certain and not self.owner.loop.stopping:
                await self._take_over(consumer)  # else what may be published would be published again
            return False
        self.owner.published(True)
        return True


async def patiently(loop: TaskLoop, read: Callable[..., T], *told: int) -> T:
    """Read state in a thread, again and again while the cluster does not answer.

    There is nothing better to do without a cluster, and a worker that gave up would be missing when it is
    back. What no waiting brings back is an error at once, and so is everything while the worker stops.
    """
    while True:
        try:
            return await asyncio.get_running_loop().run_in_executor(None, read, *told)
        except RecordsGone:
            raise
        except BrokerError as error:
            if loop.stopping:
                raise
            if loop.refused:
                raise TaskStopped from error
            log.warning("%s: tried again in %g s: %s", loop.task.name, AGAIN_S, error)
            await asyncio.sleep(AGAIN_S)
