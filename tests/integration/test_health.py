"""What a worker says of its health while its broker hangs, dies and comes back, and while its models are slow."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from tests.integration.loops import Loop, Worker, hotel_task, until

pytestmark = pytest.mark.kafka

SOON_S = 10.0
"""Readiness follows the cluster, and SIGTERM ends a worker, within this time."""


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    """Give a broker of the test's own."""
    with EmbeddedBroker() as started:
        yield started
        if started.running:
            os.kill(started.pid, signal.SIGCONT)


@pytest.fixture
def loop(broker: EmbeddedBroker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    """Give a task on it, with one worker that is ready."""
    reference = str(hotel_task(tmp_path, task_name)) + ":cancellation"
    with Loop(reference, Connection(broker.bootstrap), tmp_path) as made:
        made.worker().restart()
        yield made


def asked(worker: Worker, path: str) -> tuple[int, Any]:
    """Ask a worker; gives the status and the JSON."""
    try:
        with urllib.request.urlopen(worker.url + path, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def scraped(worker: Worker) -> str:
    """Give a worker's page for Prometheus."""
    with urllib.request.urlopen(worker.url + "/metrics", timeout=5) as answer:
        return str(answer.read(), "utf-8")


def is_ready(worker: Worker) -> bool:
    """Whether a worker says that it is ready."""
    return asked(worker, "/readyz")[0] == 200


@contextmanager
def sending(loop: Loop) -> Iterator[None]:
    """Send requests until the end of the block, or until the broker takes no more."""
    producer = Producer(loop.connection.config(**{"message.timeout.ms": 2000, "log_level": 0}))
    ended = threading.Event()

    def send() -> None:
        for event in loop.events(5000):
            key = event.request.request_id.encode()
            with suppress(BufferError):
                producer.produce(loop.topics.requests, loop.codec.encode(event.request), key)
                for outcome in event.outcomes[:1]:
                    producer.produce(loop.topics.outcomes, loop.codec.encode(outcome), key)
            if ended.wait(0.002):
                break

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        producer.purge()


@contextmanager
def calling(loop: Loop, worker: Worker, callers: int = 4) -> Iterator[None]:
    """Ask for predictions over HTTP, one after the other for each caller, until the end of the block."""
    ended = threading.Event()
    features = {**loop.events(1)[0].request.features}

    def call(caller: int) -> None:
        for number in count():
            body = {"request_id": f"http-{caller}-{number}", "features": features}
            call = urllib.request.Request(
                f"{worker.url}/tasks/{loop.task.name}/predictions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with suppress(OSError), urllib.request.urlopen(call, timeout=20) as answer:
                answer.read()
            if ended.is_set():
                break

    threads = [threading.Thread(target=call, args=(caller,), daemon=True) for caller in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def unanswered(loop: Loop) -> int:
    """Give how many requests have no prediction yet, at least: markers of transactions count as predictions."""
    requests, predictions = (loop.topics.requests, 0), (loop.topics.predictions, 0)
    ends = end_offsets(loop.connection, [requests, predictions])
    return ends[requests] - ends[predictions]


def took(condition: Callable[[], Any], timeout_s: float) -> float:
    """Wait until a condition holds; gives how long it took (s)."""
    started = time.monotonic()
    until(condition, timeout_s)
    return time.monotonic() - started


def names_the_broker(worker: Worker, task: str, broker: EmbeddedBroker) -> bool:
    """Tell whether readiness says which broker does not answer."""
    reasons = asked(worker, "/readyz")[1]["tasks"][task]["reasons"]
    return any(broker.bootstrap in reason and "does not answer" in reason for reason in reasons)


def test_readiness_follows_a_broker_that_hangs_and_one_that_is_killed(
    broker: EmbeddedBroker, loop: Loop
) -> None:
    worker = loop.workers[0]
    assert "riverloop_cluster_reachable 1.0" in scraped(worker)

    os.kill(broker.pid, signal.SIGSTOP)
    assert took(lambda: not is_ready(worker), 30) < SOON_S
    status, reported = asked(worker, "/readyz")
    assert (status, reported["reason"]) == (503, "not_ready")
    # A write that was not acknowledged may be noticed before the cluster is.
    assert took(lambda: names_the_broker(worker, loop.task.name, broker), 30) < SOON_S
    assert asked(worker, "/livez") == (200, {"status": "live"})
    assert asked(worker, "/healthz")[1]["ready"] is False
    assert "riverloop_cluster_reachable 0.0" in scraped(worker)

    os.kill(broker.pid, signal.SIGCONT)
    assert took(lambda: is_ready(worker), 30) < SOON_S
    assert "riverloop_cluster_reachable 1.0" in scraped(worker)

    broker.kill()
    assert took(lambda: not is_ready(worker), 30) < SOON_S
    broker.start()
    until(lambda: is_ready(worker), 30)
    loop.play(loop.events(50))


def hang(broker: EmbeddedBroker) -> None:
    """Stop the broker in mid-air."""
    os.kill(broker.pid, signal.SIGSTOP)


@pytest.mark.parametrize("happens", [None, hang, EmbeddedBroker.kill], ids=["running", "hung", "killed"])
@pytest.mark.parametrize("after_s", [0.0, 7.0], ids=["at-once", "later"])
def test_sigterm_ends_a_worker_in_time_whatever_its_broker_does(
    broker: EmbeddedBroker, loop: Loop, happens: Callable[[EmbeddedBroker], None] | None, after_s: float
) -> None:
    worker = loop.workers[0]
    with sending(loop):
        time.sleep(1.0)
        if happens is not None:
            happens(broker)
        time.sleep(after_s)
        began = time.monotonic()
        os.kill(worker.pid, signal.SIGTERM)
        code = worker.wait_ended(30)
        assert (code, time.monotonic() - began < SOON_S) == (0, True), worker.log
    lines = worker.log.splitlines()
    assert "Traceback" not in worker.log
    assert " stopped by SIGTERM after " in lines[-1], lines[-5:]
    assert sum(" stopped by SIGTERM after " in line for line in lines) == 1


def test_sigterm_ends_a_worker_that_waits_for_its_cluster_at_the_start(
    broker: EmbeddedBroker, loop: Loop
) -> None:
    waiting = loop.worker()
    hang(broker)
    waiting.start()
    until(lambda: waiting.log_file.exists() and "starting" in waiting.log, 60)
    time.sleep(1.0)
    began = time.monotonic()
    os.kill(waiting.pid, signal.SIGTERM)
    assert (waiting.wait_ended(30), time.monotonic() - began < SOON_S) == (0, True), waiting.log
    assert "Traceback" not in waiting.log
    assert " stopped by SIGTERM after " in waiting.log.splitlines()[-1]


SLOW_MODEL = '''
import time
from pathlib import Path

from river import base


class Slow(base.Classifier):
    """Takes as long to predict and to learn, without a pause, as the file `slow` says, where it lies beside it."""

    def __init__(self) -> None:
        self.learned = 0

    def learn_one(self, x: dict, y: bool) -> None:
        self.learned += 1
        self._work(self.learned)

    def predict_proba_one(self, x: dict) -> dict:
        self._work(int(x["LeadTime"]))
        return {False: 0.5, True: 0.5}

    @staticmethod
    def _work(number: int) -> None:
        slow = Path(__file__).with_name("slow")
        if slow.exists():
            until = time.thread_time() + float(slow.read_text()) * (0.5 + number % 20 / 20)
            while time.thread_time() < until:
                pass
'''
HEALTH_S = 0.1
"""A probe is answered within this time; up to one in twenty may be late."""
KUBERNETES_S = 1.0
"""How long Kubernetes waits for a probe's answer, unless it is given another `timeoutSeconds`."""


@pytest.mark.parametrize(("step_s", "waiting"), [(0.02, 500), (0.3, 50)], ids=["20-ms", "300-ms"])
def test_probes_are_answered_while_a_slow_model_is_behind_on_all_inputs(
    broker: EmbeddedBroker, tmp_path: Path, task_name: str, step_s: float, waiting: int
) -> None:
    slow = {
        'Model("lr", logistic_regression, {"learning_rate": 0.01}, policy)': 'Model("slow", Slow, {}, policy)',
        "def any_outcome": f"{SLOW_MODEL}\n\ndef any_outcome",
    }
    file = hotel_task(tmp_path, task_name, slow)
    with Loop(f"{file}:cancellation", Connection(broker.bootstrap), tmp_path) as loop:
        worker = loop.worker()
        worker.restart()
        (tmp_path / "slow").write_text(f"{step_s}")
        took_s: list[float] = []
        with sending(loop), calling(loop, worker, 2):
            time.sleep(2.0)
            ends = time.monotonic() + 10
            while time.monotonic() < ends:
                for path in ("/livez", "/readyz", "/healthz"):
                    started = time.monotonic()
                    status, reported = asked(worker, path)
                    took_s.append(time.monotonic() - started)
                    assert (status, reported["status"]) == (200, "ready" if path == "/readyz" else "live")
            behind = unanswered(loop)
            (tmp_path / "slow").unlink()
            assert behind > waiting, "the model was not slow enough to be behind"
    took_s.sort()
    assert took_s[len(took_s) * 95 // 100] < HEALTH_S, took_s[-20:]
    assert took_s[-1] < KUBERNETES_S, took_s[-20:]
