"""The one reader of the log: each record is decoded once, and one that is no entry is for a person."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agents.settings import Settings
from infra.snapshots.store import SnapshotStore
from infra.task.log_fold import LogFold
from infra.trusted import places
from schemas.errors import Unreadable, UsageError
from schemas.records import Entry
from tests.history import Kept, ordinary
from tests.unit.http_worker import make_http_task, make_log_fold


def fold_of(folder: Path, skip: str = "") -> LogFold:
    return make_log_fold(make_http_task(settings=Settings(skip=skip)), SnapshotStore(str(folder)))


def message(offset: int, topic: str = "stay.log") -> Any:
    return Kept((topic, 0), offset, b"stay", b"bad")


def test_each_record_is_decoded_once_for_the_models_and_the_monitors(tmp_path: Path) -> None:
    history = ordinary("decoded-once")
    decoded: list[bytes | None] = []
    decode = history.codec.decode_entry

    def counted(data: bytes | None) -> Entry:
        decoded.append(data)
        return decode(data)

    history.codec.decode_entry = counted  # type: ignore[method-assign]  # counted
    task = make_http_task("decoded-once", codec=history.codec)
    fold, heard = make_log_fold(task, SnapshotStore(str(tmp_path))), list[tuple[int, Entry | None]]()
    fold.listener = lambda offset, entry: heard.append((offset, entry))
    log: Any = history.records[history.topics.log, 0]
    asyncio.run(fold.apply(log))
    assert len(decoded) == len(log) == len(heard) == fold.next_offset


def test_a_record_that_is_no_entry_is_named_with_its_place_and_what_to_do(tmp_path: Path) -> None:
    fold = fold_of(tmp_path)
    expected = r"stay\.log\[0\]@7 cannot.*RIVERLOOP_SKIP=stay\.log@7"
    with pytest.raises(Unreadable, match=expected):
        fold.read(message(7))
    with pytest.raises(Unreadable, match=expected):
        asyncio.run(fold.apply([message(7)]))
    assert fold.failed
    assert fold.next_offset == 0


def test_one_that_a_person_has_looked_at_is_skipped_by_all_folds_and_no_other_is(tmp_path: Path) -> None:
    fold = fold_of(tmp_path, "stay.log@7, other.log@8")
    heard: list[tuple[int, Entry | None]] = []
    fold.listener = lambda offset, entry: heard.append((offset, entry))
    asyncio.run(fold.apply([message(7)]))
    assert heard == [(7, None)]
    assert fold.next_offset == 8
    assert fold.statistics.counts["entries_skipped"] == 1
    with pytest.raises(Unreadable):
        fold.read(message(8))


@pytest.mark.parametrize("text", ["7", "task.log", "task.log[0]@7", "task.log@x", "task.requests@7"])
def test_a_place_that_is_none_of_a_log_is_rejected_at_the_start(text: str) -> None:
    with pytest.raises(UsageError, match="is not a record of a training log"):
        places(text)
