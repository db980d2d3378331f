"""A shadow whose code raises while it learns, through a real broker: nobody else notices, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.kafka.connection import Connection
from infra.kafka.pytest_plugin import Broker
from schemas.records import Outcome, Request
from streams import Event, Task
from tests.integration.loops import Loop, until

pytestmark = pytest.mark.kafka

TASK_FILE = """
from datetime import timedelta
from river import linear_model, preprocessing, tree
from schemas import Dictionary, Number
from streams import Model, Select, Task

def regression():
    return Select("y") | preprocessing.StandardScaler() | linear_model.LogisticRegression()

def hoeffding_tree():
    return tree.HoeffdingTreeClassifier(grace_period=20, max_depth=10)

def make(name):
    return Task(
        name=name, question="Will it?", features=Dictionary(Number(name="x"), Number(name="y")),
        horizon=timedelta(days=1), models=(Model("lr", regression), Model("ht", hoeffding_tree)),
    )

hurt = make("{name}-hurt")
other = make("{name}-other")
"""


def events(task: Task, first: int, count: int, huge: int = -1) -> list[Event]:
    found = []
    for n in range(first, first + count):
        ts, request_id = 1_700_000_000_000 + n * 1000, f"r{n}"
        x = 1e200 if n == huge else n * 7 % 11 / 3
        features = task.features.canonical({"x": x, "y": n % 13 / 5})
        found.append(
            Event(Request(request_id, ts, features), (Outcome(request_id, ts + 5000, n * 7 % 11 > 4),))
        )
    return found


def test_a_shadow_that_raises_costs_only_itself(broker: Broker, tmp_path: Path, task_name: str) -> None:
    file = tmp_path / "task.py"
    file.write_text(TASK_FILE.replace("{name}", task_name))
    connection = Connection(broker.bootstrap)
    with (
        Loop(f"{file}:hurt", connection, tmp_path, snapshot_every=100) as loop,
        Loop(f"{file}:other", connection, tmp_path) as other,
    ):
        worker = loop.worker(other.loaded.reference)
        other.workers.append(worker)

        def models() -> Any:
            return worker.get(f"/tasks/{loop.task.name}/status")["models"]

        worker.restart()
        loop.play(events(loop.task, 0, 300, huge=150))
        until(lambda: models()["ht"]["passed_over"], 60, "the entry is passed over")
        (entry,) = models()["ht"]["newest_passed_over"]
        assert entry["request_id"] == "r150"
        assert models()["ht"]["stopped"] is None
        assert models()["lr"]["passed_over"] == 0
        assert f"ht passes over log offset {entry['offset']}, request r150: " in worker.log
        with other.replaying(events(other.task, 0, 50)):
            pass  # another task of the same worker answers all of them

        digests = loop.assert_digests()
        worker.stop()
        worker.restart()
        assert loop.assert_digests() == digests
        assert models()["ht"]["newest_passed_over"] == [entry]
        loop.play(events(loop.task, 300, 50))
        report = loop.assert_verified()
        assert report.passed_over["ht"]["newest"] == [entry]
        assert report.snapshots > 0
        assert "Traceback" not in worker.log
