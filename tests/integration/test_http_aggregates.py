"""Aggregates over HTTP, on real orders: whichever worker is called, its answers have those of a backtest."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.taskfile import load_task
from schemas.records import FeatureValue, Prediction, Request
from streams.aggregates.aggregates import request_key
from streams.driver import MemoryDriver
from tests.integration.loops import COPIES, Loop, Worker
from tests.integration.test_aggregates import PARTITIONS, orders, retail_task
from tests.valkey import Valkey

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
COUNT = 240
BEFORE = 60
"""Orders that come over the topic first."""


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    file = retail_task(tmp_path / "task", task_name, {})
    with Loop(str(file), Connection(broker.bootstrap), tmp_path, PARTITIONS, snapshot_every=1000) as made:
        yield made


def call(worker: Worker, loop: Loop, body: Any) -> Any:
    url = f"{worker.url}/tasks/{loop.task.name}/predictions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def asked(loop: Loop, workers: Sequence[Worker], request: Request) -> dict[str, Any]:
    """Call one worker, and another one where it does not answer, as a service does."""
    sent = loop.codec.sent(request)
    body = {"request_id": sent.request_id, "ts": sent.ts, "features": dict(sent.features)}
    until = time.monotonic() + 60
    while True:
        for worker in workers:
            try:
                found: dict[str, Any] = call(worker, loop, body)
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
            except OSError:
                pass  # it was killed
            else:
                return found
        assert time.monotonic() < until, "no worker answers"
        time.sleep(0.1)


def first_predictions(loop: Loop) -> dict[str, Prediction]:
    """Give the prediction of each request that the join keeps."""
    found: dict[str, Prediction] = {}
    for number in range(PARTITIONS):
        for message in read_all(loop.connection, loop.topics.predictions, number):
            each = loop.codec.decode_prediction(message.value())
            found.setdefault(each.request_id, each)
    return found


def added(loop: Loop, features: Mapping[str, FeatureValue]) -> dict[str, FeatureValue]:
    return {name: value for name, value in features.items() if name in loop.task.features.added}


def test_calls_get_the_aggregates_of_a_backtest_whichever_worker_they_meet_and_whenever_one_is_killed(
    loop: Loop, tmp_path: Path
) -> None:
    events = orders(loop, COUNT)
    with Valkey(tmp_path / "valkey") as server:
        one, two = loop.started(2, feature_store=server.url)
        with loop.replaying(events[:BEFORE], 0.0, key=request_key(loop.task)):
            pass
        answers = {}
        for number, event in enumerate(events[BEFORE:]):
            if number == 60:
                one.kill()
            if number == 120:
                one.restart()
                two.kill()
            workers = (one, two) if number % 2 else (two, one)
            answers[event.request.request_id] = asked(loop, workers, event.request)
        two.restart()
        found = first_predictions(loop)
        for request_id, answer in answers.items():
            score = found[request_id].scores[0]
            assert (answer["score"], answer["version"]) == (score.score, score.version), request_id
            assert found[request_id].source is not None
        # A repeated request has its answer at every worker.
        last = events[-1].request
        assert asked(loop, [one], last) == asked(loop, [two], last) == answers[last.request_id]
    driver = MemoryDriver(loop.task, keep_log=False)
    expected = {each.request_id: added(loop, each.features) for each in driver.run(events)}
    assert {name: added(loop, each.features) for name, each in found.items()} == expected
    assert sum(int(each["orders_28d"]) for each in expected.values()) > 50
    assert "Traceback" not in one.log + two.log
    loop.assert_verified()


def test_a_request_that_cannot_be_scored_where_it_belongs_is_a_problem_and_may_be_sent_again(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    # A dictionary that requires an aggregate: the first order of a customer has no mean.
    carried = '        Category(name="customer_id"),\n'
    own = f'{carried}        Number(name="value_28d", unit="GBP"),\n'
    plain_file = retail_task(tmp_path / "plain", task_name, {})
    event = next(iter(load_task(str(plain_file)).file_events()))
    added = {each.name for each in load_task(str(plain_file)).task.aggregates}
    features = {name: value for name, value in event.request.features.items() if name not in added}
    file = tmp_path / "task" / "task.py"
    file.parent.mkdir()
    text = plain_file.read_text()
    assert carried in text
    file.write_text(text.replace(carried, own))
    COPIES.add(file)
    with Loop(str(file), Connection(broker.bootstrap), tmp_path, PARTITIONS) as loop:
        (worker,) = loop.started(1)
        ts = event.request.ts
        first = {"request_id": "first", "ts": ts, "features": features}
        second = {"request_id": "second", "ts": ts + 1000, "features": features}
        with pytest.raises(urllib.error.HTTPError) as error:
            call(worker, loop, first)
        problem = json.loads(error.value.read())
        assert (problem["status"], problem["reason"]) == (422, "missing_field")
        assert (problem["field"], problem["request_id"]) == ("features.value_28d", "first")
        answers = call(worker, loop, [second, {**second, "request_id": 3}])
        assert answers[0]["request_id"] == "second"
        assert answers[1]["reason"] == "wrong_type"
        assert first_predictions(loop)["second"].features["value_28d"] == features["value"]
        with pytest.raises(urllib.error.HTTPError):
            call(worker, loop, first)
        requests = [
            loop.codec.decode_request(message.value()).request_id
            for number in range(PARTITIONS)
            for message in read_all(loop.connection, loop.topics.requests, number)
        ]
        assert requests == ["first", "second", "first"]
