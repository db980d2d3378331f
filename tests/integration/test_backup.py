"""A backup is a copy of the snapshots, then of the brokers' data; on an empty cluster it proves itself."""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from tests.integration.loops import Loop, hotel_task, rejection, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """Give a broker of the test's own, whose data can be copied."""
    with EmbeddedBroker(tmp_path / "cluster") as broker:
        yield broker


def copied(broker: EmbeddedBroker, loop: Loop, to: Path) -> None:
    """Back up a running loop: the snapshots first, then the broker's data at one moment.

    The stopped process stands for the snapshot of a volume: nothing changes while files are copied, and nothing
    is closed in order.
    """
    shutil.copytree(loop.folder / "snapshots", to / "snapshots")
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        shutil.copytree(broker.log_file.parent, to / "cluster")
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def answered(loop: Loop) -> Counter[str]:
    """Count the predictions of each request."""
    return Counter(
        loop.codec.decode_prediction(message.value()).request_id
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.predictions, number)
    )


def requested(loop: Loop) -> set[str]:
    """Give the ids on the topic of requests."""
    return {
        (message.key() or b"").decode()
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.requests, number)
    }


def test_a_backup_of_a_running_loop_is_restored_on_an_empty_cluster_and_goes_on(
    cluster: EmbeddedBroker, tmp_path: Path, task_name: str
) -> None:
    reference = f"{hotel_task(tmp_path / 'task', task_name)}:cancellation"
    backup, after = tmp_path / "backup", tmp_path / "after"
    with Loop(reference, Connection(cluster.bootstrap), tmp_path, partitions=2, snapshot_every=200) as loop:
        loop.started(1)
        loop.play(loop.events(500))
        until(lambda: loop.store_at(tmp_path / "snapshots"), 60, "snapshots are written")
        with loop.replaying(loop.events(4000, 500), 0.005, rest=False):
            loop.wait_for_more(50)
            copied(cluster, loop, backup)
            loop.wait_for_more(200)
        lost_log = loop.end_of(loop.topics.log)
        log_id = topic_id(loop.connection, loop.topics.log)
    cluster.kill()

    shutil.copytree(backup / "snapshots", after / "snapshots")
    with (
        EmbeddedBroker(backup / "cluster") as restored,
        Loop(reference, Connection(restored.bootstrap), after, partitions=2, snapshot_every=200) as loop,
    ):
        assert topic_id(loop.connection, loop.topics.log) == log_id, "positions stay valid"
        end = loop.end_of(loop.topics.log)
        assert 0 < end < lost_log, "what came after the backup is gone"
        loop.assert_verified()
        (worker,) = loop.started(1)
        assert "continues at log offset" in worker.log, "the snapshots of the backup are used"
        loop.play(loop.events(300, 6000))
        until(lambda: set(answered(loop)) >= requested(loop), 60, "all requests of the backup are answered")
        assert set(answered(loop).values()) == {1}, "none twice"
        assert loop.end_of(loop.topics.log) > end + 100
        loop.assert_verified()
        assert "Traceback" not in worker.log
        assert loop.dead_letters() == []


def test_snapshots_newer_than_the_restored_log_stop_the_task_until_those_of_the_backup_are_there(
    cluster: EmbeddedBroker, tmp_path: Path, task_name: str
) -> None:
    reference = f"{hotel_task(tmp_path / 'task', task_name)}:cancellation"
    backup, after = tmp_path / "backup", tmp_path / "after"
    with Loop(reference, Connection(cluster.bootstrap), tmp_path, snapshot_every=100) as loop:
        loop.started(1)
        loop.play(loop.events(300))
        until(lambda: loop.store_at(tmp_path / "snapshots"), 60, "snapshots are written")
        copied(cluster, loop, backup)
        loop.play(loop.events(600, 300))
        loop.workers[0].stop()
    cluster.kill()
    shutil.copytree(tmp_path / "snapshots", after / "snapshots")
    with (
        EmbeddedBroker(backup / "cluster") as restored,
        Loop(reference, Connection(restored.bootstrap), after, snapshot_every=100) as loop,
    ):
        worker = loop.worker()
        worker.start()
        assert "by restoring a copy" in rejection(worker, "ends at offset")
        worker.stop()
        shutil.rmtree(after / "snapshots")
        shutil.copytree(backup / "snapshots", after / "snapshots")
        worker.restart()
        assert "Traceback" not in worker.log
