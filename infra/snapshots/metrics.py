"""The monitors to snapshots and back: `metrics.1@offset` beside the models' versions."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from infra.snapshots.models import LogPlace, stored_manifests
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.errors import SnapshotError
from schemas.records import Manifest
from streams import snapshot
from streams.digest import state_digest
from streams.fold import Monitor
from streams.metrics.served import ServedMetrics
from streams.monitors import monitors
from streams.task import Task
from streams.version import Version

NAME = "metrics"
log = logging.getLogger(__name__)


def spec_of(made: Sequence[Monitor]) -> str:
    """Digest of what fixes the meaning of the monitors' states (16 hex digits)."""
    told = "\n".join(f"{each.name}: {each.spec}" for each in made)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def pack_metrics(
    made: Sequence[Monitor],
    next_offset: int,
    place: LogPlace,
    task: Task,
    runtime_text: str,
    created_at: int,
) -> Snapshot:
    """Take a snapshot of the monitors, which have all read up to `next_offset`."""
    state = {each.name: each.snapshot() for each in made}
    served = [each for each in made if isinstance(each, ServedMetrics)]
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
        spec=spec_of(made),
        spec_text="monitors " + ", ".join(each.name for each in made),
        state_digest=state_digest(state),
        state_sha256="",
        dictionary=task.features.digest,
        schemas={},
        runtime="",
        runtime_text=runtime_text,
        metrics={f"{each.name}.{name}": value for each in served for name, value in each.get().items()},
        author="riverloop",
        git_commit="",
        created_at=created_at,
    )
    return Snapshot(manifest, snapshot.dump(state), [])


def restore_metrics(
    task: Task, store: SnapshotStore, place: LogPlace, at_most: int
) -> tuple[list[Monitor], int]:
    """Make the task's monitors, from the newest good snapshot at or below an offset; gives where to go on."""
    made = monitors(task)
    for manifest in stored_manifests(store, task.name):
        fits = (
            manifest.kind == "metrics"
            and manifest.log_topic_id == place.topic_id
            and manifest.next_offset <= at_most
            and manifest.spec == spec_of(made)
        )
        if not fits:
            continue
        try:
            _restore(made, snapshot.load(store.load(task.name, manifest.version).state), manifest)
        except SnapshotError as error:
            log.warning("snapshot %s is passed over: %s", manifest.version, error)
            made = monitors(task)  # some may have taken over a part of it
            continue
        return made, manifest.next_offset
    return made, 0


def _restore(made: Sequence[Monitor], state: Any, manifest: Manifest) -> None:
    """Restore the monitors from a state, which must be of their form, so that they can go on from it."""
    if not isinstance(state, dict) or [*state] != [each.name for each in made]:
        raise SnapshotError(f"{manifest.version} does not hold the monitors of its manifest")
    if state_digest(state) != manifest.state_digest:
        raise SnapshotError(f"{manifest.version}: the state's digest is not the manifest's")
    for each in made:
        told = state[each.name]
        try:
            each.restore(told)
            as_told = type(told) is type(each.snapshot()) and state_digest(each.snapshot()) == state_digest(
                told
            )
        except SnapshotError:
            raise
        except Exception as error:
            raise SnapshotError(
                f"{manifest.version} holds no state of {each.name}: {type(error).__name__}: {error}"
            ) from error
        if not as_told or each.next_offset != manifest.next_offset:
            raise SnapshotError(f"{manifest.version} does not hold the state of {each.name} that it tells of")
