"""Three workers are restarted one by one, as a stateful set does it: nothing is lost, nothing is done twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from tests.integration.callers import Callers
from tests.integration.loops import Loop, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]
STOP_S = 15.0
"""A worker ends within 10 s; the machine may be busy."""


def test_three_workers_restart_one_by_one_under_requests_and_nothing_is_lost_or_doubled(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    reference = f"{hotel_task(tmp_path, task_name)}:cancellation"
    with Loop(reference, Connection(broker.bootstrap), tmp_path, partitions=3, snapshot_every=300) as loop:
        workers = loop.started(3)
        loop.play(loop.events(300))
        caller = Callers(loop, workers)
        with caller.calling(), loop.replaying(loop.events(8000, 300), 0.02, rest=False):
            # From the highest ordinal down, each with its slot, the next when the one before is ready.
            for worker in reversed(workers):
                os.kill(worker.pid, signal.SIGTERM)
                assert worker.wait_ended(STOP_S) == 0
                worker.restart()
                loop.wait_for_more(30)

        def all_resolved() -> bool:
            resolved = (each for each in loop.resolutions() if not each[0].startswith("http-"))
            return Counter(resolved) == loop.expected()

        until(all_resolved, 60, "each request has its outcome, once")
        predicted = Counter(
            loop.codec.decode_prediction(message.value()).request_id
            for number in range(3)
            for message in read_all(loop.connection, loop.topics.predictions, number)
        )
        assert set(predicted.values()) == {1}
        assert {event.request.request_id for event in loop.sent} <= set(predicted)
        assert len(caller.ids) > 20
        assert set(caller.ids) <= set(predicted), "what was answered is on the topic"
        # The benchmark `rolling` measures it on a quiet machine.
        assert caller.longest_gap_s < 8.0
        loop.assert_digests()
        assert loop.verify().failures == []
        assert loop.dead_letters() == []
        assert "Traceback" not in "".join(worker.log for worker in workers)
