"""The monitors of a topic to snapshots and back: `metrics.1@offset`, of the tallies `quality.1@offset`."""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from infra.snapshots.models import LogPlace, stored_manifests
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.errors import SnapshotError
from schemas.records import Manifest
from streams import snapshot
from streams.fold import Monitor
from streams.metrics.served import ServedMetrics
from streams.snapshot.digest import state_digest
from streams.task import Task
from streams.version import Version

log = logging.getLogger(__name__)


def spec_of(made: Sequence[Monitor[Any]]) -> str:
    """Digest of what fixes the meaning of the monitors' states (16 hex digits)."""
    specs = "\n".join(f"{each.name}: {each.spec}" for each in made)
    return hashlib.sha256(specs.encode()).hexdigest()[:16]


def pack_monitors(
    name: str,
    made: Sequence[Monitor[Any]],
    next_offset: int,
    place: LogPlace,
    task: Task,
    runtime_text: str,
    created_at: int,
) -> Snapshot:
    """Take a snapshot of the monitors of a topic.

    Parameters
    ----------
    name
        Of the snapshot: `metrics` or `quality`.
    next_offset
        Up to which they have all read.
    created_at
        Wall clock, ms.
    """
    state = {each.name: each.snapshot() for each in made}
    served = [each for each in made if isinstance(each, ServedMetrics)]
    manifest = Manifest(
        version=str(Version(name, 1, next_offset - 1)),
        parents=(),
        kind="metrics",
        task=task.name,
        model=name,
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


def restore_monitors(
    name: str, made: Sequence[Monitor[Any]], store: SnapshotStore, task: str, place: LogPlace, at_most: int
) -> int:
    """Restore fresh monitors from the newest good snapshot at or below an offset; returns where to go on.

    Parameters
    ----------
    made
        With nothing folded yet.
    at_most
        Only snapshots that go on reading at this offset or before.
    """
    empty = [copy.deepcopy(each.snapshot()) for each in made]
    for manifest in stored_manifests(store, task):
        fits = (
            (manifest.kind, manifest.model) == ("metrics", name)
            and manifest.log_topic_id == place.topic_id
            and manifest.next_offset <= at_most
            and manifest.spec == spec_of(made)
        )
        if not fits:
            continue
        try:
            fresh = {each.name: copy.deepcopy(state) for each, state in zip(made, empty, strict=True)}
            _restore(made, snapshot.load(store.load(task, manifest.version).state, fresh), manifest)
        except SnapshotError as error:
            log.warning("skipped snapshot %s: %s", manifest.version, error)
            for each, state in zip(made, empty, strict=True):  # some may have taken over a part of it
                each.restore(copy.deepcopy(state))
            continue
        return manifest.next_offset
    return 0


def _restore(made: Sequence[Monitor[Any]], state: Any, manifest: Manifest) -> None:
    """Restore the monitors from a state, which must be of their form, so that they can go on from it."""
    if not isinstance(state, dict) or [*state] != [each.name for each in made]:
        raise SnapshotError(f"{manifest.version} does not have the monitors of its manifest")
    if state_digest(state) != manifest.state_digest:
        raise SnapshotError(f"{manifest.version}: the state's digest differs from the manifest's")
    for each in made:
        stored = state[each.name]
        try:
            each.restore(stored)
            again = each.snapshot()
            matches = type(stored) is type(again) and state_digest(again) == state_digest(stored)
        except SnapshotError:
            raise
        except Exception as error:
            raise SnapshotError(
                f"{manifest.version} has no state of {each.name}: {type(error).__name__}: {error}"
            ) from error
        if not matches or each.next_offset != manifest.next_offset:
            raise SnapshotError(f"{manifest.version} lacks the declared state of {each.name}")
