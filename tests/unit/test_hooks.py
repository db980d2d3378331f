"""Hooks do nothing by default; the harness's injected faults do what they are asked to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infra import turns
from infra.clock import now_ms
from infra.hooks import POINTS, Hooks, install, installed, reached
from infra.kafka.connection import Connection
from infra.kafka.transaction import TransactionRunner
from schemas.errors import TransactionAborted, UsageError
from tests.faults.child import through_child
from tests.faults.injection import InjectedFaults, JumpingClock, inject

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("schemas", "streams", "infra", "agents")


def sources() -> list[tuple[str, str]]:
    """Give the name and the text of every file of the rooms."""
    files = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]
    return [(str(file.relative_to(ROOT)), file.read_text()) for file in files]


def test_nothing_happens_by_default_and_no_environment_changes_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVERLOOP_CRASH_POINT", "after-poll")
    assert type(installed()) is Hooks
    for point in POINTS:
        reached(point)
    before = time.time_ns() // 1_000_000
    assert before <= now_ms() <= time.time_ns() // 1_000_000


def test_no_room_reads_a_fault_from_the_environment() -> None:
    variables = re.compile(r"CRASH_POINT|ABORT_RATE|ABORT_SEED|CLOCK_JUMP|SHORT_TURNS|RIVERLOOP_SLOW\b", re.I)
    assert [name for name, text in sources() if variables.search(text)] == []


def test_the_points_are_those_that_the_rooms_name() -> None:
    texts = [text for name, text in sources() if name != "infra/hooks.py"]
    assert {name for text in texts for name in re.findall(r"\breached\(\"(.+?)\"\)", text)} <= set(POINTS)
    assert [point for point in POINTS if not any(f'"{point}"' in text for text in texts)] == []


class Recorder(Hooks):
    """Records the points of a transaction, and rejects its commit."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def reached(self, point: str) -> None:
        self.calls.append(point)

    def transaction_begins(self, transactional_id: str) -> None:
        self.calls.append(f"begins {transactional_id}")


def test_a_transaction_runner_calls_the_hooks_that_it_is_given() -> None:
    recorder = Recorder()
    runner = TransactionRunner(Connection("127.0.0.1:1"), "t", hooks=recorder)
    runner._open = lambda *_: (_ for _ in ()).throw(RuntimeError("no broker"))  # type: ignore[method-assign]  # no cluster
    with pytest.raises(RuntimeError, match="no broker"):
        runner.run([], {}, b"")
    assert recorder.calls == ["begins t"]


class FakeProducer:
    """Counts what an abort does to a producer."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def flush(self, _: float) -> int:
        self.calls.append("flush")
        return 0

    def abort_transaction(self, _: float) -> None:
        self.calls.append("abort")


def aborted(faults: InjectedFaults, producer: Any) -> bool:
    try:
        faults.transaction_commits("t", producer)
    except TransactionAborted as error:
        return error.certain
    return False


def test_aborts_occur_at_the_rate_and_with_the_seed_of_the_options() -> None:
    drawn = []
    for seed in "112":
        faults = InjectedFaults({"RIVERLOOP_ABORT_RATE": "0.1", "RIVERLOOP_ABORT_SEED": seed})
        producer = FakeProducer()
        drawn.append([aborted(faults, producer) for _ in range(1_000)])
        assert producer.calls == ["flush", "abort"] * sum(drawn[-1])
    assert drawn[0] == drawn[1] != drawn[2]
    assert 60 < sum(drawn[0]) < 140
    assert not any(aborted(InjectedFaults({}), FakeProducer()) for _ in range(1_000))


def test_transactions_of_the_slow_role_are_delayed(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []
    monkeypatch.setattr(time, "sleep", delays.append)
    faults = InjectedFaults({"RIVERLOOP_SLOW": "join:0.5"})
    for role in ("serve", "join", "owner"):
        faults.transaction_begins(f"riverloop.t.{role}.slot")
    assert delays == [0.5]


def test_turns_may_end_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", turns.TURN_S)  # put back afterwards
    before = installed()
    try:
        inject({"RIVERLOOP_SHORT_TURNS": "true"})
    finally:
        install(before)
    assert not turns.TURN_S


@pytest.mark.parametrize(
    "environment",
    [
        {"RIVERLOOP_CRASH_POINT": "nowhere"},
        {"RIVERLOOP_CRASH_POINT": "after-commit:often"},
        {"RIVERLOOP_ABORT_RATE": "1"},
        {"RIVERLOOP_ABORT_RATE": "-0.1"},
        {"RIVERLOOP_ABORT_SEED": "x"},
    ],
)
def test_a_fault_that_does_not_exist_is_rejected(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        InjectedFaults(environment)


@pytest.mark.parametrize("jump", ["far", "60:0"])
def test_a_jump_that_is_none_is_rejected(jump: str) -> None:
    with pytest.raises(UsageError):
        JumpingClock(jump)


def test_the_wall_clock_of_a_worker_jumps_and_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, offsets = JumpingClock("-3600:5"), []
    began = clock._began
    clock.start()
    try:
        for elapsed_s in (0, 4.9, 5, 9.9, 10.1):
            monkeypatch.setattr(time, "monotonic", lambda now=began + elapsed_s: now)
            offsets.append(round((now_ms() - time.time() * 1000) / 3_600_000))
    finally:
        clock.stop()
        monkeypatch.undo()
    assert offsets == [0, 0, -1, -1, 0]
    assert abs(now_ms() - time.time() * 1000) < 60_000


def test_the_wall_clock_is_read_in_one_place() -> None:
    """Else a clock that `JumpingClock` replaces would not be an operator's wrong clock."""
    readings = re.compile(r"time\.time\(|time_ns\(|datetime\.(now|today|utcnow)\(|date\.today\(")
    found = [
        f"{name}: {line.strip()}"
        for name, text in sources()
        # Commands are run by a person, and are no worker. A wrong clock only lets the folder of the join's state be
        # rebuilt.
        if not {"cli", "store"} & set(name.split("/"))
        for line in text.splitlines()
        if readings.search(line) and "group.id" not in line
    ]
    assert found == ["infra/clock.py: return time.time_ns() // 1_000_000"]


def test_the_process_dies_at_the_named_point_at_the_named_count() -> None:
    program = (
        "import os\n"
        "from infra.hooks import reached\n"
        "from tests.faults.injection import inject\n"
        "inject(os.environ)\n"
        "for n in range(5):\n"
        "    print(n, flush=True)\n"
        "    reached('before-produce'); reached('after-commit')\n"
    )
    environment = {**os.environ, "RIVERLOOP_CRASH_POINT": "after-commit:3"}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert ended.stdout.split() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("point", "code", "message"),
    [("after-poll", 0, "--bootstrap"), ("nowhere", 1, "RIVERLOOP_CRASH_POINT=nowhere is none of")],
)
def test_the_child_runs_the_product_s_command_with_faults_that_exist(
    point: str, code: int, message: str
) -> None:
    ended = subprocess.run(
        through_child([sys.executable, "-m", "agents.cli.main", "worker", "--help"]),
        cwd=ROOT,
        env={**os.environ, "RIVERLOOP_CRASH_POINT": point},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stderr
    assert message in ended.stdout + ended.stderr
