"""Other revisions of a worker's models: they follow the log beside its own, and take over when the log says so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from confluent_kafka import Message

from infra.kafka.log import read_all
from infra.snapshots.models import LogPlace, restore
from infra.snapshots.past import PastVersions
from infra.snapshots.store import SnapshotStore
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from schemas.records import Command, Entry
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.revisions import ANCHORS, LEFT_OUT

log = logging.getLogger(__name__)


class OtherRevisions:
    """Folds of other revisions of the same specifications, which leave out something else of the log.

    Parameters
    ----------
    store, place
        Where snapshots lie, and the log that they belong to.
    read
        Returns the entry of a record of the log, or None for one that is skipped.
    """

    def __init__(
        self,
        context: TaskContext,
        store: SnapshotStore,
        place: LogPlace,
        readiness: Readiness,
        read: Callable[[Message], Entry | None],
    ) -> None:
        self._context, self._store, self._place = context, store, place
        self._readiness, self._read = readiness, read
        self.folds: dict[str, ModelFold] = {}
        """By model: a fold at the same offset as the worker's own, which takes over when the log opens its
        revision."""
        self.past = PastVersions(context.loaded, store, place, self._entries)

    def take_over(self, fold: ModelFold, offset: int, command: Command, parents: dict[str, str]) -> None:
        """Let a model go on as the revision that a rollback has opened, if that is of its identity (may block)."""
        arguments, model = command.arguments, command.model
        text = arguments.get(LEFT_OUT, "")
        mine = (fold.model.name, fold.spec) == (model, arguments["spec"])
        if not mine or arguments["runtime"] not in fold.runtimes or fold.leave_out.text == text:
            return
        before, other = fold.version, self.folds.pop(model, None)
        if other is None or other.leave_out.text != text:
            other = self._folded(fold, LeaveOut.read(text), offset + 1)
        fold.take_over(other)
        if anchors := arguments.get(ANCHORS, "").split():
            parents[model] = anchors[0]
        log.info(
            "%s: %s takes over from %s; it leaves out %s",
            *(self._context.task.name, fold.version, before, fold.leave_out or "nothing"),
        )

    def restored(self, fold: ModelFold, leave_out: LeaveOut) -> ModelFold | None:
        """Return another revision as its newest snapshot has it (blocks); None without one."""
        other = self.past.fresh(fold, leave_out)
        other.prepare()  # not with the first entry, while requests wait
        found = restore(other, self._store, self._place, self._context.loaded.classes)
        return None if found is None else other

    def _folded(self, fold: ModelFold, leave_out: LeaveOut, end: int) -> ModelFold:
        """Fold another revision up to an offset, from its newest snapshot (blocks)."""
        started, model = time.monotonic(), fold.model.name
        self._readiness.not_ready(f"folding another revision of {model}")
        other = self.past.fresh(fold, leave_out)
        restore(other, self._store, self._place, self._context.loaded.classes, at_most=end)
        self.fold_to(other, end)
        log.info("%s: %s is folded in %.2f s", self._context.task.name, model, time.monotonic() - started)
        return other

    def fold_to(self, fold: ModelFold, end: int) -> None:
        """Fold the log into one model up to an offset (blocks)."""
        if fold.next_offset < end:
            for offset, entry in self._entries(fold.next_offset, end):
                fold.apply(offset, entry)
            fold.next_offset = end

    def _entries(self, start: int, end: int) -> Iterator[tuple[int, Entry]]:
        for message in read_all(self._context.connection, self._context.topics.log, 0, start, end):
            offset, entry = message.offset(), self._read(message)
            assert offset is not None
            if entry is not None:
                yield offset, entry
