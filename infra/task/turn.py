"""A turn of a task: it serves, and joins, in one transaction, and only then changes its state."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from infra.hooks import reached
from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch
from infra.kafka.consumer import BatchConsumer
from infra.kafka.intake import WithinBudget
from infra.kafka.transaction import TransactionRunner
from infra.subjects import Subjects
from infra.task.assignments import Assignments
from infra.task.context import TaskContext
from infra.task.join import JoinAgent
from infra.task.log_fold import LogFold
from infra.task.readiness import Readiness
from infra.task.serve import Serve
from infra.task.silence import Silence
from infra.turns import Turns
from schemas.errors import TransactionAborted

if TYPE_CHECKING:
    from infra.features.reader import LookupReader
    from infra.registry.registry import Registry
    from infra.shared.predictions import SharedPredictions

REGISTRY_PAUSE_S: Final = 1.0
"""Records whose schema a registry does not say, since it is away, are read again after this time."""
log = logging.getLogger(__name__)


class Turn:
    """Takes the batches of requests, predictions and outcomes of one task, one after the other.

    Parameters
    ----------
    runner
        Writes the transactions.
    silence
        Advances stream time where nothing arrives; None: the next record does.
    look_ups
        Reads the features that requests do not carry; None where the task has none.
    registry
        Knows the schemas of framed records; None where none is set.
    shared
        Gives predictions to other workers; None where they share nothing.
    """

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        turns: Turns,
        runner: TransactionRunner,
        serve: Serve,
        join: JoinAgent,
        fold: LogFold,
        subjects: Subjects,
        assignments: Assignments,
        *,
        silence: Silence | None,
        look_ups: LookupReader | None = None,
        registry: Registry | None = None,
        shared: SharedPredictions | None = None,
    ) -> None:
        self._context, self._readiness, self._turns, self._runner = context, readiness, turns, runner
        self._serve, self._join, self._fold, self._subjects = serve, join, fold, subjects
        self._assignments, self._silence = assignments, silence
        self._look_ups, self._registry, self._shared = look_ups, registry, shared
        self.lock = asyncio.Lock()
        """Held while a transaction is made and written."""
        self.stopped = False
        """Whether nothing more is written."""

    async def on_batch(self, consumer: BatchConsumer, batch: Batch[Any]) -> None:
        """Serve requests, and join predictions and outcomes, in one transaction."""
        topic = self._context.topics.requests
        if not await self._schemas_known(batch):
            consumer.batches.rewind(batch)
            return
        await self._fold.near()
        requests = [each for each in batch.records if each.partition.topic == topic]
        join_inputs = [each for each in batch.records if each.partition.topic != topic]
        numbers = {each.partition.number for each in join_inputs}
        if self._look_ups is not None and requests and self._readiness.ready.is_set():
            await self._look_ups.look_up(each.item for each in requests)
        asked = {each.partition.number for each in requests}
        async with self.lock:
            if self._readiness.rejected or (requests and not self._readiness.ready.is_set()):
                consumer.batches.rewind(batch)
                return
            to_serve = WithinBudget([each.item for each in requests])
            to_join = WithinBudget([each.item for each in join_inputs])
            try:
                # Also without requests: what an aborted turn has left must not be counted by this one's commit.
                served = await self._turns.run(self._serve.process(to_serve))
                reached("after-predict")
                joined = await self._turns.run(self._join.steps(to_join, numbers))
                records = [each for step in (*served, *joined) for each in step]
                records += self._subjects.records("turn")  # of both: a salt lies on its topic once
                consumer.batches.keep(batch, requests[: to_serve.count] + join_inputs[: to_join.count])
                await consumer.batches.commit(batch, self._runner, records)
                self._serve.commit()
                self._join.commit()
                self._subjects.commit("turn")
                if self._shared is not None:
                    self._shared.committed(records)
            except BaseException as error:
                await self._assignments.undo(numbers, asked, error)
                if not isinstance(error, TransactionAborted):
                    raise
                log.warning("%s: %s", batch.channel.name, error)
            else:
                await self._join.checkpoint()

    async def on_silence(self, consumer: BatchConsumer) -> None:
        """Advance stream time where predictions are caught up and silent."""
        topics = self._context.topics
        if self._silence is None or self._readiness.rejected:
            return
        ends = await consumer.progress.ends(topics.predictions)
        if not consumer.progress.quiet(ends):
            return
        async with self.lock:
            await self._join.checkpoint()
            quiet = consumer.progress.quiet(ends)
            if not quiet or self.stopped or not consumer.metadata:
                return
            numbers: set[int] = set()
            try:
                waiting = consumer.progress.next_times(topics.outcomes)
                await self._turns.run(self._silence.advance(quiet, numbers, waiting))
            except BaseException:
                self._join.rollback(quiet)
                raise
            numbers |= self._silence.pass_marks(
                consumer.progress.passed(topics.predictions), consumer.progress.passed(topics.outcomes)
            )
            mine = self._join.partitions
            moved = [(number, mine[number]) for number in sorted(numbers) if number in mine]
            offsets = {}
            for number, at in moved:
                offsets[Partition(topics.predictions, number)] = at.predictions
                offsets[Partition(topics.outcomes, number)] = at.outcomes
            steps = await self._turns.run(step for number, _ in moved for step in self._join.outputs(number))
            records = [each for step in steps for each in step]
            try:
                if moved:
                    await self._runner.commit(records, offsets, consumer.metadata)
                for number, at in moved:
                    if self._join.partitions.get(number) is at:  # else it went to another worker meanwhile
                        at.commit()
                self._join.statistics.count_dead_letters(self._join.dead_letters)
            except BaseException as error:
                await self._assignments.undo({number for number, _ in moved}, set(), error)
                if not isinstance(error, TransactionAborted):
                    raise
                log.warning("%s: advancing time in silence: %s", self._context.task.name, error)

    async def _schemas_known(self, batch: Batch[Any]) -> bool:
        """Ask for the schemas that a batch lacks; gives whether it lacks none, else it is to come again."""
        if self._registry is None or not any(each.item.pending for each in batch.records):
            return True
        if not await asyncio.get_running_loop().run_in_executor(None, self._registry.fetch):
            await asyncio.sleep(REGISTRY_PAUSE_S)
        return False
