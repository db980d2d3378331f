"""A worker of the harness that dies unexpectedly is a failure of its round."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.kafka.connection import Connection
from streams.join.join_rules import JoinRules
from tests.faults.__main__ import TASK
from tests.faults.check.check import Check
from tests.faults.report import Round, RunOptions, report
from tests.faults.task import faults
from tests.faults.worker import ForeignWorker
from tests.faults.workload.workload import Workload

FOREVER = "import time; time.sleep(60)"


def worker(folder: Path, script: str) -> ForeignWorker:
    reference = str(TASK)
    connection = Connection("127.0.0.1:1")
    return ForeignWorker([sys.executable, "-c", script], reference, connection, folder, 3, group="g")


def wait_ended(one: ForeignWorker) -> None:
    until = time.monotonic() + 30
    while one.running:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("script", ["raise SystemExit(3)", "import os; os.abort()", "pass"])
def test_a_worker_that_ends_unexpectedly_has_failed(tmp_path: Path, script: str) -> None:
    one = worker(tmp_path, script)
    one.start()
    wait_ended(one)
    one.poll()
    assert len(one.failures) == 1
    assert "worker 3 ended unexpectedly with " in one.failures[0]
    one.poll()
    one.kill()
    assert len(one.failures) == 1


def test_an_unexpected_end_is_noticed_also_when_the_worker_is_killed_or_started_first(tmp_path: Path) -> None:
    one = worker(tmp_path, "raise SystemExit(3)")
    one.start()
    wait_ended(one)
    one.start()
    wait_ended(one)
    one.kill()
    assert len(one.failures) == 2


def test_a_worker_that_is_killed_stopped_or_dies_at_its_crash_point_has_not_failed(tmp_path: Path) -> None:
    one = worker(tmp_path, FOREVER)
    one.start()
    one.kill()
    one.start()
    one.stop()
    one.start(crash_point="after-poll:1")
    os.kill(one.pid, signal.SIGKILL)
    wait_ended(one)
    one.start()
    os.kill(one.pid, signal.SIGKILL)
    wait_ended(one)
    one.kill()
    assert [each.split(";")[0] for each in one.failures] == ["worker 3 ended unexpectedly with -9"]


def test_a_failure_counts_as_wrong_for_the_fault_of_its_round() -> None:
    options = RunOptions(seed=1, rounds=2, requests=20, workers=1, partitions=1, faults=("kill", "hang"))
    load = Workload(1, 20, faults.features, "binary", JoinRules.of(faults), ("end-0",))
    check = Check(load)
    check.findings.wrong.add("of r15", number=15)
    check.findings.wrong.add("of r4", number=4)
    check.findings.wrong.add("of r3", number=3)
    rounds = [
        Round("kill", 0, begins_at=2),
        Round("hang", 1, begins_at=12, failures=["worker 3 ended unexpectedly"]),
    ]
    sender: Any = SimpleNamespace(records=20, records_misplaced=0)
    found = report(options, "faults", rounds, check, sender, 1.0)
    assert {name: row["wrong"] for name, row in found["faults"].items()} == {"kill": 2, "hang": 2}
