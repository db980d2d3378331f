"""Predictions that any worker gives back: real workers, a real broker, a real Valkey server that fails."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.records import Prediction
from tests.integration.loops import Loop, Worker, hotel_task, until
from tests.integration.test_forget import ADA, COMPANY, IN_PLAIN, PERSONAL, TOKEN_KEY, personal
from tests.valkey import Proxy, Valkey

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
PARTITIONS = 2


@pytest.fixture
def loop(broker: Broker, task_name: str, tmp_path: Path) -> Iterator[Loop]:
    file = hotel_task(tmp_path / "task", task_name)
    with Loop(
        f"{file}:cancellation_within_30_days", Connection(broker.bootstrap), tmp_path, PARTITIONS
    ) as found:
        yield found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as found:
        yield found


def ask(worker: Worker, loop: Loop, name: str, **more: Any) -> dict[str, Any]:
    """Ask for a prediction now: without `ts`, so that each prediction of a request has another one."""
    body = {"request_id": name, "features": dict(loop.events(1)[0].request.features)} | more
    return call(worker, loop, "", body)


def get(worker: Worker, loop: Loop, name: str) -> dict[str, Any] | None:
    try:
        return call(worker, loop, f"/{name}")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return None


def call(worker: Worker, loop: Loop, path: str, body: Any = None) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{worker.url}/tasks/{loop.task.name}/predictions{path}",
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def predictions(loop: Loop) -> dict[str, list[Prediction]]:
    """Give what is on the topic, by request."""
    found: dict[str, list[Prediction]] = {}
    for number in range(loop.partitions):
        for message in read_all(loop.connection, loop.topics.predictions, number):
            each = loop.codec.decode_prediction(message.value())
            found.setdefault(each.request_id, []).append(each)
    return found


def metric(worker: Worker, name: str) -> float:
    with urllib.request.urlopen(f"{worker.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def same(answer: dict[str, Any], written: Prediction) -> bool:
    score = written.scores[0]
    given = (answer["request_id"], answer["ts"], answer["score"], answer["version"])
    return given == (written.request_id, written.ts, score.score, str(score.version))


def test_whichever_worker_is_asked_gives_the_first_answer_also_when_the_first_one_is_killed(
    loop: Loop, server: Valkey
) -> None:
    one, two, three = loop.started(3, feature_store=server.url)
    loop.play(loop.events(60))
    first = {name: ask(one, loop, name) for name in (f"r-{number}" for number in range(20))}
    one.kill()  # the last answer is a moment old
    loop.play(loop.events(60, skip=60))  # models learn: a new prediction has another version
    for name, answer in first.items():
        assert get(two, loop, name) in (answer, None)  # None: it died before it shared it
        assert ask(three, loop, name) == answer
        assert get(two, loop, name) == answer
    new = ask(three, loop, "new")
    assert new["version"] != first["r-0"]["version"]
    one.restart()
    assert [ask(each, loop, "new") for each in (one, two, three)] == [new] * 3
    found = predictions(loop)
    for name, answer in (first | {"new": new}).items():
        (written,) = found[name]
        assert same(answer, written)
    assert metric(three, "riverloop_shared_answers_total") >= 19
    report = loop.assert_verified()
    assert report.counts["predictions"] == 141
    loop.assert_digests()


def test_workers_that_are_asked_at_once_give_one_answer_and_write_one_prediction(
    loop: Loop, server: Valkey
) -> None:
    workers = loop.started(3, feature_store=server.url)
    names = [f"r-{number}" for number in range(100)]
    given: list[dict[str, dict[str, Any]]] = [{} for _ in workers]
    start = threading.Barrier(len(workers))

    def run(at: int) -> None:
        for name in names:
            start.wait(30)
            given[at][name] = ask(workers[at], loop, name)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(len(workers))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert given[0] == given[1] == given[2]
    assert set(given[0]) == set(names)
    found = predictions(loop)
    assert [len(found[name]) for name in names] == [1] * len(names)
    assert all(same(given[0][name], found[name][0]) for name in names)


def test_a_worker_that_dies_between_its_answer_and_the_store_has_answered_all_the_same(
    loop: Loop, server: Valkey
) -> None:
    with Proxy(server.port) as proxy:
        proxy.drops = b"A{"  # its claims reach the server, and none of its answers
        (one,) = loop.started(1, feature_store=f"redis://127.0.0.1:{proxy.port}/0")
        (two,) = loop.started(1, feature_store=server.url)
        first = {name: ask(one, loop, name) for name in ("a", "b", "c")}
        one.kill()
        assert get(two, loop, "a") is None
        assert {name: ask(two, loop, name) for name in first} == first
        assert {name: get(two, loop, name) for name in first} == first
        assert {name: len(each) for name, each in predictions(loop).items()} == {"a": 1, "b": 1, "c": 1}
        with redis.Redis.from_url(server.url) as client:
            assert {(client.get(key) or b"")[:1] for key in client.scan_iter()} == {b"R"}


def test_what_an_aborted_transaction_predicted_can_never_be_read(loop: Loop, server: Valkey) -> None:
    asking, serving = loop.worker(feature_store=server.url), loop.worker(feature_store=server.url)
    asking.start()
    serving.start(abort_rate="0.3", abort_seed="7")
    for each in (asking, serving):
        each.wait_ready()
    events, seen, stop = loop.events(300), list[dict[str, Any]](), threading.Event()

    def look() -> None:
        while not stop.is_set():
            for event in events[::7]:
                if (answer := get(asking, loop, event.request.request_id)) is not None:
                    seen.append(answer)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        loop.play(events)
    finally:
        stop.set()
        thread.join()
    found = predictions(loop)
    assert "aborted" in serving.log
    assert len({answer["request_id"] for answer in seen}) > 10
    for answer in seen:
        assert any(same(answer, each) for each in found[answer["request_id"]])

    def shared() -> int:
        return sum(get(asking, loop, event.request.request_id) is not None for event in events)

    assert shared() > 250  # a commit whose answer was lost is not shared
    for event in events[:50]:
        name = event.request.request_id
        if (given := get(asking, loop, name)) is not None:
            assert same(given, found[name][0])
            assert ask(serving, loop, name) == given  # a repeated id over HTTP


def test_a_server_that_stops_is_wiped_and_comes_back(loop: Loop, server: Valkey) -> None:
    one, two = loop.started(2, feature_store=server.url)
    before = ask(one, loop, "before")
    assert ask(two, loop, "before") == before
    server.stop()
    took = []
    for number in range(10):
        began = time.monotonic()
        assert ask(one, loop, f"down-{number}")["request_id"] == f"down-{number}"
        took.append(time.monotonic() - began)
    assert max(took) < 2.0
    assert ask(two, loop, "before") == before  # from its own memory
    assert ask(two, loop, "down-0")["request_id"] == "down-0"  # another answer, as without a store
    assert metric(one, "riverloop_shared_late_total") == 10
    assert "do not give back" in one.log
    server.start()  # empty
    # What was answered meanwhile is written now.
    until(lambda: get(two, loop, "down-5") is not None, 30, "what waited is written")
    assert get(two, loop, "down-5") == get(one, loop, "down-5")
    until(lambda: ask(one, loop, "after") == ask(two, loop, "after"), 30)
    assert metric(one, "riverloop_shared_lost_total") == 0
    counts = Counter(len(each) for each in predictions(loop).values())
    assert counts[1] >= 11
    assert loop.assert_verified().counts["predictions"] >= 12


def test_a_wrong_password_changes_no_answer_and_is_never_shown(loop: Loop, tmp_path: Path) -> None:
    with Valkey(tmp_path / "locked", "--requirepass", "the right one") as server:
        wrong = {"feature_store": server.url, "feature_store_password": "hunter-2-hunter-2"}
        one, two = loop.started(2, **wrong)
        first = ask(one, loop, "r-1")
        assert get(one, loop, "r-1") == first
        assert get(two, loop, "r-1") is None
        assert ask(two, loop, "r-1")["request_id"] == "r-1"
        until(lambda: "do not give back" in one.log)
        assert "invalid username-password pair" in one.log
        assert metric(one, "riverloop_shared_late_total") >= 1
        for each in (one, two):
            each.stop()
            assert "hunter-2" not in each.log


def test_a_worker_that_stops_in_order_shares_its_last_answers(loop: Loop, server: Valkey) -> None:
    one, two = loop.started(2, feature_store=server.url)
    first = {name: ask(one, loop, name) for name in (f"r-{number}" for number in range(30))}
    one.stop()
    assert {name: get(two, loop, name) for name in first} == first


def test_nothing_in_the_store_names_a_person(
    broker: Broker, task_name: str, server: Valkey, tmp_path: Path
) -> None:
    file = hotel_task(tmp_path / "task", task_name, PERSONAL)
    reference = f"{file}:cancellation_within_30_days"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, PARTITIONS, token_key=TOKEN_KEY) as loop:
        (worker,) = loop.started(1, feature_store=server.url)
        loop.play(personal(loop.events(30)))
        features = dict(loop.events(1)[0].request.features) | {"Company": COMPANY}
        ask(worker, loop, "over-http", features=features, entity_key=ADA)
        with redis.Redis.from_url(server.url) as client:
            until(lambda: client.dbsize() == 31)
            stored = b"".join(key + (client.get(key) or b"") for key in client.scan_iter())
        assert not [form for form in IN_PLAIN if form in stored]
