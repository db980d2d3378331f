"""Garbage on the topics and over HTTP: each one dead letter or problem, and no good neighbour harmed."""

from __future__ import annotations

import json
import os
import random
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.replay import Replay
from schemas.codec import Codec
from schemas.dictionary import Dictionary
from schemas.features import Number
from schemas.records import Outcome, Prediction, Punctuation, Request
from streams.datafile import Event
from tests.integration.loops import Loop, Worker, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

YEAR_9999 = 253_370_764_800_000
SECONDS = 1_700_000_000
MIB = 1024 * 1024
SENDERS_TEXT = "Ada-Lovelace"


@pytest.fixture(scope="module")
def loop(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("garbage")
    file = hotel_task(folder / "task", f"garbage-{uuid.uuid4().hex[:8]}")
    connection = Connection(broker.bootstrap)
    with Loop(f"{file}:cancellation_within_30_days", connection, folder, 2, max_batch=500) as made:
        yield made


@pytest.fixture(scope="module")
def worker(loop: Loop) -> Worker:
    made = loop.worker()
    made.restart()
    return made


@dataclass(frozen=True)
class Bad:
    """A record that must become a dead letter."""

    topic: str
    value: bytes | None
    reason: str
    key: bytes | None = b"some-key"


def requests(loop: Loop, good: Event) -> Iterator[Bad]:
    """Give what must not come as a request."""
    topic, codec, request = loop.topics.requests, loop.codec, good.request
    plain = json.loads(codec.encode(request, json=True))
    avro = codec.encode(request)
    elsewhere = Codec("elsewhere", "binary", Dictionary(Number(name="x")))

    def changed(**features: Any) -> bytes:
        return json.dumps(plain | {"features": plain["features"] | features}).encode()

    chance = random.Random(3)
    yield Bad(topic, chance.randbytes(50), "unreadable")
    yield Bad(topic, b"", "unreadable")
    yield Bad(topic, None, "unreadable")
    yield Bad(topic, b"\x00\x00\x00\x00\x07" + avro[10:], "registry_framing", None)
    yield Bad(topic, avro[:2] + bytes(8) + avro[10:], "unknown_schema")
    yield Bad(topic, elsewhere.encode(Request("r", 5, {"x": 1.0})), "unknown_schema")
    yield Bad(topic, avro[:-3], "malformed")
    yield Bad(topic, avro + b"more", "malformed")
    yield Bad(topic, b'{"request_id": "r"', "malformed")
    yield Bad(topic, b"[" * 100_000, "unreadable")
    yield Bad(topic, b'{"a":' * 100_000, "malformed")
    yield Bad(topic, json.dumps({k: v for k, v in plain.items() if k != "ts"}).encode(), "missing_field")
    yield Bad(topic, changed(LeadTime=None), "missing_field")
    yield Bad(topic, changed(LeadTime="soon"), "wrong_type")
    yield Bad(topic, changed(LeadTime=1e400), "wrong_type")
    yield Bad(topic, json.dumps(plain | {"ts": YEAR_9999}).encode(), "impossible_time")
    yield Bad(topic, json.dumps(plain | {"ts": -1}).encode(), "impossible_time")
    yield Bad(topic, json.dumps(plain | {"ts": SECONDS}).encode(), "impossible_time")
    yield Bad(topic, json.dumps(plain | {"request_id": "\0r"}).encode(), "out_of_range")
    yield Bad(topic, json.dumps(plain | {"entity_key": "x" * 201}).encode(), "out_of_range")
    yield Bad(topic, codec.encode(replace(request, parents=("x",) * 101)), "out_of_range")
    yield Bad(topic, f'{{"{SENDERS_TEXT}": 1, "{SENDERS_TEXT}": 2}}'.encode(), "malformed")
    yield Bad(topic, changed(Agent="x" * 2 * MIB), "too_large")
    yield Bad(topic, b"no request", "unreadable", b"k" * (3 * MIB + MIB // 2))
    yield Bad(topic, codec.encode(Outcome("r", 5, True)), "wrong_record")


def outcomes(loop: Loop, good: Event) -> Iterator[Bad]:
    """Give what must not come as an outcome."""
    topic, codec = loop.topics.outcomes, loop.codec
    avro = codec.encode(Outcome("r", 5, True))
    chance = random.Random(4)
    yield Bad(topic, chance.randbytes(50), "unreadable")
    yield Bad(topic, None, "unreadable")
    yield Bad(topic, b"\x00\x00\x00\x00\x07" + avro[10:], "registry_framing")
    yield Bad(topic, avro[:2] + bytes(8) + avro[10:], "unknown_schema")
    yield Bad(topic, avro[:-1], "malformed")
    yield Bad(topic, codec.encode(good.request), "wrong_record", None)
    yield Bad(topic, codec.encode(Prediction("r", 5, good.request.features, ())), "wrong_record")
    yield Bad(topic, b'{"request_id": "r", "ts": 5, "value": "perhaps"}', "wrong_type")
    yield Bad(topic, b'{"request_id": "r", "ts": 5, "value": 7}', "out_of_range")
    yield Bad(topic, b'{"request_id": "r", "ts": 5}', "missing_field")
    yield Bad(topic, codec.encode(Outcome("r", 5, True, reporter="x" * 201)), "out_of_range")
    yield Bad(topic, codec.encode(Outcome("r", 5, None, reason="x" * 900_000)), "out_of_range")
    yield Bad(topic, codec.encode(Outcome("r", YEAR_9999, True)), "impossible_time")
    yield Bad(topic, codec.encode(Outcome("r", SECONDS, True)), "impossible_time")
    yield Bad(topic, codec.encode(Punctuation(good.request.ts)), "unexpected_punctuation")
    yield Bad(topic, b'{"request_id": "r", "ts": 5, "reason": "' + b"x" * 2 * MIB + b'"}', "too_large")


def wait_for(replay: Replay, requests: int) -> None:
    """Wait until so many requests are sent."""
    until(lambda: replay.requests > requests, 120)


def test_each_bad_record_is_one_dead_letter_and_its_neighbours_are_unharmed(
    loop: Loop, worker: Worker
) -> None:
    events = loop.events(3000)
    bad = [*requests(loop, events[0]), *outcomes(loop, events[0])]
    placed: dict[tuple[str, int, int], Bad] = {}
    producer = Producer(loop.connection.config(**{"message.max.bytes": 4 * MIB, "linger.ms": 0}))

    def send(each: Bad, number: int) -> None:
        def delivered(error: Any, message: Any) -> None:
            assert error is None, error
            placed[each.topic, number, message.offset()] = each

        producer.produce(each.topic, each.value, each.key, number, on_delivery=delivered)

    # In the midst of good ones, so that they share batches; each on both partitions.
    with loop.replaying(events) as replay:
        for index, each in enumerate(bad):
            wait_for(replay, index * 2500 // len(bad))
            for number in range(loop.partitions):
                send(each, number)
            producer.poll(0)
        assert producer.flush(30) == 0
        # The replay counts dead letters of requests as answers: these are no answers to its own.
        replay.answers.count -= sum(each.topic == loop.topics.requests for each in bad) * loop.partitions
    loop.assert_resolved()

    until(lambda: len(loop.dead_letters()) >= len(placed), 60)
    dead_letters = loop.dead_letters()
    reported = {
        (each.source.topic, each.source.partition, each.source.offset): each
        for each in dead_letters
        if each.source
    }
    assert len(dead_letters) == len(reported) == len(placed)
    for place, each in placed.items():
        dead_letter = reported[place]
        assert (dead_letter.reason, dead_letter.value, dead_letter.key) == (
            each.reason,
            each.value,
            each.key,
        ), place
        assert dead_letter.message
        assert dead_letter.arrived > 1_600_000_000_000
    report = loop.assert_verified()
    assert report.counts["dead_letters"] == len(placed)
    loop.assert_digests()
    assert "Traceback" not in worker.log


def test_outcomes_of_a_producer_with_librdkafka_s_own_partitioner_still_join(
    loop: Loop, worker: Worker
) -> None:
    ids = [f"foreign-{number}" for number in range(200)]
    events = loop.events(200)
    now = events[-1].request.ts + 400 * 86_400_000
    codec, topics = loop.codec, loop.topics
    ours = Producer(loop.connection.config(partitioner="murmur2_random"))
    theirs = Producer(loop.connection.config())
    for request_id, event in zip(ids, events, strict=True):
        ours.produce(
            topics.requests, codec.encode(Request(request_id, now, event.request.features)), request_id
        )
    assert ours.flush(30) == 0
    for request_id in ids:
        outcome = Outcome(request_id, now + 1, True, reporter="a service in C")
        theirs.produce(topics.outcomes, codec.encode(outcome), request_id)
    assert theirs.flush(30) == 0

    def joined() -> set[str]:
        return {key[0] for key in loop.resolutions() if key[:2] == (key[0], "labelled") and key[0] in ids}

    until(lambda: joined() == set(ids), 60)
    report = loop.assert_verified()
    assert 50 < report.counts["forwarded_outcomes"] < 150
    assert worker.status()["counts"]["misplaced"] == report.counts["forwarded_outcomes"]
    assert "needs partitioner=murmur2_random" in worker.log
    assert "a service in C" not in worker.log  # the dictionary leaves reporters out


def post(url: str, body: bytes) -> tuple[int, Any]:
    """Send JSON; gives the status and the answer."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            problem = json.loads(error.read())
            return error.code, problem | {"type of content": error.headers["Content-Type"]}


def test_bad_calls_over_http_are_problems_and_good_ones_next_to_them_count(
    loop: Loop, worker: Worker
) -> None:
    before = len(loop.dead_letters())
    event = loop.events(1)[0]
    now = int(time.time() * 1000)
    good = json.loads(loop.codec.encode(event.request, json=True)) | {"ts": now}
    base = f"{worker.url}/tasks/{loop.task.name}"

    def changed(**features: Any) -> Any:
        return good | {"features": good["features"] | features}

    cases: list[tuple[str, bytes, int, str]] = [
        ("predictions", random.Random(5).randbytes(50), 400, ""),
        ("predictions", b"\x00\x00\x00\x00\x07abc", 400, ""),
        ("predictions", b'{"request_id": ', 400, ""),
        ("predictions", b'{"a":' * 10_000, 400, ""),
        ("predictions", json.dumps(changed(LeadTime=None)).encode(), 422, "features.LeadTime"),
        ("predictions", json.dumps(changed(LeadTime="soon")).encode(), 422, "features.LeadTime"),
        ("predictions", json.dumps(good | {"ts": YEAR_9999}).encode(), 422, "ts"),
        ("predictions", json.dumps(changed(Agent="x" * 2 * MIB)).encode(), 413, ""),
        ("outcomes", b'{"request_id": "r", "ts": 5, "value": "perhaps"}', 422, "value"),
        ("outcomes", b'{"record": "punctuation", "ts": 5}', 422, ""),
        ("outcomes", json.dumps({"request_id": "r", "ts": YEAR_9999, "value": True}).encode(), 422, "ts"),
    ]
    for path, body, status, field in cases:
        code, problem = post(f"{base}/{path}", body)
        assert 400 <= code < 500, (body[:80], code, problem)
        assert (code, problem.get("field") or "") == (status, field), (body[:80], problem)
        assert problem["detail"]
        assert problem["type of content"] == "application/problem+json"
    asked = [good | {"request_id": "http-1"}, changed(LeadTime="soon") | {"request_id": "http-2"}]
    code, answers = post(f"{base}/predictions", json.dumps(asked).encode())
    assert code == 200
    assert answers[0]["request_id"] == "http-1"
    assert answers[0]["version"].startswith("lr.1@")
    assert (answers[1]["reason"], answers[1]["request_id"]) == ("wrong_type", "http-2")
    assert (
        post(f"{base}/outcomes", json.dumps({"request_id": "http-1", "ts": now + 1, "value": True}).encode())[
            0
        ]
        == 202
    )
    until(lambda: loop.resolutions()["http-1", "labelled", True, None] == 1, 60)
    assert len(loop.dead_letters()) == before
    loop.assert_verified()


def text_of(worker: Worker, path: str) -> str:
    with urllib.request.urlopen(worker.url + path, timeout=30) as answer:
        return str(answer.read().decode())


def test_bursts_of_keys_that_nobody_knows_make_no_series_and_no_page_shows_them(
    loop: Loop, worker: Worker
) -> None:
    producer = Producer(loop.connection.config())
    found: list[set[str]] = []
    for burst in range(3):
        before = len(loop.dead_letters())
        for number in range(60):
            key = f"{SENDERS_TEXT}-{burst}-{number}"
            unknown = {"request_id": "r", "ts": 5, "features": {key: 1}}
            for body in (f'{{"{key}": 1, "{key}": 2}}', json.dumps(unknown)):
                producer.produce(loop.topics.requests, body.encode(), b"k")
                url = f"{worker.url}/tasks/{loop.task.name}/predictions"
                assert post(url, body.encode())[0] in {400, 422}
        assert producer.flush(30) == 0
        until(lambda before=before: len(loop.dead_letters()) >= before + 120, 60)  # type: ignore[misc]
        until(loop.published, 60)
        page = text_of(worker, "/metrics")
        found.append({line.rpartition(" ")[0] for line in page.splitlines() if "rejected" in line})
        shown = json.loads(text_of(worker, f"/tasks/{loop.task.name}/live/state"))
        del shown["dead_letters"]  # with an example of each reason, on 127.0.0.1 and without a serve_token
        for each in (page, json.dumps(shown), text_of(worker, f"/tasks/{loop.task.name}/status")):
            assert SENDERS_TEXT not in each
    assert found[0] == found[1] == found[2]
    assert any("malformed" in each for each in found[0])


def test_outcomes_with_reasons_of_900_kb_are_rejected_and_hold_no_memory(loop: Loop, worker: Worker) -> None:
    """300 of them waited for predictions that never came, and took 700 MB."""
    producer = Producer(loop.connection.config(**{"message.max.bytes": 4 * MIB}))

    def rejected() -> int:
        return int(worker.status()["dead_letters"].get("out_of_range", 0))

    before, took = rejected(), []
    for burst in range(3):
        for number in range(200):
            request_id = f"early-{burst}-{number}"
            outcome = Outcome(request_id, 1_700_000_000_000, None, reason=request_id + "x" * 900_000)
            producer.produce(loop.topics.outcomes, loop.codec.encode(outcome), request_id)
            producer.poll(0)
        assert producer.flush(60) == 0
        until(lambda burst=burst: rejected() == before + 200 * (burst + 1), 120)  # type: ignore[misc]
        took.append(memory_mb(worker))
    # A batch at work takes memory, which the process then keeps; what waits would add 180 MB with each burst.
    assert took[2] - took[0] < 200, took


def memory_mb(worker: Worker) -> float:
    """What a process holds now, in MB."""
    pages = Path(f"/proc/{worker.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_after_all_that_the_worker_restarts_into_the_same_state(loop: Loop, worker: Worker) -> None:
    digests = loop.assert_digests()
    worker.kill()
    worker.restart()
    assert loop.assert_digests() == digests
    loop.assert_verified()
    assert "Traceback" not in worker.log
