"""Faults of the cluster, the machine and the operator: a worker outlives them, or stops with a sentence."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
)

from infra.embedded.broker import EmbeddedBroker
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import client_of
from infra.kafka.connection import Connection
from schemas.records import Request
from streams.datafile import Event
from streams.join.join_rules import JoinRules
from tests.integration.loops import Loop, Worker, hotel_task, no_traceback, rejection, until

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
                rejected = [post(worker, request) for request in asked]
                broker.start()
                for request in asked:
                    until(lambda request=request: post(worker, request)[0] == 200, 60, "it is acknowledged")  # type: ignore[misc]  # the default binds the loop's variable
            assert [(status, reported["reason"]) for status, reported in rejected] == [
                (503, "not_acknowledged")
            ] * 2
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
        with loop.replaying(loop.events(15_000), rest=False):
            loop.wait_for_more(200)
            os.kill(zombie.pid, signal.SIGSTOP)
            until(lambda: len(other.status()["partitions"]) == 2, 60, "the other one has all")
            loop.wait_for_more(200)
            os.kill(zombie.pid, signal.SIGCONT)
        until(lambda: len(zombie.status()["partitions"]) == 1, 60, "it has rejoined")
        assert_unharmed(loop)


def test_two_processes_with_one_transactional_id_fence_each_other_and_spoil_nothing(
    reference: str, connection: Connection, tmp_path: Path
) -> None:
    with Loop(reference, connection, tmp_path, 2, max_batch=50, slot="the-same") as loop:
        first, second = loop.worker(), loop.worker()
        for worker in (first, second):
            worker.restart()
        with loop.replaying(loop.events(1500)):
            loop.wait_for_more(300)
            second.stop()
        assert "another process has this transactional id" in first.log + second.log
        assert_unharmed(loop)


def test_a_full_disk_costs_snapshots_and_not_the_service(loop: Loop) -> None:
    worker = loop.worker()
    worker.restart()
    with loop.replaying(loop.events(15_000), rest=False):
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


def test_a_wall_clock_that_jumps_by_a_year_and_back_moves_no_resolution(loop: Loop) -> None:
    worker = loop.worker(idle_ms=2000)
    worker.start(clock_jump="31536000:2")
    worker.wait_ready()
    loop.play(loop.events(1500))
    time.sleep(5)  # silence, in which time goes on, and two more jumps
    rules, now = JoinRules.of(loop.task), max(event.request.ts for event in loop.sent)
    # What is due at the time of the last request itself expires a moment later.
    due = {
        event.request.request_id
        for event in loop.sent
        if event.request.ts + rules.horizon_ms + rules.grace_ms == now
    }
    found, expected = loop.resolutions(), loop.expected()
    assert expected - found == Counter()
    assert {request_id for request_id, _, _, _ in found - expected} <= due
    assert worker.status()["waiting"] > 100
    loop.assert_digests()
    loop.assert_verified()
    no_traceback(worker)


def delete_before(connection: Connection, topic: str, offset: int) -> None:
    """Delete a partition's records as retention does, where it compacts by a cleanup policy set by mistake."""

    def set_policy(admin: AdminClient, policy: str) -> None:
        entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
        altering = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([altering]).values():
            future.result(20)

    compacted = topic.endswith("join-state")
    with client_of(connection) as admin:
        if compacted:
            set_policy(admin, "compact,delete")
        for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
            future.result(20)
        if compacted:
            set_policy(admin, "compact")


@pytest.mark.parametrize("eaten", ["join-state", "log"])
def test_records_that_retention_has_eaten_stop_the_task_with_what_to_do(loop: Loop, eaten: str) -> None:
    worker, topics = loop.worker(), loop.topics
    worker.restart()
    loop.play(loop.events(600))
    loop.assert_resolved()
    worker.stop()
    if eaten == "log":
        for manifest in loop.store.manifests(loop.task.name):
            loop.store.delete(loop.task.name, manifest.version)
        delete_before(loop.connection, topics.log, 10)
    else:
        delete_before(loop.connection, topics.join_state, 5)
    worker.start()
    if eaten == "log":
        reported = rejection(worker, "What was folded from it is only in snapshots")
        assert f"{topics.log}[0] begins at offset 10, but must be read from 0" in reported
    else:
        reported = rejection(worker, f"{topics.join_state}[0] begins at offset 5, but must be read from 0")
        assert f"riverloop topics accept TASK {topics.join_state}" in reported
    assert worker.running
    no_traceback(worker)
