"""The metric folds to snapshots and back: `metrics.1@offset` beside the models' versions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from infra.snapshots.models import LogPlace, stored_manifests
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.errors import SnapshotError
from schemas.records import Manifest
from streams import snapshot
from streams.digest import state_digest
from streams.evaluation import ServedMetrics
from streams.task import Task
from streams.version import Version

NAME = "metrics"
log = logging.getLogger(__name__)


def pack_metrics(
    folds: Sequence[ServedMetrics],
    next_offset: int,
    place: LogPlace,
    task: Task,
    runtime_text: str,
    created_at: int,
) -> Snapshot:
    """Take a snapshot of the metric folds, which have all read up to `next_offset`."""
    state = {fold.model.name: fold.snapshot() for fold in folds}
    specs = "/".join(task.spec(fold.model) for fold in folds)
    manifest = Manifest(
        version=str(Version(NAME, 1, next_offset - 1)),
        parents=(),
        kind="metrics",
        task=task.name,
        model=NAME,
        revision=1,
        log_topic=place.topic,
        log_topic_id=place.topic_id,
        log_offset=next_offset - 1,
        next_offset=next_offset,
        learned=0,
        spec=specs,
        spec_text="cumulative metrics of " + ", ".join(fold.model.name for fold in folds),
        state_digest=state_digest(state),
        state_sha256="",
        dictionary=task.features.digest,
        schemas={},
        runtime="",
        runtime_text=runtime_text,
        metrics={f"{fold.model.name}.{name}": value for fold in folds for name, value in fold.get().items()},
        author="riverloop",
        git_commit="",
        created_at=created_at,
    )
    return Snapshot(manifest, snapshot.dump(state), [])


def restore_metrics(
    folds: Sequence[ServedMetrics], store: SnapshotStore, place: LogPlace, task: str, at_most: int
) -> int:
    """Restore the metric folds from the newest good snapshot at or below an offset; gives where to go on."""
    for manifest in stored_manifests(store, task):
        fits = (
            manifest.kind == "metrics"
            and manifest.log_topic_id == place.topic_id
            and manifest.next_offset <= at_most
            and manifest.spec == "/".join(fold.task.spec(fold.model) for fold in folds)
        )
        if not fits:
            continue
        try:
            state = snapshot.load(store.load(task, manifest.version).state)
            if not all(_is_of(state, fold, manifest) for fold in folds):
                raise SnapshotError(f"{manifest.version} does not hold the metrics of its manifest")
            if state_digest(state) != manifest.state_digest:
                raise SnapshotError(f"{manifest.version}: the state's digest is not the manifest's")
        except SnapshotError as error:
            log.warning("snapshot %s is passed over: %s", manifest.version, error)
            continue
        for fold in folds:
            fold.restore(state[fold.model.name])
        return manifest.next_offset
    return 0


def _is_of(state: Any, fold: ServedMetrics, manifest: Manifest) -> bool:
    """Whether a state has the form of a fold's, so that the fold can go on from it."""
    told = state.get(fold.model.name) if isinstance(state, dict) else None
    return (
        isinstance(told, dict)
        and told.keys() == fold.snapshot().keys()
        and told["next_offset"] == manifest.next_offset
        and isinstance(told["metrics"], dict)
        and [*map(type, told["metrics"].values())] == [*map(type, fold.metrics.values())]
    )
