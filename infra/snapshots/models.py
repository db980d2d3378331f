"""Model folds to snapshots and back: digests, probes, and the decision whether a snapshot may be used."""

from __future__ import annotations

import logging
import struct
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.errors import SnapshotError
from schemas.records import Features, Manifest, ScoreValue
from streams import snapshot
from streams.model import ModelFold
from streams.model_state import ModelState, intervals_text
from streams.task_model import Model

PROBES = 20
"""Requests that a snapshot carries, with the scores that its state gives."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogPlace:
    """The log that a snapshot is a fold of."""

    topic: str
    topic_id: str


def pack(
    fold: ModelFold,
    place: LogPlace,
    runtime_text: str,
    fingerprints: Mapping[str, str],
    metrics: Mapping[str, float],
    recent: Sequence[Features],
    created_at: int,
    *,
    parents: tuple[str, ...] = (),
    commit: str = "",
) -> Snapshot:
    """Take a snapshot of a model as it is now.

    Parameters
    ----------
    recent
        Features of requests, newest last, for the probes.
    created_at
        Wall clock, ms.
    parents
        The version that this one goes on from, where there is one.
    commit
        Of the checkout that the task file lies in; empty where there is none.
    """
    state = fold.snapshot()
    probes: list[dict[str, Any]] = []
    for features in recent[-PROBES:]:
        score = fold.predict(features)
        probes.append({"features": dict(features), "score": score.score, "label": score.label})
    manifest = Manifest(
        version=state.version,
        parents=parents,
        kind="model",
        task=fold.task.name,
        model=fold.model.name,
        revision=fold.learned_version.revision,
        log_topic=place.topic,
        log_topic_id=place.topic_id,
        log_offset=fold.learned_version.offset,
        next_offset=state.next_offset,
        learned=state.learned,
        spec=fold.spec,
        spec_text=fold.task.model(fold.model.name).describe(),
        state_digest=fold.learned_digest,
        state_sha256="",
        dictionary=fold.task.features.digest,
        schemas=dict(fingerprints),
        runtime=fold.runtime,
        runtime_text=runtime_text,
        metrics=dict(metrics),
        author="riverloop",
        git_commit=commit,
        created_at=created_at,
        skipped=fold.learner.skipped,
        stopped=fold.learner.stopped.offset if fold.learner.stopped else -1,
        left_out=fold.left_out_text,
        leave_out=fold.leave_out.text,
    )
    return Snapshot(manifest, snapshot.dump(state.values()), probes)


def restore(
    fold: ModelFold,
    store: SnapshotStore,
    place: LogPlace,
    classes: Iterable[type],
    *,
    at_most: int | None = None,
) -> Manifest | None:
    """Restore a model from the newest good snapshot of its identity and log.

    A snapshot that is damaged, rejected or does not give its probes' scores is skipped with a warning: the
    one before it, or the log from its beginning, gives the same state.

    Parameters
    ----------
    at_most
        Only snapshots that go on reading at this log offset or before.

    Returns
    -------
    Manifest
        Of the snapshot used; None when the fold starts from nothing.
    """
    for manifest in stored_manifests(store, fold.task.name):
        fits = (
            manifest.kind == "model"
            and manifest.model == fold.model.name
            and manifest.spec == fold.spec
            and manifest.runtime in fold.runtimes
            and manifest.leave_out == fold.leave_out.text
            and manifest.log_topic_id == place.topic_id
            and (at_most is None or manifest.next_offset <= at_most)
        )
        if not fits:
            continue
        try:
            stored = store.load(fold.task.name, manifest.version)
            fold.restore(opened(stored, fold.model, classes))
            check_probes(fold, stored)
        except SnapshotError as error:
            log.warning("skipped snapshot %s: %s", manifest.version, error)
            fold.restore(ModelFold(fold.task, fold.model, fold.runtime, leave_out=fold.leave_out).snapshot())
            continue
        return manifest
    return None


def stored_manifests(store: SnapshotStore, task: str) -> list[Manifest]:
    """Return a task's snapshots, newest first; none of a store that cannot be read, for the log has it all."""
    try:
        return store.manifests(task)
    except SnapshotError as error:
        log.error("no usable snapshot, folding the log from its beginning: %s", error)
        return []


def opened(stored: Snapshot, model: Model, classes: Iterable[type]) -> ModelState:
    """Fill a freshly built model with a snapshot's state.

    Parameters
    ----------
    classes
        The task file's own, of which the state may hold objects.

    Raises
    ------
    SnapshotError
        When it is not a state of this model.
    """
    manifest = stored.manifest
    try:
        state = ModelState.load(stored.state, model, classes)
    except SnapshotError as error:
        raise SnapshotError(f"{manifest.version}: {error}") from error
    expected = (manifest.version, manifest.learned, manifest.next_offset, manifest.left_out)
    found = (state.version, state.learned, state.next_offset)
    if (*found, intervals_text(state.left_out)) != expected:
        raise SnapshotError(f"{manifest.version} does not have the state of its manifest")
    failures = state.failures
    if (failures["skipped"], (failures["stopped"] or [-1])[0]) != (manifest.skipped, manifest.stopped):
        raise SnapshotError(f"{manifest.version} does not have the failures of its manifest")
    return state


def check_probes(fold: ModelFold, stored: Snapshot) -> None:
    """Check that a restored model is what was stored: its digest, and its probes' scores bit for bit.

    Raises
    ------
    SnapshotError
        Naming the first difference.
    """
    manifest = stored.manifest
    try:
        differs = fold.learned_digest != manifest.state_digest
    except Exception as error:  # whatever it is an object of, it is no state of this model
        raise SnapshotError(f"{manifest.version}: the state has no digest: {error!r}") from error
    if differs:
        raise SnapshotError(f"{manifest.version}: the state's digest differs from the manifest's")
    for number, probe in enumerate(stored.probes, start=1):
        try:
            score = fold.predict(probe["features"])
        except Exception as error:  # the same, or a probe that is damaged
            raise SnapshotError(f"{manifest.version}: probe {number} fails: {error!r}") from error
        if bits(score.score) != bits(probe["score"]) or score.label != probe["label"]:
            raise SnapshotError(
                f"{manifest.version}: probe {number} returns {score.score!r}, not {probe['score']!r}"
            )


def bits(score: ScoreValue) -> Any:
    """Return a score in a form that is equal only when it is equal bit for bit."""
    if isinstance(score, float | int):
        return struct.pack("<d", score)
    return None if score is None else sorted((name, struct.pack("<d", p)) for name, p in score.items())


def git_commit(folder: Path) -> str:
    """Return the commit of the checkout that a task file lies in; empty where there is none."""
    try:
        found = subprocess.run(  # noqa: S603  fixed arguments, no shell
            ["git", "-C", str(folder), "rev-parse", "HEAD"],  # noqa: S607  the user's git
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()
