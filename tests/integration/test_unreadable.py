"""A record that nobody can read on a topic that only riverloop writes: a sentence, an end, and a way out."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.runtime import runtime_fingerprint
from infra.verify import KafkaSource, Report, verify
from schemas.records import Outcome, Position
from schemas.state import POSITION_KEY, EarlyOutcome, JoinRecord
from tests.integration.loops import Loop, Worker, command, hotel_task, no_traceback, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

GARBAGE = b"\x00 this is no record of riverloop's"


@pytest.fixture
def loop(broker: Broker, tmp_path: Path) -> Iterator[Loop]:
    file = hotel_task(tmp_path / "task", f"unreadable-{uuid.uuid4().hex[:8]}")
    with Loop(f"{file}:cancellation_within_30_days", Connection(broker.bootstrap), tmp_path, 2) as made:
        yield made


def write(loop: Loop, topic: str, value: bytes | None, key: bytes, partition: int = 0) -> int:
    """Write a record as somebody else would; gives its offset."""
    offsets: list[int] = []
    producer = Producer(loop.connection.config())

    def delivered(error: object, message: object) -> None:
        assert error is None, error
        offsets.append(message.offset())  # type: ignore[attr-defined]  # confluent_kafka.Message

    producer.produce(topic, value, key, partition, on_delivery=delivered)
    assert producer.flush(30) == 0
    return offsets[0]


def assert_ends_with_a_sentence(worker: Worker, place: str, *said: str, before: int = 0) -> None:
    """A worker ends by itself, for the reason that is expected, and says so in its log and at its end."""
    assert worker.wait_ended(90) == 3, worker.log[-3000:]
    log = worker.log[before:]
    no_traceback(worker)
    assert f"CRITICAL agents.ending {place} cannot be read" in log.replace("\n", " "), log[-3000:]
    assert f"Error: {place} cannot be read" in log
    assert log.count(f"{place} cannot be read") == 2
    for each in said:
        assert each in log


def run(loop: Loop, *arguments: str) -> subprocess.CompletedProcess[str]:
    reported, environment, folder = command(*arguments, "--bootstrap", loop.connection.bootstrap)
    return subprocess.run(
        reported, env=environment, cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )


def verified(loop: Loop, *skipped: tuple[str, int]) -> Report:
    with KafkaSource(loop.connection) as source:
        runtime, over = runtime_fingerprint()[0], frozenset(skipped)
        return verify(loop.loaded, loop.codec, source, runtime, loop.store, skip=over)


def test_an_unreadable_record_on_the_log_ends_workers_with_a_sentence_until_a_person_passes_it_over(
    loop: Loop,
) -> None:
    worker = loop.worker()
    worker.restart()
    events = loop.events(400)
    loop.play(events[:200])
    offset = write(loop, loop.topics.log, GARBAGE, b"k")
    place, over = f"{loop.topics.log}[0]@{offset}", f"{loop.topics.log}@{offset}"
    # The follower and the owner meet it, whoever is first.
    assert_ends_with_a_sentence(worker, place, f"RIVERLOOP_SKIP={over}")
    # A new start meets it again: from its snapshot, or as a new owner that catches up.
    before = len(worker.log)
    worker.start()
    assert_ends_with_a_sentence(worker, place, f"RIVERLOOP_SKIP={over}", before=before)

    backfill = run(loop, "backfill", loop.loaded.reference, "--force")
    assert backfill.returncode == 3, backfill.stderr[-2000:]
    assert f"Error: {place} cannot be read" in backfill.stderr
    assert "Traceback" not in backfill.stderr
    report = verified(loop)
    assert [each.where for each in report.failures] == [place]

    after = loop.worker(skip=over)
    after.restart()
    loop.play(events[200:])
    until(lambda: after.status()["models"]["lr"]["learned"] > 0)
    report = verified(loop, (loop.topics.log, offset))
    assert report.failures == []
    assert any(place in note for note in report.notes)
    assert set(report.reproduced.values()) == {report.counts["predictions"]} == {400}
    assert f"{over} is skipped, as set" in after.log
    no_traceback(after)


@pytest.mark.parametrize("join_store", ["memory", "rocks"])
def test_an_unreadable_record_of_the_join_s_state_ends_a_worker_with_a_sentence_until_it_is_tombstoned(
    loop: Loop, join_store: str
) -> None:
    worker = loop.worker(join_store=join_store)
    worker.restart()
    events = loop.events(400)
    loop.play(events[:200])
    worker.stop()
    topic, key = loop.topics.join_state, b"\xff not even text"
    offset = write(loop, topic, GARBAGE, key, partition=1)
    place = f"{topic}[1]@{offset}"
    for _ in range(2):
        before = len(worker.log)
        worker.start()
        said = (f"write a tombstone, that is the key {key!r} without a value, to partition 1 of {topic}",)
        assert_ends_with_a_sentence(worker, place, *said, before=before)
    report = verified(loop)
    assert [each.where for each in report.failures] == [place]

    write(loop, topic, None, key, partition=1)
    worker.restart()
    loop.play(events[200:])
    loop.assert_resolved()
    loop.assert_digests()
    no_traceback(worker)


@pytest.mark.parametrize("case", ["position", "another request's key", "no state at all"])
def test_so_does_a_readable_record_that_is_none_of_the_join_s(loop: Loop, case: str) -> None:
    worker = loop.worker()
    worker.restart()
    loop.play(loop.events(50))
    worker.stop()
    topic, codec = loop.topics.join_state, loop.codec
    outcome = EarlyOutcome(Outcome("somebody-else", 5, True), Position("t", 0, 0), 5)
    value = {
        "position": codec.encode(JoinRecord(early=(outcome,))),
        "another request's key": codec.encode(JoinRecord(early=(outcome,))),
        "no state at all": codec.encode(JoinRecord()),
    }[case]
    offset = write(loop, topic, value, POSITION_KEY if case == "position" else b"some-request")
    before = len(worker.log)
    worker.start()
    assert_ends_with_a_sentence(worker, f"{topic}[0]@{offset}", before=before)
