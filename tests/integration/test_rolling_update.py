"""Workers with a changed task file join one by one, and go again: some worker always answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.runtime import runtime_fingerprint
from infra.taskfile import load_task
from infra.verify import KafkaSource, Report, verify
from schemas.codec import Codec
from schemas.records import Prediction
from tests.integration.callers import Callers
from tests.integration.loops import Loop, Worker, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
LEARNING_RATE = '"learning_rate": 0.01'
SLOWER = {LEARNING_RATE: '"learning_rate": 0.005'}
FEWER_FEATURES = {
    '    Integer(name="Babies", unit="guests", low=0, high=12),\n': "",
    '    Category(name="CustomerType", missing="NA"),\n': '    Category(name="CustomerKind", missing="NA"),\n',
}
NAME = "cancellation_within_30_days"


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


def file_of(folder: Path, name: str, changes: Mapping[str, str]) -> str:
    return f"{hotel_task(folder, name, changes)}:{NAME}"


def predictions(loop: Loop, codec: Codec | None = None) -> list[tuple[int, Prediction]]:
    """All predictions, each with the wall clock at which it was written (ms)."""
    found = []
    for number in range(loop.partitions):
        for message in read_all(loop.connection, loop.topics.predictions, number):
            found.append((message.timestamp()[1], (codec or loop.codec).decode_prediction(message.value())))
    return sorted(found, key=lambda each: each[0])


def proof(loop: Loop, reference: str) -> Report:
    """Prove the history by a task file: the scores of its revisions, and all joins."""
    loaded = load_task(reference)
    codec = Codec(loaded.task.name, loaded.task.kind, loaded.task.features, serving=True)
    with KafkaSource(loop.connection) as source:
        return verify(loaded, codec, source, runtime_fingerprint()[0], loop.store)


def replaced(old: Worker, new: Worker) -> None:
    """Replace a worker as a rolling update does: the new one is ready before the old one stops."""
    new.restart()
    old.stop()


def revisions(loop: Loop) -> list[str]:
    commands = [entry.command for _, entry in loop.entries() if entry.command is not None]
    return [f"{each.model}.{each.arguments['revision']}" for each in commands if each.name == "revision"]


def test_a_changed_parameter_is_rolled_out_and_back_with_no_moment_without_answers(
    connection: Connection, tmp_path: Path, task_name: str
) -> None:
    old = file_of(tmp_path / "old", task_name, {})
    new = file_of(tmp_path / "new", task_name, SLOWER)
    with Loop(old, connection, tmp_path, partitions=3, snapshot_every=300) as loop:
        workers = loop.started(2)
        loop.play(loop.events(600))
        caller = Callers(loop, loop.workers)
        with caller.calling(), loop.replaying(loop.events(8000, 600), 0.02, rest=False):
            first = [loop.worker(reference=new), loop.worker(reference=new)]
            for before, after in zip(workers, first, strict=True):
                replaced(before, after)
            loop.wait_for_more(100)
            back = [loop.worker(), loop.worker()]
            for before, after in zip(first, back, strict=True):
                replaced(before, after)
            loop.wait_for_more(100)
        assert revisions(loop) == ["lr.1", "lr.2"], "going back opens none: the old revision is still known"
        found = [each for _, each in predictions(loop)]
        numbers = [each.scores[0].revision for each in found if each.request_id.startswith("http-")]
        assert {1, 2} == set(numbers)
        assert numbers[-1] == 1
        assert len({each.request_id for each in found}) == len(found)
        # The benchmark `rolling` measures it: 0.1 s on a quiet machine.
        assert caller.longest_gap_s < 8.0, "a call was answered all the while"

        def all_resolved() -> bool:
            resolved = (each for each in loop.resolutions() if not each[0].startswith("http-"))
            return Counter(resolved) == loop.expected()

        until(all_resolved, 60, "each request has its outcome")
        for reference in (old, new):
            report = proof(loop, reference)
            assert report.failures == []
            # A call that its caller has given up may be answered after all.
            assert report.reproduced["lr"] + report.other["lr"] == report.counts["predictions"] >= len(found)
            assert min(report.reproduced["lr"], report.other["lr"]) > 100
        logs = "".join(worker.log for worker in loop.workers)
        assert "Traceback" not in logs
        assert "continues at log offset" in back[0].log, "its snapshots are kept"


def test_workers_with_two_dictionaries_share_the_partitions(
    connection: Connection, tmp_path: Path, task_name: str
) -> None:
    old = file_of(tmp_path / "old", task_name, {})
    new = file_of(tmp_path / "new", task_name, FEWER_FEATURES)
    with Loop(old, connection, tmp_path, partitions=3) as loop:
        before, after = loop.worker(), loop.worker(reference=new)
        before.restart()
        loop.play(loop.events(300))
        with loop.replaying(loop.events(8000, 300), 0.02, rest=False):
            after.restart()
            loop.wait_for_more(100)
            after.kill()  # what it has written is read by one with another dictionary
            loop.wait_for_more(100)
            after.restart()
            loop.wait_for_more(50)
            before.kill()
            loop.wait_for_more(50)
        loop.assert_resolved()
        dead = [*read_all(connection, loop.topics.dead_letters)]
        assert dead == []
        for reference in (old, new):
            report = proof(loop, reference)
            assert report.failures == []
            assert report.other["lr"] > 50


def test_a_worker_that_waits_for_its_revision_takes_nothing_and_the_owner_opens_it(
    connection: Connection, tmp_path: Path, task_name: str
) -> None:
    """The owner dies in each place of a decision; the revision is opened once."""
    old = file_of(tmp_path / "old", task_name, {})
    with Loop(old, connection, tmp_path) as loop:
        owner = loop.worker()
        owner.restart()
        loop.play(loop.events(200))
        owner.stop()
        asked = list[Worker]()
        for number, point in enumerate(("before-revision", "in-revision", "after-revision")):
            owner.start(crash_point=point)
            owner.wait_ready()
            for worker in asked:
                worker.stop()
            changes = {LEARNING_RATE: f'"learning_rate": 0.00{number + 1}'}
            file = file_of(tmp_path / f"new-{number}", task_name, changes)
            asked = [loop.worker(reference=file, slot=f"asking-{number}")]
            asked[0].start()
            assert owner.wait_ended(60) < 0, point
            asked[0].wait_ready()
        owner.restart()
        assert revisions(loop) == ["lr.1", "lr.2", "lr.3", "lr.4"]
        loop.assert_resolved()
