"""Writing snapshots: the files into the store, the manifests for the topic, the oldest ones away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

from infra.kafka.transaction import OutRecord
from infra.snapshots.store import Snapshot, SnapshotStore
from infra.task.context import TaskContext
from infra.task.statistics import Statistics
from schemas.errors import BrokerError, SnapshotError
from schemas.records import Manifest

Take = Callable[[], Snapshot]
"""Takes one snapshot, as of now."""
EXPECTED: Final = (OSError, SnapshotError)
"""Errors of a store or a state that need no traceback."""
log = logging.getLogger(__name__)


class SnapshotWriter:
    """Writes the snapshots of one topic's folds.

    Parameters
    ----------
    every
        Records between two snapshots: a new owner reads at most that many again.
    kept
        Snapshots that are kept of each model and of the monitors.
    """

    def __init__(
        self,
        context: TaskContext,
        statistics: Statistics,
        store: SnapshotStore,
        topic: str,
        every: int,
        kept: int,
    ) -> None:
        self._context, self._counts, self._kept = context, statistics.counts, kept
        self.store, self._topic, self._every = store, topic, every
        self._written_at = 0
        self.audit_head: Callable[[], tuple[int, str]] | None = None
        """Returns size and head of the audit chain, for the manifests (may block)."""

    def begin(self, offset: int) -> None:
        """Count the records to the next snapshot from an offset on."""
        self._written_at = offset // self._every

    def due(self, offset: int) -> bool:
        """Whether it is time for snapshots at an offset; says so once."""
        found = offset // self._every > self._written_at
        if found:
            self.begin(offset)
        return found

    def taken(self, takes: Iterable[Take], offset: int) -> list[Snapshot]:
        """Take snapshots at an offset; the folds stand still, so nothing is read or written meanwhile."""
        found = []
        for take in takes:
            try:
                found.append(take())
            except Exception as error:
                self._failed(offset, error)
        return found

    def write(
        self, taken: Iterable[Snapshot], offset: int, anchors: Collection[str] = ()
    ) -> Iterator[tuple[Manifest, list[OutRecord]]]:
        """Write the snapshots of an offset; gives each manifest with its records for the topic (blocks).

        Versions among the anchors are never deleted.

        A store that cannot be written costs the snapshot and never the service: the topic still holds all of it.
        """
        for each in taken:
            try:
                yield self._write(each, anchors)
            except Exception as error:
                self._failed(offset, error)

    def _failed(self, offset: int, error: Exception) -> None:
        self._counts["snapshots_failed"] += 1
        log.error(
            "%s: no snapshot at %s offset %d, the next one is tried after %d records: %s: %s",
            *(self._context.task.name, self._topic.rpartition(".")[2], offset - 1),
            *(self._every, type(error).__name__, error),
            exc_info=None if isinstance(error, EXPECTED) else error,
        )

    def _write(self, taken: Snapshot, anchors: Collection[str]) -> tuple[Manifest, list[OutRecord]]:
        manifest = self.store.save(self._with_head(taken.manifest), taken.state, taken.probes)
        self._counts["snapshots"] += 1
        written = {manifest.version: self._context.codec.encode(manifest)}
        retired = dict.fromkeys(self._retire(manifest, anchors))
        return manifest, [
            OutRecord(self._context.topics.snapshots, version.encode(), value, 0)
            for version, value in chain(written.items(), retired.items())
        ]

    def _with_head(self, manifest: Manifest) -> Manifest:
        try:
            size, head = self.audit_head() if self.audit_head is not None else (0, "")
        except BrokerError as error:
            log.warning("%s: a snapshot is written without the audit chain's head: %s", manifest.task, error)
            size, head = 0, ""
        return replace(manifest, audit_size=size, audit_head=head)

    def _retire(self, newest: Manifest, anchors: Collection[str]) -> Iterator[str]:
        """Delete all but the newest few snapshots of a model, or of the monitors; gives their versions.

        Anchors stay, and so does the newest one of each revision: a worker that goes back to its task file
        continues from there.
        """
        mine = [
            each
            for each in self.store.manifests(self._context.task.name)
            if (each.model, each.kind) == (newest.model, newest.kind)
        ]
        revisions = {each.revision for each in mine[: self._kept]}
        for old in mine[self._kept :]:
            if (old.revision in revisions or old.kind != "model") and old.version not in anchors:
                self.store.delete(self._context.task.name, old.version)
                yield old.version
            revisions.add(old.revision)
