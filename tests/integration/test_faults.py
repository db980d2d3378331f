"""Faults of the cluster, the machine and the operator: a worker outlives them, or stops with a sentence."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.kafka.connection import Connection
from infra.kafka.pytest_plugin import Broker
from tests.integration.loops import Loop, hotel_task, no_traceback, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture
def reference(tmp_path: Path, task_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The window task; the world waits for its answers."""
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 300)
    return f"{hotel_task(tmp_path / 'task', task_name)}:cancellation_within_30_days"


@pytest.fixture
def loop(reference: str, connection: Connection, tmp_path: Path) -> Iterator[Loop]:
    with Loop(reference, connection, tmp_path, snapshot_every=200) as made:
        yield made


def assert_unharmed(loop: Loop) -> None:
    """Check that nothing was lost, doubled or scored otherwise than the log says."""
    loop.assert_resolved()
    loop.assert_digests()
    loop.assert_verified()
    for worker in loop.workers:
        no_traceback(worker)


def test_a_worker_that_hung_past_its_session_is_fenced_when_it_wakes(
    reference: str, connection: Connection, tmp_path: Path
) -> None:
    with Loop(reference, connection, tmp_path, 2, max_batch=25) as loop:
        zombie, other = loop.worker(), loop.worker()
        for worker in (zombie, other):
            worker.start()
        for worker in (zombie, other):
            worker.wait_ready()
        until(lambda: len(other.status()["partitions"]) == 1, 60, "they share")
        with loop.replaying(loop.events(3000)):
            loop.wait_for_more(200)
            os.kill(zombie.pid, signal.SIGSTOP)
            until(lambda: len(other.status()["partitions"]) == 2, 60, "the other one has all")
            loop.wait_for_more(200)
            os.kill(zombie.pid, signal.SIGCONT)
        until(lambda: len(zombie.status()["partitions"]) == 1, 60, "it has rejoined")
        assert_unharmed(loop)


def test_a_full_disk_costs_snapshots_and_not_the_service(loop: Loop) -> None:
    worker = loop.worker()
    worker.restart()
    with loop.replaying(loop.events(2500)):
        loop.wait_for_more(300)
        # For this process no file grows any more; its own log neither.
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        until(lambda: worker.status()["counts"].get("snapshots_failed", 0) >= 2, 60, "snapshots fail")
        stored = set(loop.store_at(loop.folder / "snapshots"))
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        until(
            lambda: set(loop.store_at(loop.folder / "snapshots")) - stored, 60, "snapshots are written again"
        )
    loop.assert_resolved()
    loop.assert_digests()
    loop.assert_verified()
    assert not list((loop.folder / "snapshots").rglob("*.tmp"))
