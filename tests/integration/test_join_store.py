"""A join's state on disk: workers that die resolve the same, read the tail only, and trust nothing unproven."""

from __future__ import annotations

import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.store.lock import FolderLock
from schemas.errors import UsageError
from tests.integration.loops import Loop, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
USED = re.compile(r"used again, (\d+) records read from offset (\d+) to (\d+)")


DEATHS = ("before-produce", "between-produce-and-commit", "after-commit")
"""Around a transaction: where the state on disk could come apart from the changelog."""


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture
def rocks(connection: Connection, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task on one partition, its join's state on disk."""
    file = hotel_task(tmp_path / "task", task_name)
    settings = {"join_store": "rocks", "slot": "a", "data": tmp_path / "data", "join_cache_mb": 8}
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, 1, **settings) as loop:
        yield loop


def folder_of(loop: Loop) -> Path:
    """Where the state of partition 0 lies."""
    return loop.folder / "data" / "join" / loop.task.name / "a" / loop.task.name / "0"


def test_a_worker_killed_again_and_again_resolves_what_an_undisturbed_one_does(
    rocks: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 300)
    chance = random.Random(5)
    worker = rocks.worker(max_batch=25)
    with rocks.replaying(rocks.events(20_000), rest=False):
        for point in DEATHS:
            worker.start(crash_point=f"{point}:{chance.randrange(20, 50)}")
            assert worker.wait_ended(120) == -signal.SIGKILL
        worker.restart()
        rocks.wait_for_more(400)
        worker.kill()
        worker.restart()
    rocks.assert_resolved()
    rocks.assert_verified()
    assert "is made anew" not in worker.log
    assert len(USED.findall(worker.log)) == 4, "every start but the first"
    # What a start has read need not be read at the next one: it is noted. A worker that was killed before its first
    # commit, or just after a note, leaves nothing to read; not all of them were.
    starts = [tuple(map(int, found)) for found in USED.findall(worker.log)]
    for (_, _, noted), (read, start, end) in pairwise(starts):
        assert noted <= start
        assert read <= end - start
    assert starts[0][1] < starts[-1][1]
    assert any(read for read, _, _ in starts)
    assert "Traceback" not in worker.log


def lose(folder: Path) -> None:
    shutil.rmtree(folder)


def garble(folder: Path) -> None:
    for file in folder.iterdir():
        data = file.read_bytes()
        file.write_bytes(bytes(each ^ 0xFF for each in data))


@pytest.mark.parametrize("damage", [lose, garble])
def test_a_folder_that_is_lost_or_damaged_is_made_anew_from_the_changelog(
    rocks: Loop, damage: Callable[[Path], None]
) -> None:
    worker = rocks.worker()
    worker.restart()
    with rocks.replaying(rocks.events(12_000), rest=False):
        rocks.wait_for_more(400)
        worker.kill()
        damage(folder_of(rocks))
        worker.restart()
    rocks.assert_resolved()
    rocks.assert_verified()
    assert len(re.findall(r"made from \d+ records of the changelog", worker.log)) == 2
    assert ("is made anew" in worker.log) == (damage is not lose)
    assert "Traceback" not in worker.log


def test_the_changelog_has_the_last_word_over_a_folder_that_another_worker_went_past(rocks: Loop) -> None:
    """Another slot takes the partition and gives it back: only what it wrote is read."""
    one, other = rocks.worker(), rocks.worker(slot="b")
    done = 0
    for worker in (one, other, one, other):
        worker.restart()
        rocks.play(rocks.events(700, skip=done))
        done += 700
        if done < 2800:
            worker.stop()
    rocks.assert_resolved()
    rocks.assert_verified()
    for worker in (one, other):
        found = USED.findall(worker.log)
        assert len(found) == 1
        read, start, _ = map(int, found[0])
        assert start > 0
        assert read > 0


def test_what_is_on_disk_is_not_used_for_other_times_of_the_task(
    connection: Connection, tmp_path: Path, rocks: Loop
) -> None:
    worker = rocks.worker()
    worker.restart()
    rocks.play(rocks.events(800))
    worker.stop()
    file = Path(rocks.loaded.reference.rsplit(":", 1)[0])
    file.write_text(file.read_text().replace("horizon=timedelta(days=30)", "horizon=timedelta(days=31)"))
    worker.restart()  # ready are the models; the join may still be restored
    anew = "is made anew: it was made for other times of the task, or another layout"
    until(lambda: anew in worker.log, what="the folder is made anew")


def test_a_folder_that_a_worker_has_open_is_left_alone(rocks: Loop) -> None:
    worker = rocks.worker()
    worker.restart()
    rocks.play(
        rocks.events(300)
    )  # ready are the models; the join has the folder once it has resolved something
    rocks.assert_resolved()
    with pytest.raises(UsageError, match="another process has"):
        FolderLock(folder_of(rocks), wait_s=0)
