"""The owner of the tallies: adds them up, publishes metrics and alerts, commits its offset with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any, Final

from agents.loop import TaskLoop, now_ms
from infra.kafka.admin import topic_id
from infra.kafka.log import read_all
from infra.kafka.offsets import committed_offsets
from infra.kafka.transaction import OutRecord
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import LogPlace
from infra.snapshots.quality import NAME, pack_quality, restore_quality
from infra.snapshots.store import SnapshotStore
from schemas.errors import BadRecord, SnapshotError
from schemas.records import Metric
from streams.fold import Measurement
from streams.quality.monitor import QualityMonitor

SNAPSHOT_EVERY: Final = 1_000
"""Tallies between two snapshots: so many are read again, at most, by a new owner."""
log = logging.getLogger(__name__)


class QualityOwner:
    """Folds `T.quality`, while this worker holds its partition.

    Parameters
    ----------
    loop
        The task's.
    store
        Where snapshots lie.
    """

    def __init__(self, loop: TaskLoop, store: SnapshotStore) -> None:
        self.loop, self.store = loop, store
        self.held = False
        self._reset()

    def _reset(self) -> None:
        task = self.loop.task
        self.monitor = QualityMonitor(task.name, task.features, task.quality)
        self._published = 0.0
        self._snapshot_at = 0

    def take_over(self) -> None:
        """Restore to where the last owner published, silently (blocks)."""
        loop = self.loop
        self.held = False  # nobody is shown a state that is half restored
        self._reset()
        place = (loop.topics.quality, 0)
        until = committed_offsets(loop.connection, loop.settings.group, [place]).get(place) or 0
        start = restore_quality(self.monitor, self.store, self._place(), until)
        for message in read_all(loop.connection, loop.topics.quality, 0, start, until):
            self._fold(message)
        list(self.monitor.alerts())  # published by the last owner
        self._snapshot_at = until // SNAPSHOT_EVERY
        self.held = True

    def release(self) -> None:
        """Stop publishing: another worker holds the partition."""
        self.held = False

    def process(self, messages: list[Any]) -> Iterator[OutRecord]:
        """Fold a batch of tallies; gives what is to be published with its offset."""
        loop = self.loop
        for message in messages:
            self._fold(message)
            for alert in self.monitor.alerts():
                yield OutRecord(loop.topics.alerts, NAME.encode(), loop.codec.encode(alert))
        now = time.monotonic()
        if (now - self._published) * 1000 >= loop.settings.metrics_every_ms:
            self._published = now
            yield from self._metric_records()
        due = self.monitor.next_offset // SNAPSHOT_EVERY
        if due > self._snapshot_at:
            self._snapshot_at = due
            yield from self._snapshot()

    def measurements(self) -> list[Measurement]:
        """Give the current values; none while another worker adds the tallies up."""
        return list(self.monitor.measurements()) if self.held else []

    def _fold(self, message: Any) -> None:
        try:
            tally = self.loop.codec.decode_tally(message.value())
        except BadRecord as bad:
            self.loop.counts["tallies_unreadable"] += 1
            at = (message.topic(), message.partition(), message.offset())
            log.error("%s: %s[%d]@%d is no tally: %s", self.loop.task.name, *at, bad)
            return
        self.monitor.apply(message.offset(), tally)

    def _metric_records(self) -> Iterator[OutRecord]:
        loop, monitor = self.loop, self.monitor
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
                log_offset=monitor.next_offset - 1,
                ts=monitor.newest,
                segment=each.segment,
                task=loop.task.name,
            )
            yield OutRecord(loop.topics.metrics, NAME.encode(), loop.codec.encode(metric))

    def _snapshot(self) -> Iterator[OutRecord]:
        """Write a snapshot; one that cannot be written costs a new owner time, and nobody anything else."""
        loop = self.loop
        try:
            taken = pack_quality(self.monitor, self._place(), runtime_fingerprint()[1], now_ms())
            manifest = self.store.save(taken.manifest, taken.state, taken.probes)
            old = [each for each in self.store.manifests(loop.task.name) if each.model == NAME]
            for each in old[loop.settings.snapshots_kept :]:
                self.store.delete(loop.task.name, each.version)
                yield OutRecord(loop.topics.snapshots, each.version.encode(), None)
        except (OSError, SnapshotError) as error:
            loop.counts["snapshots_failed"] += 1
            log.error("%s: no snapshot of the requests' quality: %s", loop.task.name, error)
            return
        yield OutRecord(loop.topics.snapshots, manifest.version.encode(), loop.codec.encode(manifest))

    def _place(self) -> LogPlace:
        topic = self.loop.topics.quality
        return LogPlace(topic, topic_id(self.loop.connection, topic))
