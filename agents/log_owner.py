"""The log's owner: opens revisions, and writes snapshots of the models beside those of the monitors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from agents.follow import Follow
from agents.loop import TaskLoop, now_ms
from agents.owner import Owned, Owner
from infra.kafka.transaction import OutRecord
from infra.past import PREFIX
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import git_commit, pack
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.compatibility import undocumented
from schemas.records import Control, Entry, Manifest
from streams.metrics.served import ServedMetrics
from streams.monitors import monitors

log = logging.getLogger(__name__)


class LogOwner(Owner[Entry]):
    """The owner of a task's log.

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
        super().__init__(
            loop,
            store,
            Owned(
                "metrics",
                loop.topics.log,
                lambda: loop.log_topic_id,
                lambda: monitors(loop.task),
                lambda message: loop.entries.read(loop.codec, message),
                # The time of a command is the wall clock.
                lambda entry: entry.ts if entry.command is None else None,
                loop.settings.snapshot_every,
            ),
        )
        self.follow = follow
        self._commit = git_commit(loop.loaded.folder)

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
            yield OutRecord(loop.topics.control, key, loop.codec.encode(audit), 0)

    def _takes(self) -> Iterator[Callable[[], Snapshot]]:
        loop, text, recent = self.loop, runtime_fingerprint()[1], list(self.follow.recent)
        served = {each.name: each.get() for each in self.monitors if isinstance(each, ServedMetrics)}
        for fold in () if self.follow.failed else loop.models:
            if fold.in_force:
                told = (loop.codec.fingerprints, served[fold.model.name], recent, now_ms())
                parent = self.follow.parents.get(fold.model.name)
                parents = (parent,) if parent and parent != str(fold.version) else ()
                yield partial(pack, fold, self.place, text, *told, parents=parents, commit=self._commit)
        yield from super()._takes()

    def _stored(self, manifest: Manifest) -> None:
        if manifest.kind == "model":
            self.follow.parents[manifest.model] = manifest.version
