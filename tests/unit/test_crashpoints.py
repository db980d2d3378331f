from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agents.loop import now_ms
from infra.kafka.crashpoints import FAULTS, POINTS, Faults
from schemas.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_happens_unless_the_environment_asks_for_it() -> None:
    faults = Faults({})
    assert not any(faults.aborts() for _ in range(1_000))
    for point in POINTS:
        faults.pass_point(point)
        FAULTS.pass_point(point)


def test_aborts_come_at_the_rate_and_with_the_seed_that_were_asked_for() -> None:
    drawn = [
        [Faults.aborts(faults) for _ in range(1_000)]
        for faults in (
            Faults({"RIVERLOOP_ABORT_RATE": "0.1", "RIVERLOOP_ABORT_SEED": seed}) for seed in "112"
        )
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert 60 < sum(drawn[0]) < 140


@pytest.mark.parametrize(
    "environment",
    [
        {"RIVERLOOP_CRASH_POINT": "nowhere"},
        {"RIVERLOOP_CRASH_POINT": "after-commit:often"},
        {"RIVERLOOP_ABORT_RATE": "1"},
        {"RIVERLOOP_ABORT_RATE": "-0.1"},
        {"RIVERLOOP_ABORT_SEED": "x"},
        {"RIVERLOOP_CLOCK_JUMP": "far"},
        {"RIVERLOOP_CLOCK_JUMP": "60:0"},
    ],
)
def test_a_fault_that_does_not_exist_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        Faults(environment)


def test_the_wall_clock_of_a_worker_jumps_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults({"RIVERLOOP_CLOCK_JUMP": "-3600:5"})
    monkeypatch.setattr("agents.loop.FAULTS", faults)
    began, told = faults._began, []
    for elapsed_s in (0, 4.9, 5, 9.9, 10.1):
        monkeypatch.setattr("infra.kafka.crashpoints.time.monotonic", lambda now=began + elapsed_s: now)
        told.append(round((now_ms() - time.time() * 1000) / 3_600_000))
    assert told == [0, 0, -1, -1, 0]


def test_the_wall_clock_is_read_in_one_place() -> None:
    """Else `RIVERLOOP_CLOCK_JUMP` would not be what an operator's wrong clock is."""
    readings = re.compile(r"time\.time\(|time_ns\(|datetime\.(now|today|utcnow)\(|date\.today\(")
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for room in ("schemas", "streams", "infra", "agents")
        for file in sorted((ROOT / room).rglob("*.py"))
        # Commands are run by a person, and are no worker; to a folder of the join's state a wrong clock only means
        # that it is made anew.
        if not {"cli", "ledger", "bench", "store"} & set(file.parts)
        for line in file.read_text().splitlines()
        if readings.search(line) and "group.id" not in line
    ]
    assert found == ["agents/loop.py: return time.time_ns() // 1_000_000 + FAULTS.clock_offset_ms()"]


def test_the_process_dies_at_the_named_point_at_the_named_time() -> None:
    program = (
        "from infra.kafka.crashpoints import crash_point\n"
        "for n in range(5):\n"
        "    print(n, flush=True)\n"
        "    crash_point('before-produce'); crash_point('after-commit')\n"
    )
    environment = {**os.environ, "RIVERLOOP_CRASH_POINT": "after-commit:3"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["0", "1", "2"]
