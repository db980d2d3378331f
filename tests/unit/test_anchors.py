"""Anchors: retention deletes all but the newest few snapshots, and never one that a command keeps."""

from __future__ import annotations

from pathlib import Path

from infra.snapshots.store import SnapshotStore
from infra.task.snapshots import SnapshotWriter
from infra.task.statistics import Statistics
from tests.history import DAY, History


def test_retention_never_deletes_an_anchor(tmp_path: Path) -> None:
    history, store = History("anchors", 1), SnapshotStore(str(tmp_path))
    writer = SnapshotWriter(history.context, Statistics(), store, history.topics.log, 10, 2)
    anchor, deleted = "", set[str]()
    for number in range(6):
        history.ask(f"r{number}", number * DAY, 1.0)
        history.report(f"r{number}", number * DAY, True)
        history.step()
        taken = next(each for each in history.snapshot() if each.manifest.kind == "model")
        anchor = anchor or taken.manifest.version
        for _, records in writer.write([taken], 10, {anchor}):
            deleted |= {(each.key or b"").decode() for each in records if each.value is None}
    model = anchor.partition(".")[0]
    left = [each.version for each in store.manifests("anchors") if each.model == model]
    assert len(left) == 3
    assert left[-1] == anchor
    assert len(deleted) == 3
    assert anchor not in deleted
