"""The log's owner: it publishes what the folds of the log give, writes snapshots, and opens revisions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import ClassVar, Final

from confluent_kafka import Message

from infra.audit.checkpoints import Checkpoints
from infra.clock import now_ms
from infra.kafka.aborted import GenerationLost, ProducerFenced
from infra.kafka.buffers import Partition
from infra.kafka.consumer import BatchConsumer
from infra.kafka.transaction import OutRecord
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import git_commit, pack
from infra.task.command_desk import CommandDesk, decision_points
from infra.task.context import TaskContext
from infra.task.gate_state import gate_takes
from infra.task.learning_notes import LearningNotes
from infra.task.log_fold import NEAR, LogFold
from infra.task.monitor_runs import MonitorRuns
from infra.task.publisher import Output, Publisher
from infra.task.readiness import Readiness, TaskStopped
from infra.task.resume import Resume
from infra.task.revisions import endings
from infra.task.snapshots import Take
from infra.turns import Turns
from schemas.errors import BrokerError, RecordsGone
from schemas.records import Entry, Manifest
from streams.fold import Measurement, Monitor
from streams.gate.lines import measurements
from streams.metrics.served import ServedMetrics
from streams.monitors import monitors

PACE_S: Final = 0.1
"""Between two transactions: one costs the broker the same however few records there are in it."""
SILENCE_S: Final = 1.0
LOST_S: Final = 3.0
"""After the group has rejected a transaction, the next one waits for a new generation, but not for longer."""
END_S: Final = 8.0
"""How long a rebalance waits for the end of a transaction."""
log = logging.getLogger(__name__)


class LogPublisher(Publisher[Entry]):
    """Publishes for the log of a task while this worker owns it.

    The group of the log's owners says which worker that is; it shares out the partition and reads nothing. The
    entries come from the worker's one reader of the log, after the models have folded them.
    """

    name: ClassVar[str] = "metrics"

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        resume: Resume,
        turns: Turns,
        output: Output,
        fold: LogFold,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        group = f"{context.group}.{context.task.name}.log"
        super().__init__(context, readiness, resume, turns, output, context.topics.log, group)
        self.fold, self.models = fold, fold.models
        self.desk = CommandDesk(context, self._wake, fold.parents, checkpoints)
        output.snapshots.audit_head = lambda: self.desk.audit.head
        self._runs = MonitorRuns(self)
        fold.moved.append(self._wake)
        self.tenure: object | None = None
        """Of the partition, from its assignment to its revocation."""
        self._learning = LearningNotes(context, self.models)
        self._commit = git_commit(self.context.loaded.folder)
        self._news = asyncio.Event()
        self._rejected, self._rejected_until = b"", 0.0
        """Metadata that the group has rejected, and until when it is not tried again (s, monotonic)."""
        self._busy = asyncio.Lock()
        self._idle = asyncio.Event()
        """Set while no transaction is being written."""
        self._idle.set()
        self._closed = False

    @property
    def rank(self) -> int:
        """Among those who may own the log: those of the newest revision come first, those without one last.

        The first revisions of a log have the rank that a worker has before it has opened them.
        """
        known = self.models[0].roles.revisions
        mine = [fold.revision for fold in self.models]
        if not known.opened or all(each is not None and each.number == 1 for each in mine):
            return 0
        return max(each.offset for each in mine if each is not None) if all(mine) else -1

    def _wake(self) -> None:
        self._news.set()

    # ------------------------------------------------------------------ what is published

    def make(self) -> Sequence[Monitor[Entry]]:
        """See `Publisher.make`."""
        return monitors(self.context.task)

    def apply_all(self, messages: Sequence[Message]) -> None:
        """See `Publisher.apply_all`."""
        self._runs.apply(messages)

    def took(self, offset: int, ts: int) -> None:
        """Note that the monitors have folded all up to an offset, of event times (ms) up to `ts`."""
        self.next_offset, self._last_ts = offset + 1, max(self._last_ts, ts)

    def read(self, message: Message) -> Entry | None:
        """See `Publisher.read`."""
        return self.fold.read(message)

    def event_time(self, item: Entry) -> int | None:
        """See `Publisher.event_time`: the time of a command is the wall clock."""
        return item.ts if item.command is None else None

    def topic_id(self) -> str:
        """See `Publisher.topic_id`."""
        return self.context.log_topic_id

    def takes(self) -> Iterator[Take]:
        """See `Publisher.takes`; before the monitors the models, at the same offset."""
        text, recent = runtime_fingerprint()[1], list(self.fold.recent)
        served = {each.name: each.get() for each in self.monitors if isinstance(each, ServedMetrics)}
        for fold in () if self.fold.failed else self.models:
            if fold.active and fold.is_named:
                about = (self.context.codec.fingerprints, served[fold.model.name], recent, now_ms())
                parent = self.fold.parents.get(fold.model.name)
                parents = (parent,) if parent and parent != str(fold.learned_version) else ()
                yield partial(pack, fold, self.place, text, *about, parents=parents, commit=self._commit)
        yield from gate_takes(None if self.fold.failed else self.fold.gate, self.context.task, self.place)
        yield from super().takes()

    def measured(self) -> Iterator[tuple[str, Measurement]]:
        """See `Publisher.measured`; after the monitors the rollouts."""
        yield from super().measured()
        for each in measurements(self.fold.gate, self.models[0].roles):
            yield each.monitor, each

    def anchors(self) -> Collection[str]:
        """See `Publisher.anchors`."""
        roles = self.models[0].roles
        return {*roles.kept, *(each.version for each in roles.revisions.rollbacks.values())}

    def stored(self, manifest: Manifest) -> None:
        """See `Publisher.stored`."""
        if manifest.kind == "model":
            self.fold.parents[manifest.model] = manifest.version

    def note(self) -> str:
        """See `Publisher.note`: up to where it is published what the models have not learned."""
        return self._learning.text

    def settled(self, note: str) -> None:
        """See `Publisher.settled`."""
        self._learning.settle(note, self.published)

    # ------------------------------------------------------------------ ownership

    def assigned(self) -> None:
        """Take note that the group gives this worker the log; `run` takes it over."""
        self.release()
        self.tenure = object()

    async def revoked(self) -> None:
        """Return the log up: the group gives it to another worker when this returns."""
        self.release()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), END_S)

    def release(self) -> None:
        """See `Publisher.release`."""
        super().release()
        self.tenure = self.fold.listener = self.fold.many = None
        self.desk.close()
        self._wake()

    async def _take_over(self) -> None:
        """Bring the monitors to where the models are; from then on one reader folds both."""
        fold, tenure, started = self.fold, self.tenure, time.monotonic()
        try:
            committed, note = await self.readiness.retry(self.committed_offset)
            await self.readiness.retry(self.restore, committed or 0, fold.next_offset)
            self.settled(note)
            while fold.next_offset - self.next_offset > NEAR:
                await self.readiness.retry(self.fold_to, fold.next_offset)
            async with fold.lock:
                await self.readiness.retry(self.fold_to, fold.next_offset)
                if self.tenure is tenure and not self._closed:
                    self.is_owner, fold.listener, fold.many = True, self.apply, self._runs.take
        except RecordsGone as gone:
            self.readiness.reject(f"owner of {self.partition.topic}", str(gone))
        if self.is_owner:
            self.desk.open()
            self.log_taken_over(started)

    # ------------------------------------------------------------------ publishing

    async def run(self, consumer: BatchConsumer) -> None:
        """Publish as long as this worker owns the log: soon after the folds have moved, and now and then.

        Parameters
        ----------
        consumer
            The member of the owners' group.
        """
        while not self._closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), SILENCE_S)
            self._news.clear()
            async with self._busy:
                try:
                    await self._turn(consumer)
                except TaskStopped:
                    log.warning("%s: publishing waits until the task may continue", self.context.task.name)
                except BrokerError:
                    if not self.readiness.stopping:
                        raise
            await asyncio.sleep(PACE_S)

    async def _turn(self, consumer: BatchConsumer) -> None:
        if self._closed or self.readiness.rejected or self.tenure is None:
            return
        if not self.is_owner:
            await self._take_over()
        waits = consumer.metadata == self._rejected and time.monotonic() < self._rejected_until
        if not self.is_owner or waits:
            return
        await self.resolve()
        if self.fold.answering.caught_up:
            await self._command(consumer)
        await self._publish(consumer)

    async def _publish(self, consumer: BatchConsumer, *, last: bool = False) -> None:
        async with self.fold.lock:
            below = self.next_offset
            if below < self.published:
                return  # the models have yet to come to what is published
            await self.take_state(snapshots=last)
            alerts, to = self._learning.alerts(below)
            records = self.pending(below) + alerts
        records += self.desk.links()
        if (records or below > self.published) and await self._write(consumer, records, below, to):
            self.desk.audit.written()

    async def _command(self, consumer: BatchConsumer) -> None:
        """Decide what was asked for next: its entry, its audit and its offset are one transaction."""
        async with self.fold.lock:
            below = self.next_offset
            if below < self.published:
                return
            decided = self.desk.decided(self.models, self.fold.gate, ready=self.readiness.ready.is_set())
            alerts, to = self._learning.alerts(below)
            records = self.pending(below) + alerts
        if not decided:
            return
        ends = [model for each in decided for model in each.ends]
        if ends:
            records += await self.readiness.retry(lambda: endings(self.context, ends))
        records += [record for each in decided for record in each.records]
        before, self.runner.last_point = self.runner.last_point, decision_points(decided[0].request)[1]
        try:
            done = await self._write(consumer, records, below, to, self.desk.offsets(decided))
        finally:
            self.runner.last_point = before
        if done:
            self.desk.done(decided)
        else:
            self.desk.open()  # to see what became of it

    async def _write(
        self,
        consumer: BatchConsumer,
        records: list[OutRecord],
        below: int,
        learning_to: dict[str, int],
        further: Mapping[Partition, int] = MappingProxyType({}),
    ) -> bool:
        """Write a transaction, fenced by the generation in which this worker owns the log; gives whether it did."""
        metadata = consumer.metadata
        if not self.is_owner or not metadata:
            return False
        before, self._learning.to = self._learning.to, learning_to
        self._idle.clear()
        try:
            writing = self.runner.commit(records, {self.partition: below, **further}, metadata)
            aborted = await self.commit(below, writing)
        finally:
            self._idle.set()
        if aborted is not None:
            self._learning.to = before
        if isinstance(aborted, GenerationLost | ProducerFenced):
            self._rejected, self._rejected_until = metadata, time.monotonic() + LOST_S
        return aborted is None

    async def close(self, consumer: BatchConsumer) -> None:
        """Write last snapshots, as the owner, and publish nothing more."""
        async with self._busy:
            if self.is_owner and self.readiness.ready.is_set() and not self.readiness.rejected:
                with suppress(BrokerError, TaskStopped):
                    await self.resolve()
                    await self._publish(consumer, last=True)
            self._closed = True
            self._wake()
