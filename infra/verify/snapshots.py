"""Snapshots in verification: refolding begins with some where the log is cut, and compares all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infra.snapshots.models import LogPlace, check_probes, opened
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from infra.verify.report import Report
from schemas.errors import SnapshotError, UsageError
from schemas.records import Manifest
from streams.model import ModelFold
from streams.task_model import Model
from streams.verify import Difference
from streams.version import Version

ToCompare = Mapping[tuple[str, str], list[tuple[Manifest, bool]]]
"""By model and what is left out, in the order of the log: snapshots, and whether each is stored."""


def is_renamed_later(fold: ModelFold, manifest: Manifest) -> bool:
    """Whether a later command can give a fold's state the number of a snapshot's revision.

    A rollback sets a number apart, and its state bears it until the revision is opened.
    """
    return fold.revision is None and Version.parse(manifest.version).revision > fold.learned_version.revision


class Snapshots:
    """The snapshots of a task, for one verification.

    Parameters
    ----------
    store
        Where they lie; None: only those that are announced are compared, by their digests.
    fresh
        Makes a fold of a model that leaves something out, with nothing learned.
    """

    def __init__(
        self,
        loaded: LoadedTask,
        store: SnapshotStore | None,
        place: LogPlace,
        runtime: str,
        report: Report,
        fresh: Callable[[Model, str], ModelFold],
    ) -> None:
        self._loaded, self._store, self._place, self._runtime = loaded, store, place, runtime
        self.report, self._fresh = report, fresh
        self.anchored: dict[int, int] = {}
        """The revision of the snapshot from which a fold begins, by the fold's `id`."""

    def start_from_anchors(self, model: str, mine: list[ModelFold], first: int) -> list[ModelFold]:
        """Restore the folds of a model; returns those that have no snapshot. One must have one."""
        without = [each for each in mine if not self._start_from_anchor(each, first)]
        if len(without) == len(mine):
            store = "" if self._store is None else self._store.uri
            raise UsageError(
                f"{self._place.topic} begins at offset {first}, and {store} has no snapshot of "
                f"{model} from there: scores cannot be reproduced"
            )
        return without

    def _start_from_anchor(self, fold: ModelFold, first: int) -> bool:
        """Restore a fold from the oldest snapshot from which the rest of the log can be folded."""
        if self._store is None:
            raise UsageError(
                f"{self._place.topic} begins at offset {first}, so that refolding needs a snapshot: set --snapshots"
            )
        for manifest in reversed(self._store.manifests(self._loaded.task.name)):
            if manifest.next_offset < first or not self._fits(fold, manifest):
                continue
            try:
                stored = self._store.load(self._loaded.task.name, manifest.version)
                fold.restore(opened(stored, fold.model, self._loaded.classes))
                check_probes(fold, stored)
            except SnapshotError as error:
                self.report.notes.append(f"skipped snapshot {manifest.version}: {error}")
                fold.restore(self._fresh(fold.model, fold.leave_out.text).snapshot())
                continue
            self.anchored[id(fold)] = fold.learned_version.revision
            self.report.notes.append(f"{fold.model.name} is refolded from snapshot {manifest.version}")
            return True
        return False

    def _fits(self, fold: ModelFold, manifest: Manifest) -> bool:
        identity = (manifest.spec, manifest.runtime, manifest.leave_out)
        mine = (fold.spec, self._runtime, fold.leave_out.text)
        lineage = (manifest.kind, manifest.model, manifest.log_topic_id)
        return (*lineage, identity) == ("model", fold.model.name, self._place.topic_id, mine)

    def to_compare(self, announced: Mapping[str, Manifest], folds: list[ModelFold], end: int) -> ToCompare:
        """Return the snapshots to compare with the folds, up to the log's end."""
        found = {version: (manifest, False) for version, manifest in announced.items()}
        if self._store is not None:
            for manifest in self._store.manifests(self._loaded.task.name):
                published = found.get(manifest.version, (manifest, False))[0]
                if (
                    published.state_digest != manifest.state_digest
                    and published.log_topic_id == manifest.log_topic_id
                ):
                    what = f"snapshot {manifest.version} in {self._store.uri} differs from the published one"
                    self.report.fail(
                        [Difference(what, manifest.version, published.state_digest, manifest.state_digest)]
                    )
                found[manifest.version] = (manifest, True)
        models = [manifest for manifest, _ in found.values() if manifest.kind == "model"]
        apart = len(models) - sum(self._fits(fold, each) for fold in folds for each in models)
        if apart:
            self.report.notes.append(
                f"{apart} snapshots belong to another log, revision or runtime and were not compared"
            )
        mine = {}
        for fold in folds:
            fitting = [
                (manifest, stored)
                for manifest, stored in found.values()
                if manifest.model == fold.model.name
                and self._fits(fold, manifest)
                and manifest.next_offset <= end
            ]
            mine[fold.model.name, fold.leave_out.text] = sorted(
                fitting, key=lambda each: (each[0].log_offset, Version.parse(each[0].version).revision)
            )
        return mine

    def check(self, fold: ModelFold, manifest: Manifest, stored: bool) -> None:
        """Compare a snapshot with the model refolded up to its version."""
        self.report.snapshots += 1
        learner = fold.learner
        declared = f"{manifest.learned} learned, {manifest.skipped} skipped, state {manifest.state_digest}"
        mine = f"{learner.learned} learned, {learner.skipped} skipped, state {fold.learned_digest}"
        if manifest.left_out != fold.left_out_text:
            declared += f", left out {manifest.left_out}"
        if manifest.version != str(fold.learned_version) or declared != mine:
            what = f"snapshot {manifest.version} differs from the fold of the log"
            self.report.fail([Difference(what, manifest.version, mine, declared)])
        if not stored or self._store is None:
            return
        try:
            blob = self._store.load(self._loaded.task.name, manifest.version)
            twin = self._fresh(fold.model, fold.leave_out.text)
            twin.restore(opened(blob, twin.model, self._loaded.classes))
            check_probes(twin, blob)
        except SnapshotError as error:
            what = f"snapshot {manifest.version} cannot be used"
            self.report.fail(
                [Difference(what, self._store.where(fold.task.name, manifest.version), "", str(error))]
            )
