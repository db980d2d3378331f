"""A worker's disk is full, or snapshots are lost or damaged."""

from __future__ import annotations

import resource
import shutil
import time
from typing import Final

from agents.settings import Settings
from infra.snapshots.store import STATE, SnapshotStore
from tests.faults.context import FaultContext
from tests.faults.fault import Fault

FULL_S: Final = 10.0


def full_disk(context: FaultContext) -> None:
    """Set a worker's limit of file size to zero for a while, so that no file it writes can grow."""
    worker = context.pick()
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    time.sleep(FULL_S)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def lost_folder(context: FaultContext) -> None:
    """Kill a worker and delete all snapshots: models and metrics are folded from the log's beginning."""
    worker = context.pick()
    context.kill(worker)
    shutil.rmtree(context.folder / "snapshots", ignore_errors=True)
    context.restart(worker)


def torn_snapshot(context: FaultContext) -> None:
    """Kill a worker and truncate the newest snapshot of each kind: the one before is used, and the log."""
    worker = context.pick()
    context.kill(worker)
    key = Settings.load().snapshot_key.encode() or None
    store = SnapshotStore(str(context.folder / "snapshots"), key)
    torn: dict[str, str] = {}
    for manifest in store.manifests(context.topics.task):
        if manifest.model not in torn:
            torn[manifest.model] = manifest.version
            state = context.folder / "snapshots" / context.topics.task / manifest.version / STATE
            state.write_bytes(state.read_bytes()[:-1])
    context.restart(worker)
    # Repaired: `verify` would rightly report them.
    for version in torn.values():
        store.delete(context.topics.task, version)


FAULTS: Final = (
    Fault("full-disk", "No file of a worker can grow for 10 s (RLIMIT_FSIZE).", full_disk),
    Fault("lost-folder", "A worker is killed and all snapshots are deleted.", lost_folder),
    Fault("torn-snapshot", "A worker is killed and the newest snapshots are truncated.", torn_snapshot),
)
