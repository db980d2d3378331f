"""The log's owner: opens revisions, and writes snapshots of the models beside those of the monitors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial

from agents.follow import Follow
from agents.loop import TaskLoop, now_ms
from agents.owner import Owned, Owner
from infra.kafka.log import read_all
from infra.kafka.transaction import OutRecord
from infra.past import PREFIX
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import git_commit, pack
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.alert import Alert
from schemas.codec.compatibility import undocumented
from schemas.records import Control, Entry, Manifest
from streams.learning_steps import FAMILY
from streams.metrics.served import ServedMetrics
from streams.model import ModelFold
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
        self._told_to = self._telling_to = 0
        """What the models passed over below this log offset is published; and when the next transaction commits."""
        self._commit = git_commit(loop.loaded.folder)

    # ------------------------------------------------------------------ what the models have not learned

    @property
    def note(self) -> str:
        """See `Owner.note`: up to which log offset it is published what the models passed over.

        The models are folded apart from the monitors, and may be behind them or ahead.
        """
        return str(self._telling_to)

    def published(self, committed: bool) -> None:
        """See `Owner.published`."""
        if committed:
            self._told_to = self._telling_to
        else:
            self._telling_to = self._told_to

    def take_over(self, committed: int | None, note: str = "") -> None:
        """See `Owner.take_over`."""
        super().take_over(committed, note)
        # Without a note of ours nobody knows it: rather once too few than twice.
        self._told_to = self._telling_to = int(note) if note.isdecimal() else committed or 0

    def metric_records(self) -> Iterator[OutRecord]:
        """See `Owner.metric_records`; before them the alerts on what the models have not learned."""
        self._telling_to = self._told_to
        if self.held and all(fold.in_force for fold in self.loop.models):
            yield from self._untold(())
        yield from super().metric_records()

    def _untold(self, opened: Collection[ModelFold]) -> Iterator[OutRecord]:
        """Give the alerts below where all models are that are not published; of models being opened all of them."""
        loop, self._telling_to = self.loop, max(self._told_to, self.follow.next_offset)
        for fold in loop.models:
            new = fold in opened
            since, revision = (0, fold.next_revision) if new else (self._told_to, fold.version.revision)
            for alert in fold.alerts(revision, since):
                if alert.log_offset < self._telling_to:
                    yield OutRecord(loop.topics.alerts, FAMILY.encode(), loop.codec.encode(alert), 0)

    def endings(self, names: Collection[str]) -> Iterator[OutRecord]:
        """Give what closes the episodes of models whose revisions end, as the topic has them (blocks)."""
        loop = self.loop
        last: dict[str, Alert] = {}
        for message in read_all(loop.connection, loop.topics.alerts):
            if message.key() == FAMILY.encode():
                alert = loop.codec.decode_alert(message.value())
                last[alert.episode] = alert
        for alert in last.values():
            if alert.state != "closed" and alert.model in names:
                text = f"A new revision of {alert.model} is opened."
                ended = replace(alert, state="closed", request_id="", exception="", text=text)
                yield OutRecord(loop.topics.alerts, FAMILY.encode(), loop.codec.encode(ended), 0)

    # ------------------------------------------------------------------ revisions and snapshots

    def openings(self) -> Iterator[OutRecord]:
        """Give the commands that put this worker's models in force, where the log has others or none.

        With them goes what these have not learned of the log so far.
        """
        loop, key = self.loop, self.loop.task.name.encode()
        opened = [fold for fold in loop.models if not fold.in_force]
        yield from self._untold(opened)
        for fold in opened:
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
