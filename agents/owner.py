"""The log's owner: opens revisions, publishes metrics and snapshots, commits its offset with them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from agents.follow import Follow
from agents.loop import TaskLoop, now_ms
from infra.kafka.log import NEWER_SNAPSHOT, read_all
from infra.kafka.offsets import refuse_if_gone
from infra.kafka.transaction import OutRecord
from infra.past import PREFIX
from infra.runtime import runtime_fingerprint
from infra.snapshots.metrics import pack_metrics, restore_metrics
from infra.snapshots.models import LogPlace, git_commit, pack
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.compatibility import undocumented
from schemas.errors import SnapshotError
from schemas.records import Control, Entry, Manifest, Metric
from streams.fold import Measurement, Monitor
from streams.metrics.loop import LoopHealth
from streams.metrics.served import ServedMetrics
from streams.monitors import monitors

log = logging.getLogger(__name__)


class Owner:
    """Folds the monitors of one task and publishes, while this worker holds the log's partition.

    Parameters
    ----------
    loop
        The task's.
    follow
        This worker's folds of the models: their states are what is snapshotted.
    store
        Where snapshots lie.
    """

    def __init__(self, loop: TaskLoop, follow: Follow, store: SnapshotStore) -> None:
        self.loop, self.follow, self.store = loop, follow, store
        self.held = False
        self._commit = git_commit(loop.loaded.folder)
        self._reset()

    def _reset(self) -> None:
        self.monitors: list[Monitor] = monitors(self.loop.task)
        self.next_offset = 0
        self._snapshot_at = 0
        self._published = 0.0
        self._last_ts = 0
        self._told: tuple[int, float, dict[str, Any]] = (-1, 0.0, {})
        """What was told last: the offset then, when (s, monotonic), and what."""

    # ------------------------------------------------------------------ ownership

    def take_over(self, committed: int | None) -> None:
        """Restore the monitors to where the last owner published, silently (blocks).

        Parameters
        ----------
        committed
            The group's offset of the log; None when nobody has owned it yet.
        """
        loop = self.loop
        self.held = False  # nobody is shown a state that is half restored
        self._reset()
        until = committed or 0
        started = time.monotonic()
        place = LogPlace(loop.topics.log, loop.log_topic_id)
        self.monitors, self.next_offset = restore_metrics(loop.task, self.store, place, until)
        refuse_if_gone(loop.connection, {(loop.topics.log, 0): self.next_offset}, NEWER_SNAPSHOT)
        for message in read_all(loop.connection, loop.topics.log, 0, self.next_offset, until):
            for _ in self._fold(message):
                pass  # the last owner has published it
        self._snapshot_at = until // loop.settings.snapshot_every
        self.held = True
        log.info(
            "%s: owner of the training log from offset %d, monitors restored in %.2f s",
            loop.task.name,
            until,
            time.monotonic() - started,
        )

    def release(self) -> None:
        """Stop publishing: another worker owns the log."""
        self.held = False

    def openings(self) -> Iterator[OutRecord]:
        """Give the commands that put this worker's models in force, where the log has others or none."""
        loop, key = self.loop, self.loop.task.name.encode()
        for fold in loop.models:
            if fold.in_force:
                continue
            command = fold.opening()
            # Whoever reads the log later, with whatever dictionary, learns here how its entries are written.
            schemas = {
                f"{PREFIX}{name}": json.dumps(undocumented(loop.codec.schemas[name]))
                for name in ("Request", "Entry", "Prediction")
            }
            told = {"dictionary": loop.task.features.digest} | schemas
            command = replace(command, arguments={**command.arguments, **told})
            number = command.arguments["revision"]
            entry = Entry(
                f"{loop.task.name}/{fold.model.name}/revision/{number}", "command", now_ms(), command=command
            )
            log.info(
                "%s: opens revision %s of %s: %s", loop.task.name, number, fold.model.name, command.reason
            )
            audit = Control("audit", command, entry.ts, entry.entry_id)
            # JSON, because the schema of an entry depends on the dictionary, and this one is to be read by all.
            yield OutRecord(loop.topics.log, key, loop.codec.encode(entry, json=True), 0)
            yield OutRecord(loop.topics.control, key, loop.codec.encode(audit))

    # ------------------------------------------------------------------ a batch

    def process(self, messages: list[Any]) -> Iterator[OutRecord]:
        """Fold a batch of the log's records; gives what is to be published with its offset."""
        for message in messages:
            yield from self._fold(message)
        loop = self.loop
        now = time.monotonic()
        if (now - self._published) * 1000 >= loop.settings.metrics_every_ms:
            self._published = now
            yield from self._metric_records()
        due = self.next_offset // loop.settings.snapshot_every
        if due > self._snapshot_at:
            self._snapshot_at = due
            yield from self.snapshot_records()

    def _fold(self, message: Any) -> Iterator[OutRecord]:
        """Fold one record of the log; gives the alerts that it raises."""
        loop, offset = self.loop, message.offset()
        entry = loop.codec.decode_entry(message.value())
        for monitor in self.monitors:
            monitor.apply(offset, entry)
        self.next_offset = offset + 1
        if entry.command is None:  # whose time is the wall clock
            self._last_ts = max(self._last_ts, entry.ts)
        for monitor in self.monitors:
            for alert in monitor.alerts():
                yield OutRecord(loop.topics.alerts, monitor.name.encode(), loop.codec.encode(alert))

    def _metric_records(self) -> Iterator[OutRecord]:
        loop = self.loop
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
                yield OutRecord(loop.topics.metrics, monitor.name.encode(), loop.codec.encode(metric))

    # ------------------------------------------------------------------ what a page and an exporter show

    def measurements(self) -> list[Measurement]:
        """Give the current values of all monitors; none while another worker owns the log."""
        return [each for monitor in self.monitors for each in monitor.measurements()] if self.held else []

    def status(self) -> dict[str, Any]:
        """Give what the monitors know: the models' part by name under `models`, the loop's under `loop`.

        Worked out at most once per cadence of the metrics, except for the cumulative metrics.
        """
        if not self.held:
            return {"models": {}}
        served = [each for each in self.monitors if isinstance(each, ServedMetrics)]
        offset, at, told = self._told
        now = time.monotonic()
        if offset != self.next_offset and (now - at) * 1000 >= self.loop.settings.metrics_every_ms:
            health = [each for each in self.monitors if isinstance(each, LoopHealth)]
            told = {each.name: each.status() for each in served} | {
                each.name: each.status() for each in health
            }
            self._told = (self.next_offset, now, told)
        models = {
            each.name: {
                "metrics": each.get() if each.n else {},
                "n": each.n,
                "quality": told.get(each.name, {}),
            }
            for each in served
        }
        return {"models": models, "loop": told.get(LoopHealth.name, {})}

    # ------------------------------------------------------------------ snapshots

    def snapshot_records(self) -> Iterator[OutRecord]:
        """Write snapshots of the models and the monitors as they are now; gives their manifests (blocks).

        A store that cannot be written costs the snapshot and never the service: the log still holds all of it.
        """
        for take in self._takes():
            try:
                yield from self._stored(take())
            except Exception as error:
                self.loop.counts["snapshots_failed"] += 1
                log.error(
                    "%s: no snapshot at log offset %d, the next one is tried after %d entries: %s: %s",
                    *(self.loop.task.name, self.next_offset - 1, self.loop.settings.snapshot_every),
                    *(type(error).__name__, error),
                    exc_info=None if isinstance(error, OSError | SnapshotError) else error,
                )

    def _takes(self) -> Iterator[Callable[[], Snapshot]]:
        loop, place = self.loop, LogPlace(self.loop.topics.log, self.loop.log_topic_id)
        text = runtime_fingerprint()[1]
        recent = list(self.follow.recent)
        served = {each.name: each.get() for each in self.monitors if isinstance(each, ServedMetrics)}
        for fold in loop.models:
            if fold.in_force:
                told = (loop.codec.fingerprints, served[fold.model.name], recent, now_ms())
                parent = self.follow.parents.get(fold.model.name)
                parents = (parent,) if parent and parent != str(fold.version) else ()
                yield partial(pack, fold, place, text, *told, parents=parents, commit=self._commit)
        yield partial(pack_metrics, self.monitors, self.next_offset, place, loop.task, text, now_ms())

    def _stored(self, taken: Snapshot) -> Iterator[OutRecord]:
        loop = self.loop
        manifest = self.store.save(taken.manifest, taken.state, taken.probes)
        self.follow.parents[manifest.model] = manifest.version
        loop.counts["snapshots"] += 1
        key, value = manifest.version.encode(), loop.codec.encode(manifest)
        yield OutRecord(loop.topics.snapshots, key, value)
        for old in self._retire(manifest):
            yield OutRecord(loop.topics.snapshots, old.encode(), None)

    def _retire(self, newest: Manifest) -> Iterator[str]:
        """Delete all but the newest few snapshots of a model; gives their versions."""
        loop = self.loop
        mine = [
            each
            for each in self.store.manifests(loop.task.name)
            if (each.model, each.kind) == (newest.model, newest.kind)
        ]
        for old in mine[loop.settings.snapshots_kept :]:
            self.store.delete(loop.task.name, old.version)
            yield old.version
