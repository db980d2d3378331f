"""Faults of the cluster, the machine and the operator: a worker outlives them, or stops with a sentence."""

from __future__ import annotations

import json
import os
import resource
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.broker import EmbeddedBroker
from infra.kafka.connection import Connection
from infra.kafka.pytest_plugin import Broker
from schemas.records import Request
from streams.datafile import Event
from tests.integration.loops import Loop, Worker, hotel_task, no_traceback, until

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


def post(worker: Worker, request: Request) -> tuple[int, dict[str, Any]]:
    """Ask for a prediction over HTTP; gives the status and what was answered."""
    body = {"request_id": request.request_id, "ts": request.ts, "features": dict(request.features)}
    call = urllib.request.Request(
        f"{worker.url}/tasks/{worker.task}/predictions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_broker_that_dies_under_load_and_comes_back_costs_nothing_but_time(
    reference: str, tmp_path: Path
) -> None:
    with EmbeddedBroker(tmp_path / "kafka") as broker:
        connection = Connection(broker.bootstrap)
        with Loop(reference, connection, tmp_path, 2, snapshot_every=200) as loop:
            worker = loop.worker()
            worker.restart()
            pid, events = worker.pid, loop.events(3000)
            # Asked at a time that has passed already: stream time, and with it what expires, stays as it is.
            asked = [
                Request(f"fault-{n}", events[0].request.ts, events[n].request.features) for n in range(2)
            ]
            with loop.replaying(events):
                loop.wait_for_more(200)
                broker.kill()
                refused = [post(worker, request) for request in asked]
                broker.start()
                for request in asked:
                    until(lambda request=request: post(worker, request)[0] == 200, 60, "it is acknowledged")  # type: ignore[misc]  # the default binds the loop's variable
            assert [(status, told["reason"]) for status, told in refused] == [(503, "not_acknowledged")] * 2
            loop.sent += [Event(request, ()) for request in asked]
            loop.assert_resolved(180)
            assert_unharmed(loop)
            assert worker.pid == pid


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
