from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from infra.kafka.crashpoints import FAULTS, POINTS, Faults
from schemas.errors import UsageError


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
    ],
)
def test_a_fault_that_does_not_exist_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        Faults(environment)


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
