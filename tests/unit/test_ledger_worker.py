"""A worker of the ledger that dies without being asked to is a failure of the round, and not a run to leave out."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import agents.ledger.task
from agents.ledger.report import Options, Round, report
from agents.ledger.task import ledger
from agents.ledger.worker import OtherWorker
from infra.kafka.connection import Connection
from streams.join.rules import JoinRules
from streams.ledger.check import Check
from streams.ledger.workload import Workload

FOREVER = "import time; time.sleep(60)"


def worker(folder: Path, script: str) -> OtherWorker:
    reference = str(Path(agents.ledger.task.__file__))
    connection = Connection("127.0.0.1:1")
    return OtherWorker([sys.executable, "-c", script], reference, connection, folder, 3, group="g")


def wait_ended(one: OtherWorker) -> None:
    until = time.monotonic() + 30
    while one.running:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("script", ["raise SystemExit(3)", "import os; os.abort()", "pass"])
def test_a_worker_that_ends_by_itself_has_failed(tmp_path: Path, script: str) -> None:
    one = worker(tmp_path, script)
    one.start()
    wait_ended(one)
    one.look()
    assert len(one.failures) == 1
    assert "worker 3 ended by itself with " in one.failures[0]
    one.look()
    one.kill()
    assert len(one.failures) == 1


def test_it_is_noticed_too_when_the_worker_is_killed_or_started_before_anybody_looks(tmp_path: Path) -> None:
    one = worker(tmp_path, "raise SystemExit(3)")
    one.start()
    wait_ended(one)
    one.start()
    wait_ended(one)
    one.kill()
    assert len(one.failures) == 2


def test_a_worker_that_is_killed_stopped_or_dies_at_its_crash_point_has_not(tmp_path: Path) -> None:
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
    assert [each.split(";")[0] for each in one.failures] == ["worker 3 ended by itself with -9"]


def test_a_failure_counts_as_wrong_for_the_fault_in_whose_round_it_was() -> None:
    options = Options(seed=1, rounds=2, requests=20, workers=1, partitions=1, faults=("kill", "hang"))
    load = Workload(1, 20, ledger.features, "binary", JoinRules.of(ledger), ("end-0",))
    check = Check(load)
    check.findings.wrong.add("of r15", number=15)
    check.findings.wrong.add("of r4", number=4)
    check.findings.wrong.add("of r3", number=3)
    rounds = [
        Round("kill", 0, begins_at=2),
        Round("hang", 1, begins_at=12, failures=["worker 3 ended by itself"]),
    ]
    sender: Any = SimpleNamespace(records=20, moved=0)
    found = report(options, "ledger", rounds, check, sender, 1.0)
    assert {name: row["wrong"] for name, row in found["faults"].items()} == {"kill": 2, "hang": 2}
