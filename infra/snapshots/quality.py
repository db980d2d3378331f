"""The quality of requests to snapshots and back: `quality.1@offset`, a fold of `T.quality`."""

from __future__ import annotations

import logging

from infra.snapshots.models import LogPlace, stored_manifests
from infra.snapshots.store import Snapshot, SnapshotStore
from schemas.errors import SnapshotError
from schemas.records import Manifest
from streams import snapshot
from streams.digest import state_digest
from streams.quality.monitor import QualityMonitor
from streams.version import Version

NAME = "quality"
log = logging.getLogger(__name__)


def pack_quality(monitor: QualityMonitor, place: LogPlace, runtime_text: str, created_at: int) -> Snapshot:
    """Take a snapshot of what is known of the requests."""
    state, next_offset = monitor.snapshot(), monitor.next_offset
    manifest = Manifest(
        version=str(Version(NAME, 1, next_offset - 1)),
        parents=(),
        kind="metrics",
        task=monitor.task,
        model=NAME,
        revision=1,
        log_topic=place.topic,
        log_topic_id=place.topic_id,
        log_offset=next_offset - 1,
        next_offset=next_offset,
        learned=0,
        spec=monitor.spec,
        spec_text="quality of requests and drift of their features",
        state_digest=state_digest(state),
        state_sha256="",
        dictionary=monitor.dictionary.digest,
        schemas={},
        runtime="",
        runtime_text=runtime_text,
        metrics={},
        author="riverloop",
        git_commit="",
        created_at=created_at,
    )
    return Snapshot(manifest, snapshot.dump(state), [])


def restore_quality(monitor: QualityMonitor, store: SnapshotStore, place: LogPlace, at_most: int) -> int:
    """Restore from the newest good snapshot at or below an offset of `T.quality`; gives where to go on."""
    for manifest in stored_manifests(store, monitor.task):
        fits = (
            manifest.model == NAME
            and manifest.log_topic_id == place.topic_id
            and manifest.next_offset <= at_most
            and manifest.spec == monitor.spec
        )
        if not fits:
            continue
        try:
            state = snapshot.load(store.load(monitor.task, manifest.version).state)
            if state_digest(state) != manifest.state_digest:
                raise SnapshotError(f"{manifest.version}: the state's digest is not the manifest's")
            if not isinstance(state, dict) or state.keys() != monitor.snapshot().keys():
                raise SnapshotError(f"{manifest.version} does not hold what its manifest says")
            monitor.restore(state)
        except SnapshotError as error:
            log.warning("snapshot %s is passed over: %s", manifest.version, error)
            continue
        return manifest.next_offset
    return 0
