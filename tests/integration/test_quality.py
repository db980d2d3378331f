"""What comes in is counted once, whatever becomes of the worker that counts."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from streams.quality.tally import Total
from tests.integration.loops import Loop, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
SENT = 2500


def test_kills_between_answer_and_commit_neither_lose_nor_double_a_count(
    broker: Broker, tmp_path: Path, task_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 300)
    connection = Connection(broker.bootstrap)
    file = hotel_task(tmp_path / "task", task_name)
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path) as loop:
        worker = loop.worker(max_batch=25)
        with loop.replaying(loop.events(SENT)):
            worker.start(crash_point="between-produce-and-commit:30")
            assert worker.wait_ended(120) == -signal.SIGKILL
            worker.restart()
            loop.wait_for_more(200)
            worker.kill()
            worker.restart()
        loop.assert_resolved()

        def published() -> list[float]:
            topic = loop.topics.metrics
            records = read_all(connection, topic, 0, 0, loop.end_of(topic))
            found = [loop.codec.decode_metric(each.value()) for each in records]
            return [each.value for each in found if each.name == "requests"]

        def counted() -> Total:
            total, topic = Total(), loop.topics.quality
            for each in read_all(connection, topic, 0, 0, loop.end_of(topic)):
                total.add(loop.codec.decode_tally(each.value()))
            return total

        total = counted()
        assert (total.requests, total.repeated) == (SENT, 0)
        lead = total.of("LeadTime")
        assert lead.present + lead.missing == SENT
        requests = until(published, 60, "the owner publishes")
        assert requests == sorted(requests), "a counter went back"
        assert requests[-1] <= SENT
