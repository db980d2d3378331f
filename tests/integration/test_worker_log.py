"""A worker's log, from its start to its end: one form, and nothing but lines that an operator can use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from tests.integration.loops import Loop, hotel_task

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]


def test_every_line_is_an_object_and_none_is_about_a_library(
    broker: Broker, tmp_path: Path, task_name: str
) -> None:
    file = hotel_task(tmp_path / "task", task_name)
    connection = Connection(broker.bootstrap)
    with Loop(f"{file}:cancellation_within_30_days", connection, tmp_path, log_format="json") as loop:
        worker = loop.worker()
        worker.restart()
        loop.play(loop.events(300))
        loop.assert_resolved()
        worker.stop()
        lines = [json.loads(line) for line in worker.log.splitlines()]
    assert [
        line for line in lines if line.keys() - {"exception", "stack"} != {"ts", "level", "logger", "message"}
    ] == []
    foreign = [line for line in lines if not line["logger"].startswith(("agents.", "infra."))]
    assert foreign == []
    # What Faust's services log under the names of our classes is about them and not about the loop.
    assert [line for line in lines if "[^-" in line["message"]] == []
    assert any("ready with" in line["message"] for line in lines)
    assert len(lines) < 40
