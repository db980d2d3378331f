"""States of earlier versions of a model: from their snapshots, or folded from the log once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from infra.snapshots.models import LogPlace, opened, restore
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from schemas.errors import SnapshotError
from schemas.records import Entry
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.model_state import ModelState
from streams.snapshot.digest import state_digest
from streams.version import Version

Read = Callable[[int, int], Iterator[tuple[int, Entry]]]
"""Returns the entries of the log from an offset on, below an end, each with its offset."""


class PastVersions:
    """The states of earlier versions of a task's models.

    Parameters
    ----------
    store
        Where snapshots lie; None: every state is folded from the log's beginning.
    place
        The log.
    read
        Reads it; None: only snapshots are used.
    core
        What learns and scores, as in `streams.native.CORES`.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        store: SnapshotStore | None,
        place: LogPlace,
        read: Read,
        core: str = "",
    ) -> None:
        self._loaded, self._store, self._place, self._read, self._core = loaded, store, place, read, core
        self._prepared: dict[Version, ModelState] = {}

    def serve(self, fold: ModelFold) -> None:
        """Let a fold get its earlier states here."""
        fold.past = lambda version: self.state(fold, version)

    def prepare(self, fold: ModelFold, version: Version) -> bool:
        """Load a version's snapshot, for the next call of `state`; gives whether there is one."""
        if version not in self._prepared and (state := self._stored(fold, version)) is not None:
            self._prepared[version] = state
        return version in self._prepared

    def state(self, fold: ModelFold, version: Version) -> ModelState | None:
        """Return the state of a version of a fold's specification (may block).

        Returns
        -------
        ModelState or None
            None where the log does not lead to that version.
        """
        state = self._prepared.pop(version, None) or self._stored(fold, version)
        if state is None:
            twin = self.refolded(fold, version)
            state = None if twin is None else twin.snapshot()
        return state

    def refolded(self, fold: ModelFold, version: Version) -> ModelFold | None:
        """Fold the log up to a version, from the nearest snapshot; None where it does not lead there."""
        known = fold.roles.revisions.of(version.model)
        found = next((each for each in known if each.number == version.revision), None)
        if found is None:
            return None
        twin = self.fresh(fold, LeaveOut.read(found.left_out))
        if self._store is not None:
            restore(twin, self._store, self._place, self._loaded.classes, at_most=version.offset + 1)
        for offset, entry in self._read(twin.next_offset, version.offset + 1):
            twin.apply(offset, entry)
        return twin if twin.learned_version == version else None

    def fresh(self, fold: ModelFold, leave_out: LeaveOut) -> ModelFold:
        """Return a fold of the same specification with nothing learned."""
        equals = fold.runtimes - {fold.runtime}
        twin = ModelFold(fold.task, fold.model, fold.runtime, self._core, equals, leave_out)
        self.serve(twin)
        return twin

    def _stored(self, fold: ModelFold, version: Version) -> ModelState | None:
        if self._store is None:
            return None
        task = self._loaded.task.name
        try:
            manifest = self._store.manifest(task, str(version))
            if (manifest.spec, manifest.log_topic_id) != (fold.spec, self._place.topic_id):
                return None
            state = opened(self._store.load(task, str(version)), fold.model, self._loaded.classes)
        except SnapshotError:
            return None
        return state if state_digest(state.estimator) == manifest.state_digest else None
