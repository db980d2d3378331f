"""Workers that die, stop, share and come back: the resolutions are those of the data, and every score is proved."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.hooks import ASIDE_POINTS, COMMAND_POINTS, MAP_POINT, POINTS, TRANSACTION_POINTS
from infra.kafka.connection import Connection
from tests.integration.loops import Loop, Worker, hotel_task, until
from tests.unit.test_hostile_snapshot import with_factory

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture
def window(connection: Connection, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """The window task on one partition: it labels, expires and takes late outcomes."""
    file = hotel_task(tmp_path / "task", task_name)
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, snapshot_every=200) as loop:
        yield loop


def test_a_worker_that_is_killed_and_stopped_in_mid_run_resolves_what_an_undisturbed_one_does(
    window: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The world waits for answers, and takes its time, so that no life of the worker sees the end of the data.
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 100)
    chance = random.Random(11)
    worker = window.worker(max_batch=25)
    # What all three agents pass comes often, what only one of them passes seldom; a snapshot has three files.
    often, seldom = range(20, 50), range(3, 9)
    # Partitions are given up to others only: see the next test. The others have tests of their own.
    elsewhere = {"in-revoke", *COMMAND_POINTS, *ASIDE_POINTS, MAP_POINT}
    points = [point for point in POINTS if point not in elsewhere]
    with window.replaying(window.events(30_000), 0.005, rest=False):
        for point in points:
            count = chance.choice(often if point in TRANSACTION_POINTS else seldom)
            worker.start(crash_point=f"{point}:{count}")
            assert worker.wait_ended(120) == -signal.SIGKILL, point
        for _ in range(2):
            worker.restart()
            window.wait_for_more(chance.randrange(200, 500))
            worker.kill()
        worker.restart()
        window.wait_for_more(200)
        worker.stop()
        worker.restart()
    window.assert_resolved()
    window.assert_digests()
    window.assert_verified()
    # What it was after each of its ends but those before the first snapshot.
    assert worker.log.count("restored from its snapshot in") >= 3
    assert "Traceback" not in worker.log


def test_a_worker_that_dies_while_it_gives_up_partitions_leaves_nothing_behind(
    connection: Connection, tmp_path: Path, task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 300)
    file = hotel_task(tmp_path / "task", task_name)
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, 2, max_batch=25) as loop:
        first, second = loop.worker(), loop.worker()
        first.start(crash_point="in-revoke")
        first.wait_ready()
        with loop.replaying(loop.events(15_000), rest=False):
            loop.wait_for_more(200)
            second.start()
            assert first.wait_ended(60) == -signal.SIGKILL
            until(lambda: shares(second) == {0, 1}, 60, "the survivor has both partitions")
            first.restart()
        loop.assert_resolved()
        loop.assert_digests()
        loop.assert_verified()
        assert "Traceback" not in first.log + second.log


def test_a_survivor_takes_over_the_partitions_of_a_worker_that_dies_and_shares_with_the_next(
    connection: Connection, tmp_path: Path, task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 400)
    file = hotel_task(tmp_path / "task", task_name)
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, 4, snapshot_every=1000) as loop:
        first, second = loop.worker(), loop.worker()
        for worker in (first, second):
            worker.start()
        for worker in (first, second):
            worker.wait_ready()
        until(
            lambda: [len(shares(worker)) for worker in (first, second)] == [2, 2],
            60,
            "both have two partitions",
        )
        with loop.replaying(loop.events(15_000), rest=False):
            loop.wait_for_more(1000)
            lost = shares(first)
            predicted = {number: loop.end_of(loop.topics.predictions, number) for number in lost}
            first.kill()
            killed = time.monotonic()
            until(lambda: shares(second) == {0, 1, 2, 3}, 60, "the survivor has all partitions")
            owns = time.monotonic() - killed
            until(
                lambda: all(loop.end_of(loop.topics.predictions, n) > predicted[n] for n in lost),
                *(60, "predictions on the partitions that were lost"),
            )
            serves = time.monotonic() - killed
            until(lambda: second.status()["owner"], 60, "the survivor owns the log")
            first.restart()
            until(lambda: len(shares(first)) == 2, 60, "the restarted one has its share")
        print(f"taken over after {owns:.1f} s, served again after {serves:.1f} s")
        loop.assert_resolved()
        loop.assert_digests()
        loop.assert_verified()
        assert "Traceback" not in first.log + second.log


def versions(worker: Worker) -> list[str]:
    """Return the active versions of a worker."""
    return [each["version"] for each in worker.get(f"/tasks/{worker.task}/versions")["models"]]


def shares(worker: Worker) -> set[int]:
    """Give the partitions that a worker has; none while it does not answer yet."""
    try:
        return set(worker.status()["partitions"])
    except urllib.error.URLError:
        return set()


@pytest.mark.parametrize(("partitions", "max_batch"), [(1, 1000), (3, 7)])
def test_resolutions_depend_on_neither_the_batches_nor_the_number_of_partitions(
    connection: Connection, tmp_path: Path, task_name: str, partitions: int, max_batch: int
) -> None:
    file = hotel_task(tmp_path / "task", task_name)
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, partitions) as loop:
        loop.worker(max_batch=max_batch).restart()
        loop.play(loop.events(3000))
        loop.assert_resolved()
        kinds = Counter(kind for _, kind, _, _ in loop.resolutions().elements())
        assert (kinds["labelled"], kinds["late"]) == (410, 735)
        loop.assert_verified()


def test_one_worker_runs_two_tasks_and_another_shares_one_of_them(
    connection: Connection, tmp_path: Path, task_name: str
) -> None:
    file = hotel_task(tmp_path / "task", task_name, tree=True)
    window, dates = f"{file}:cancellation_within_30_days", f"{file}:cancellation"
    with (
        Loop(window, connection, tmp_path, 2, group=task_name) as first,
        Loop(dates, connection, tmp_path, 2, group=task_name) as second,
    ):
        both, one = first.worker(dates), first.worker()
        both.start()
        one.start()
        both.wait_ready()
        one.wait_ready()
        second.workers.append(both)
        events = first.events(1500)
        with first.replaying(events):
            second.play(events)
        for loop in (first, second):
            loop.assert_resolved()
            loop.assert_digests()
            loop.assert_verified()
        assert both.get("/ready")["tasks"].keys() == {first.task.name, second.task.name}
        assert "Traceback" not in both.log + one.log


def test_a_damaged_or_hostile_snapshot_is_skipped_for_the_one_before(window: Loop) -> None:
    worker = window.worker()
    worker.restart()
    window.play(window.events(2000))
    window.assert_resolved()
    worker.stop()

    def newest() -> tuple[str, Path]:
        made = [each for each in window.store.manifests(window.task.name) if each.kind == "model"]
        return made[0].version, Path(window.store.where(window.task.name, made[0].version))

    def restarted() -> str:
        before = len(worker.log)
        worker.restart()
        window.assert_digests()
        worker.kill()
        assert "Traceback" not in worker.log
        return worker.log[before:]

    version, folder = newest()
    assert f"{version} restored from its snapshot in" in restarted()

    state = folder / "state.bin"
    state.write_bytes(state.read_bytes()[:-100])
    reported = restarted()
    assert f"skipped snapshot {version}: {folder}/state.bin is damaged" in reported
    assert version not in reported.split("restored from its snapshot in")[0].splitlines()[-1]

    (folder / "manifest.json").write_bytes(b"{")
    assert f"skipped snapshot {version}: " in restarted()

    version, folder = newest()
    hostile = with_factory("posix.system")
    manifest = json.loads((folder / "manifest.json").read_text())
    reported_hash = {"state_sha256": hashlib.sha256(hostile).hexdigest()}
    (folder / "state.bin").write_bytes(hostile)
    (folder / "manifest.json").write_text(json.dumps(manifest | reported_hash))
    reported = restarted()
    assert f"skipped snapshot {version}: " in reported
    assert "expects posix.system, and the model has no code of this name" in reported

    shutil.rmtree(Path(window.store.where(window.task.name)))
    assert "lr is folded from the beginning of the log" in restarted()


def test_a_store_that_cannot_be_written_costs_the_snapshot_and_not_the_service(
    connection: Connection, tmp_path: Path, task_name: str
) -> None:
    file = hotel_task(tmp_path / "task", task_name)
    in_the_way = tmp_path / "full"
    in_the_way.write_text("a file where the folder should be, for root may write everywhere else")
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path) as loop:
        worker = loop.worker(snapshots=in_the_way, snapshot_every=500)
        worker.restart()
        loop.play(loop.events(2000))
        loop.assert_resolved()
        until(lambda: worker.status()["published_offset"] >= worker.status()["next_offset"])
        failed = worker.status()["counts"]["snapshots_failed"]
        assert failed >= 4
        assert worker.log.count("ERROR infra.task.snapshots") == failed
        assert "no snapshot at log offset" in worker.log
        assert str(in_the_way) in worker.log
        worker.stop()
        in_the_way.unlink()
        worker.restart()
        loop.play(loop.events(600, skip=2000))
        until(lambda: loop.store_at(in_the_way), 60, "snapshots are written again")
        loop.assert_resolved()
        loop.assert_digests()
        assert "Traceback" not in worker.log


def test_a_changed_task_file_opens_a_revision_that_is_folded_from_the_beginning(
    connection: Connection, tmp_path: Path, task_name: str
) -> None:
    files = [
        hotel_task(tmp_path / "1", task_name),
        hotel_task(tmp_path / "2", task_name, {'"learning_rate": 0.01': '"learning_rate": 0.02'}),
        hotel_task(
            tmp_path / "3",
            task_name,
            {
                '    Integer(name="Babies", unit="guests", low=0, high=12),\n': "",
                "NUMBERS = (\n": 'NUMBERS = (\n    Number(name="ADR", unit="EUR per night"),\n',
                "import Category, Dictionary, Integer": "import Category, Dictionary, Integer, Number",
            },
        ),
    ]
    references = [f"{file}:cancellation_within_30_days" for file in files]
    first, second, third = (Loop(each, connection, tmp_path, group=task_name) for each in references)
    with first, second, third:
        reports, sent = [], first.sent
        for number, loop in enumerate((first, second, third), start=1):
            loop.sent = sent
            worker = loop.worker()
            worker.restart()
            assert versions(worker)[0].startswith(f"lr.{number}@")
            loop.play(loop.events(800, skip=800 * (number - 1)))
            loop.assert_resolved()
            loop.assert_digests()
            reports.append(loop.verify())
            worker.stop()
            assert "Traceback" not in worker.log
        for number, report in enumerate(reports, start=1):
            assert report.failures == []
            assert report.reproduced == {"lr": 800}
            assert sum(report.other.values()) == 800 * (number - 1)
