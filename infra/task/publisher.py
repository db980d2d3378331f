"""The monitors of a topic, and what they give: written once, while this worker owns the topic."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Final, Generic, TypeVar

from confluent_kafka import Message

from infra.clock import now_ms
from infra.kafka.buffers import Partition
from infra.kafka.log import read_all
from infra.kafka.transaction import OutRecord, TransactionRunner
from infra.kafka.watching import extents
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import LogPlace
from infra.snapshots.monitors import pack_monitors, restore_monitors
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.resume import Resume
from infra.task.snapshots import SnapshotWriter, Take
from infra.turns import Turns
from schemas.errors import RecordsGone, TransactionAborted
from schemas.records import Manifest, Metric
from streams.fold import Measurement, Monitor

Item = TypeVar("Item")
AT_ONCE: Final = 1000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Output:
    """How a publisher writes."""

    runner: TransactionRunner
    """Writes its transactions."""
    snapshots: SnapshotWriter
    """Writes its snapshots."""
    metrics_every_ms: int
    """Time between two publications of the metrics."""


class Publisher(ABC, Generic[Item]):
    """Folds the monitors of a topic of one partition, and keeps what they give until it is committed.

    An alert is the output of a record, a metric that of an offset. Both go into the transaction that commits an
    offset behind them. The monitors do not depend on what becomes of it: after an abort the same records go into
    the next transaction, but for those that the group's offset says are committed.
    """

    name: ClassVar[str]
    """Of its snapshots."""
    lossy: ClassVar[bool] = False
    """Whether it goes on, with a warning, where records were deleted unread; else that is an error."""

    def __init__(
        self,
        context: TaskContext,
        readiness: Readiness,
        resume: Resume,
        turns: Turns,
        output: Output,
        topic: str,
        group: str,
    ) -> None:
        self.context, self.readiness, self.resume, self.turns = context, readiness, resume, turns
        self.runner, self.snapshots, self.group = output.runner, output.snapshots, group
        self.metrics_every_ms = output.metrics_every_ms
        self.partition = Partition(topic, 0)
        self.is_owner = False
        """Whether this worker owns the topic, and the monitors are restored."""
        self.place = LogPlace(topic, "")
        self._begin(0)

    def _begin(self, published: int) -> None:
        self.monitors = self.make()
        self.next_offset = 0
        """Behind the last record that the monitors have folded."""
        self.published = published
        """Up to this offset all is committed."""
        self._pending: list[tuple[int, OutRecord]] = []
        """What is not committed yet, with the offset of the record that it is an output of."""
        self._metrics_at = 0.0
        """When metrics were taken last (s, monotonic)."""
        self._metrics_to = published
        """The next offset then."""
        self._last_ts = 0
        self._unsure = False
        """Whether it is unknown what became of the last transaction."""
        self.snapshots.begin(published)

    # ------------------------------------------------------------------ what is published

    @abstractmethod
    def make(self) -> Sequence[Monitor[Item]]:
        """Make the monitors, with nothing folded yet."""

    @abstractmethod
    def read(self, message: Message) -> Item | None:
        """Return what a record of the topic carries; None for one to skip."""

    @abstractmethod
    def event_time(self, item: Item) -> int | None:
        """Return a record's event time (ms); None where it has none."""

    @abstractmethod
    def topic_id(self) -> str:
        """Return the topic's id (may block)."""

    def takes(self) -> Iterator[Take]:
        """Return what takes each snapshot."""
        # What could not be read is no part of a state: the monitors' own offset counts.
        at = max(each.next_offset for each in self.monitors)
        about = (self.context.task, runtime_fingerprint()[1], now_ms())
        yield partial(pack_monitors, self.name, self.monitors, at, self.place, *about)

    def anchors(self) -> Collection[str]:
        """Return the versions whose snapshots retention never deletes."""
        return ()

    def stored(self, manifest: Manifest) -> None:
        """Take note of a snapshot that was written."""

    # ------------------------------------------------------------------ ownership

    def committed_offset(self) -> tuple[int | None, str]:
        """Return up to where the last owner has published, and its note; see `Resume.published` (blocks)."""
        names = {monitor.name.encode() for monitor in self.monitors}
        return self.resume.published(self.partition.topic, self.group, names)

    def restore(self, published: int, at_most: int) -> None:
        """Restore the monitors, at or below an offset (blocks).

        Parameters
        ----------
        published
            What records below this offset give is published already.
        at_most
            The monitors stand at this offset, or before it.
        """
        topic = self.partition.topic
        self.is_owner = False  # a state that is half restored is shown to nobody
        self._begin(published)
        self.place = LogPlace(topic, self.topic_id())
        at_most = min(published, at_most)
        at = restore_monitors(
            self.name, self.monitors, self.snapshots.store, self.context.task.name, self.place, at_most
        )
        try:
            self.next_offset = self.resume.start_of(topic, at)
        except RecordsGone as gone:
            if not self.lossy:
                raise
            self.next_offset = extents(self.context.connection, [(topic, 0)])[topic, 0].first
            log.warning("%s: continues without deleted records: %s", self.context.task.name, gone)
            self._metrics_to = max(published, self.next_offset)

    def fold_to(self, end: int) -> None:
        """Fold all that the topic has below an offset (blocks)."""
        if self.next_offset < end:
            topic = self.partition.topic
            messages = read_all(self.context.connection, topic, 0, self.next_offset, end)
            while part := list(islice(messages, AT_ONCE)):
                self.apply_all(part)
            self.next_offset = end

    def apply_all(self, messages: Sequence[Message]) -> None:
        """Fold records that follow on each other."""
        for message in messages:
            self.apply(_offset(message), self.read(message))

    def log_taken_over(self, started: float) -> None:
        """Log that this worker owns the topic, since a moment (s, monotonic) when it began to restore."""
        log.info(
            "%s: owner of %s from offset %d, monitors restored in %.2f s",
            *(self.context.task.name, self.partition.topic, self.published, time.monotonic() - started),
        )

    def release(self) -> None:
        """Stop publishing: another worker gets the partition."""
        self.is_owner = False

    # ------------------------------------------------------------------ the fold

    def apply(self, offset: int, item: Item | None) -> None:
        """Fold one record; one that was folded before changes nothing."""
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        if item is None:
            return
        for monitor in self.monitors:
            monitor.apply(offset, item)
        ts = self.event_time(item)
        if ts is not None:
            self._last_ts = max(self._last_ts, ts)
        for monitor in self.monitors:
            for alert in monitor.alerts():
                if offset >= self.published:
                    self._add(offset, self.context.topics.alerts, monitor.name, alert)

    def _add(self, offset: int, topic: str, key: str, record: Any) -> None:
        self._pending.append((offset, OutRecord(topic, key.encode(), self.context.codec.encode(record), 0)))

    async def take_state(self, *, snapshots: bool = False) -> None:
        """Add the metrics as of now to what is pending, and the manifests of snapshots, where it is time for them.

        Nothing is folded meanwhile: the caller sees to it. Requests wait while the states are taken. They are
        answered while those are stored: a store may be slow, and the audit chain's head is read from the cluster.

        Parameters
        ----------
        snapshots
            Take snapshots in any case.
        """
        await self.turns.run(self._metric_steps())
        if self.snapshots.due(self.next_offset) or snapshots:
            offset, anchors = self.next_offset, self.anchors()
            taken = await self.turns.apart(lambda: self.snapshots.taken(self.takes(), offset))
            written = await asyncio.to_thread(lambda: list(self.snapshots.write(taken, offset, anchors)))
            for manifest, records in written:
                self.stored(manifest)
                self._pending += [(offset - 1, each) for each in records]

    def _metric_steps(self) -> Iterator[None]:
        now = time.monotonic()
        early = (now - self._metrics_at) * 1000 < self.metrics_every_ms
        if early or self.next_offset <= self._metrics_to:
            return
        self._metrics_at, self._metrics_to = now, self.next_offset
        for key, each in self.measured():
            metric = Metric(
                name=each.name,
                value=each.value,
                unit=each.unit,
                model=each.model,
                version=each.version,
                role=each.role,
                window=each.window,
                count=each.count,
                log_offset=self.next_offset - 1,
                ts=self._last_ts,
                segment=each.segment,
                task=self.context.task.name,
            )
            self._add(self.next_offset - 1, self.context.topics.metrics, key, metric)
            yield

    def measured(self) -> Iterator[tuple[str, Measurement]]:
        """Return the current values, each with the key of its record."""
        return ((monitor.name, each) for monitor in self.monitors for each in monitor.measurements())

    def measurements(self) -> list[Measurement]:
        """Return the current values of all monitors; none while another worker owns the topic."""
        return [each for _, each in self.measured()] if self.is_owner else []

    # ------------------------------------------------------------------ transactions

    def pending(self, below: int) -> list[OutRecord]:
        """Return what records below an offset have given and no transaction has committed."""
        return [record for offset, record in self._pending if offset < below]

    def note(self) -> str:
        """Return what the next transaction is to say of the progress, beside the offset."""
        return ""

    def settled(self, note: str) -> None:
        """Take up the note of the newest transaction that has committed."""

    async def resolve(self) -> None:
        """Find out what became of the last transaction, where that is unknown."""
        if self._unsure:
            found, note = await self.readiness.retry(self.committed_offset)
            self._settle(found or 0, note)

    async def commit(self, below: int, transaction: Awaitable[None]) -> TransactionAborted | None:
        """Commit all below an offset; gives what aborted it, if anything did.

        Parameters
        ----------
        below
            The offset that is committed.
        transaction
            Writes what is pending below it; raises TransactionAborted.
        """
        note = self.runner.note = self.note()
        try:
            await transaction
        except TransactionAborted as error:
            log.warning("%s: publishing for %s: %s", self.context.task.name, self.partition.topic, error)
            self._unsure = not error.certain
            return error
        except BaseException:
            self._unsure = True
            raise
        self._settle(below, note)
        return None

    def _settle(self, published: int, note: str) -> None:
        self._unsure = False
        self.published = max(self.published, published)
        self._pending = [each for each in self._pending if each[0] >= self.published]
        self.settled(note)


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset
