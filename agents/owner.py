"""The owner of a topic: folds it, publishes metrics, alerts and snapshots, commits its offset with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from agents.loop import TaskLoop, now_ms
from infra.kafka.log import NEWER_SNAPSHOT, read_all
from infra.kafka.transaction import OutRecord
from infra.kafka.watching import extents
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import LogPlace
from infra.snapshots.monitors import pack_monitors, restore_monitors
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.errors import BadRecord, RecordsGone, SnapshotError
from schemas.records import Manifest, Metric
from streams.fold import Measurement, Monitor
from streams.positions import wrong_place


def start_of(loop: TaskLoop, topic: str, offset: int) -> int:
    """Give where a fold of a topic goes on, by what a person has accepted (blocks).

    Raises
    ------
    RecordsGone
        What is to be folded next is not there; says what to do.
    """
    place = (topic, 0)
    there = extents(loop.connection, [place])[place]
    offset = loop.known.settled(place, offset, there)
    if why := wrong_place(place, offset, there):
        raise RecordsGone(f"{why}. {NEWER_SNAPSHOT}" if offset < there.first else why)
    return offset


Item = TypeVar("Item")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owned(Generic[Item]):
    """What an owner owns: a topic of one partition, and the monitors that are folds of it."""

    name: str
    """Of its snapshots: `metrics` or `quality`."""
    topic: str
    topic_id: Callable[[], str]
    """Gives the topic's id (may block)."""
    monitors: Callable[[], Sequence[Monitor[Item]]]
    """Makes them, with nothing folded yet."""
    read: Callable[[Any], Item | None]
    """Gives what a message of the topic carries, None for one to pass over; raises `BadRecord` or `Unreadable`."""
    time: Callable[[Item], int | None]
    """Gives a record's event time, ms; None where it has none."""
    snapshot_every: int
    """Records between two snapshots: so many are read again, at most, by a new owner."""
    lossy: bool = False
    """Whether it goes on, with a warning, where records were deleted unread; else that is an error."""
    unreadable: str = ""
    """The counter of records that cannot be read, which are passed over; empty: they are an error."""


class Owner(Generic[Item]):
    """Folds a topic of one task and publishes, while this worker holds its partition.

    Parameters
    ----------
    loop
        The task's.
    store
        Where snapshots lie.
    owned
        The topic, and what is folded of it.
    """

    def __init__(self, loop: TaskLoop, store: SnapshotStore, owned: Owned[Item]) -> None:
        self.loop, self.store, self.owned = loop, store, owned
        self.held = False
        self.place = LogPlace(owned.topic, "")
        self._reset()

    def _reset(self) -> None:
        self.monitors = self.owned.monitors()
        self.next_offset = 0
        self._snapshot_at = 0
        self._published = 0.0
        """When metrics were published last (s, monotonic)."""
        self._published_to = 0
        """The next offset then."""
        self._last_ts = 0

    # ------------------------------------------------------------------ ownership

    @property
    def note(self) -> str:
        """What the next transaction is to say of this owner's progress, beside the offset."""
        return ""

    def published(self, committed: bool) -> None:
        """Take note of whether the transaction of what was given last has committed."""

    def take_over(self, committed: int | None, note: str = "") -> None:
        """Restore the monitors to where the last owner published, silently (blocks).

        Parameters
        ----------
        committed
            The group's offset of the topic; None when nobody has owned it yet.
        note
            What the last owner's transaction said beside it.
        """
        loop, topic = self.loop, self.owned.topic
        self.held = False  # nobody is shown a state that is half restored
        self._reset()
        until = committed or 0
        started = time.monotonic()
        self.place = LogPlace(topic, self.owned.topic_id())
        self.next_offset = restore_monitors(
            self.owned.name, self.monitors, self.store, loop.task.name, self.place, until
        )
        try:
            self.next_offset = start_of(loop, topic, self.next_offset)
        except RecordsGone as gone:
            if not self.owned.lossy:
                raise
            self.next_offset = extents(loop.connection, [(topic, 0)])[topic, 0].first
            until = max(until, self.next_offset)
            log.warning("%s: goes on without what is gone: %s", loop.task.name, gone)
        for message in read_all(loop.connection, topic, 0, self.next_offset, until):
            for _ in self._fold(message):
                pass  # the last owner has published it
        self._snapshot_at = until // self.owned.snapshot_every
        self._published_to = until
        self.held = True
        log.info(
            "%s: owner of %s from offset %d, monitors restored in %.2f s",
            *(loop.task.name, topic, until, time.monotonic() - started),
        )

    def release(self) -> None:
        """Stop publishing: another worker holds the partition."""
        self.held = False

    # ------------------------------------------------------------------ a batch

    def steps(self, messages: list[Any]) -> Iterator[OutRecord | None]:
        """Fold a batch of the topic's records; gives what is to be published with its offset.

        A None comes after each record: a place where the event loop may do something else.
        """
        for message in messages:
            yield from self._fold(message)
            yield None
        yield from self.metric_records()

    def snapshot_due(self) -> bool:
        """Whether it is time for snapshots; says so once."""
        due = self.next_offset // self.owned.snapshot_every
        if due <= self._snapshot_at:
            return False
        self._snapshot_at = due
        return True

    def _fold(self, message: Any) -> Iterator[OutRecord]:
        """Fold one record; gives the alerts that it raises."""
        loop, offset = self.loop, message.offset()
        self.next_offset = offset + 1
        try:
            item = self.owned.read(message)
        except BadRecord as bad:
            if not self.owned.unreadable:
                raise
            loop.counts[self.owned.unreadable] += 1
            log.error("%s: %s@%d cannot be read: %s", loop.task.name, self.owned.topic, offset, bad)
            return
        if item is None:
            return
        for monitor in self.monitors:
            monitor.apply(offset, item)
        ts = self.owned.time(item)
        if ts is not None:
            self._last_ts = max(self._last_ts, ts)
        for monitor in self.monitors:
            for alert in monitor.alerts():
                yield OutRecord(loop.topics.alerts, monitor.name.encode(), loop.codec.encode(alert), 0)

    def metric_records(self) -> Iterator[OutRecord]:
        """Give the measurements as of now, where it is time for them and something has come since the last."""
        loop, now = self.loop, time.monotonic()
        early = (now - self._published) * 1000 < loop.settings.metrics_every_ms
        if early or not self.held or self.next_offset <= self._published_to:
            return
        self._published, self._published_to = now, self.next_offset
        for monitor in self.monitors:
            for each in monitor.measurements():
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
                    task=loop.task.name,
                )
                yield OutRecord(loop.topics.metrics, monitor.name.encode(), loop.codec.encode(metric), 0)

    def measurements(self) -> list[Measurement]:
        """Give the current values of all monitors; none while another worker holds the partition."""
        return [each for monitor in self.monitors for each in monitor.measurements()] if self.held else []

    # ------------------------------------------------------------------ snapshots

    def snapshot_records(self) -> Iterator[OutRecord]:
        """Write snapshots as of now; gives their manifests (blocks).

        A store that cannot be written costs the snapshot and never the service: the topic still holds all of it.
        """
        for take in self._takes():
            try:
                yield from self._store(take())
            except Exception as error:
                self.loop.counts["snapshots_failed"] += 1
                log.error(
                    "%s: no snapshot at %s offset %d, the next one is tried after %d records: %s: %s",
                    *(self.loop.task.name, self.owned.topic.rpartition(".")[2], self.next_offset - 1),
                    *(self.owned.snapshot_every, type(error).__name__, error),
                    exc_info=None if isinstance(error, OSError | SnapshotError) else error,
                )

    def _takes(self) -> Iterator[Callable[[], Snapshot]]:
        """Give what takes each snapshot."""
        # What could not be read is no part of a state: the monitors' own offset counts.
        at = max(each.next_offset for each in self.monitors)
        told = (self.loop.task, runtime_fingerprint()[1], now_ms())
        yield partial(pack_monitors, self.owned.name, self.monitors, at, self.place, *told)

    def _stored(self, manifest: Manifest) -> None:
        """Take note of a snapshot that was written."""

    def _store(self, taken: Snapshot) -> Iterator[OutRecord]:
        loop = self.loop
        manifest = self.store.save(taken.manifest, taken.state, taken.probes)
        self._stored(manifest)
        loop.counts["snapshots"] += 1
        yield OutRecord(loop.topics.snapshots, manifest.version.encode(), loop.codec.encode(manifest), 0)
        for old in self._retire(manifest):
            yield OutRecord(loop.topics.snapshots, old.encode(), None, 0)

    def _retire(self, newest: Manifest) -> Iterator[str]:
        """Delete all but the newest few snapshots of a model, or of the monitors; gives their versions."""
        loop = self.loop
        mine = [
            each
            for each in self.store.manifests(loop.task.name)
            if (each.model, each.kind) == (newest.model, newest.kind)
        ]
        for old in mine[loop.settings.snapshots_kept :]:
            self.store.delete(loop.task.name, old.version)
            yield old.version
