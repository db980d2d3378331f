"""Validation at an offset: the same verdict from a snapshot and from the log, replays, what is not judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.snapshots.models import LogPlace
from infra.snapshots.store import SnapshotStore
from infra.validation import at_offset
from infra.validation.at_offset import AtOffset, newest_point
from infra.versions import LogExtent
from schemas.errors import UsageError
from streams.roles import Roles
from tests.history import History
from tests.unit.test_verify_validation import EVERY, command, history

__all__ = ["history"]


@pytest.fixture
def versions(history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The versions of a history in memory."""

    def read_all(connection: Any, topic: str, partition: int, start: int, end: int) -> Any:
        return history.read_range(topic, partition, start, end)

    place, end = (history.topics.log, 0), len(history.records[history.topics.log, 0])
    monkeypatch.setattr(at_offset, "read_all", read_all)
    monkeypatch.setattr(at_offset, "end_offsets", lambda connection, places: {place: end + 7})
    manifests = {
        each.version: each
        for message in history.records[history.topics.snapshots, 0]
        for each in [history.codec.decode_manifest(message.value())]
    }
    monkeypatch.setattr(at_offset, "announced", lambda connection, codec: manifests)
    roles = Roles(history.loaded.task.name)
    for offset, entry in enumerate(history.entries()):
        roles.apply(offset, entry)
    return SimpleNamespace(
        loaded=history.loaded,
        codec=history.codec,
        connection=None,
        store=SnapshotStore(str(tmp_path / "snapshots"), None),
        runtime=history.runtime,
        skip=frozenset(),
        topics=history.topics,
        place=LogPlace(history.topics.log, history.context.log_topic_id),
        extent=LogExtent(0, end),
        roles=roles,
        manifests=manifests,
    )


def test_marks_behind_the_last_entry_are_no_offsets_to_validate_at(history: History, versions: Any) -> None:
    entries = len(history.entries())
    assert newest_point(versions, entries) == entries
    assert newest_point(versions, entries + 1) == 0


def test_the_verdict_is_that_of_the_log_with_and_without_snapshots(history: History, versions: Any) -> None:
    at = 2 * EVERY
    first = AtOffset(versions, at, {}).run()
    assert first.notes == ()
    assert [each.model for each in first.verdicts] == ["lr", "window"]
    mine = command(history, at)
    lr = first.verdicts[0]
    replay = lr.results[-1]
    assert [each.data() for each in lr.results[:-1]] == [
        each for each in at_offset_checks(mine.evidence) if each["name"] != "replay"
    ]
    assert (replay.judged, replay.passed) == (True, True), replay.text
    for made in history.snapshot():
        versions.store.save(made.manifest, made.state, made.probes)
    assert AtOffset(versions, at, {}).run() == first


def at_offset_checks(evidence: str) -> Any:
    return json.loads(evidence)["checks"]


def test_a_worker_s_state_that_the_log_does_not_give_fails_the_replay(
    history: History, versions: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = versions.manifests
    wrong = {version: replace(each, state_digest="0" * 64) for version, each in found.items()}
    monkeypatch.setattr(at_offset, "announced", lambda connection, codec: wrong)
    verdicts = AtOffset(versions, 2 * EVERY, {}).run().verdicts
    assert {each.name for one in verdicts for each in one.results if not each.passed} >= {"replay"}


def test_what_another_runtime_has_folded_is_not_judged(versions: Any) -> None:
    versions.runtime = "another"
    found = AtOffset(versions, 2 * EVERY, {}).run()
    assert (found.verdicts, found.passed) == ((), False)
    assert "no revision with the specification of this task file and the runtime" in found.notes[0]


def test_a_log_that_is_cut_has_no_window(versions: Any) -> None:
    versions.extent = LogExtent(2 * EVERY - 5, versions.extent.end)
    with pytest.raises(UsageError, match="window of 15 offsets"):
        AtOffset(versions, 2 * EVERY, {}).run()
