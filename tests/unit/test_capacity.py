"""What `riverloop plan` computes, and that its costs are those that were measured."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from agents.cli.plan import plan as command
from infra.capacity import record_sizes, time_of_models
from infra.taskfile import examples, load_task
from schemas.errors import UsageError
from streams.capacity import BUSY, BY_NAME, Load, plan

ROOT = Path(__file__).parents[2]
HOTEL = str(examples() / "hotel_bookings" / "task.py")
DAY = 86_400.0
LOAD = Load(
    rate=100,
    horizon_s=7 * DAY,
    revision_horizon_s=30 * DAY,
    outcome_after_s=2 * DAY,
    learn_us=50,
    request_bytes=300,
    prediction_bytes=200,
    outcome_bytes=60,
    entry_bytes=400,
    state_bytes=250,
)


def test_the_costs_are_those_of_the_recorded_benchmarks() -> None:
    recorded = json.loads((ROOT / "docs/reference/benchmarks.json").read_text())
    whole, unwatched = (recorded["stages"][name]["cpu_us"] for name in ("whole", "unwatched"))
    assert BY_NAME["loop"] == pytest.approx(unwatched, abs=0.1)
    assert BY_NAME["monitoring"] == pytest.approx(whole - unwatched, abs=0.1)
    scale = {row["contender"]: row["cpu_us"] for row in recorded["scale"]["rows"]}
    assert BY_NAME["fold"] == pytest.approx(2 * (scale["two-workers"] - scale["one-worker"]), abs=1)
    (ours,) = (row for row in recorded["throughput"]["rows"] if row["contender"] == "ours")
    assert BY_NAME["worker"] == pytest.approx(ours["memory_mb"], abs=1)


def test_the_costs_are_those_of_the_pages() -> None:
    state = (ROOT / "docs/operations/join-state.md").read_text()
    restart = " ".join((ROOT / "docs/operations/restart-and-recovery.md").read_text().split())
    per_request = re.search(r"(\d+) bytes per pending request", state)
    rebuilt = re.search(r"\| 0\.02 s; (\d+) s", state)
    times = re.search(r"serves after (\d+) s from a snapshot.* and (\d+) s without snapshots", restart)
    assert per_request is not None
    assert rebuilt is not None
    assert times is not None
    assert BY_NAME["pending"] == int(per_request[1]) - 157
    assert BY_NAME["restore"] == int(rebuilt[1])
    assert (BY_NAME["start"], BY_NAME["replay"]) == (int(times[1]), int(times[2]))


def test_requests_wait_until_their_outcome_or_the_horizon() -> None:
    assert plan(LOAD).pending == 100 * 2 * 86_400
    assert plan(LOAD).resolved == 100 * 35 * 86_400
    never = plan(replace(LOAD, labelled=0.0))
    assert never.pending == 100 * 7 * 86_400
    assert never.resolved == 100 * 30 * 86_400
    late = plan(replace(LOAD, outcome_after_s=99 * DAY))
    assert late.pending == 100 * 7 * 86_400, "after the horizon nothing waits"


@pytest.mark.parametrize("rate", [10, 100, 500, 1000, 1500])
def test_a_plan_leaves_the_owner_room_and_has_a_worker_in_reserve(rate: float) -> None:
    found = plan(replace(LOAD, rate=rate))
    assert found.busy_share <= BUSY
    assert found.partitions >= 2 * (found.workers - 1)
    if found.workers > 2:
        shared = rate * 2 * BY_NAME["loop"] / 1e6
        owner = found.busy_share - shared / (found.workers - 1)
        assert owner + shared / (found.workers - 2) > BUSY, "one worker less is not enough"


def test_what_one_log_cannot_hold_is_an_error_that_names_the_limit() -> None:
    most = plan(LOAD).most_rate
    assert plan(replace(LOAD, rate=most * 0.98)).workers >= 2
    with pytest.raises(UsageError, match=rf"At most {most:,.0f} requests per second fit"):
        plan(replace(LOAD, rate=most * 1.02))


@pytest.mark.parametrize(
    "change", [{"rate": 0.0}, {"rate": float("nan")}, {"labelled": 1.5}, {"horizon_s": 0.0}]
)
def test_a_load_that_makes_no_sense_is_an_error(change: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        plan(replace(LOAD, **change))  # type: ignore[arg-type]  # floats


def test_disk_counts_every_replica_and_memory_falls_with_workers() -> None:
    one, three = plan(replace(LOAD, replication=1)), plan(LOAD)
    assert three.log_bytes_per_day == pytest.approx(3 * one.log_bytes_per_day, abs=3)
    assert three.disk_bytes_first_year > 365 * three.log_bytes_per_day
    assert plan(replace(LOAD, snapshot_every=1_000_000)).restart_s > three.restart_s


def test_the_command_measures_the_task_and_prints_what_it_computed_from() -> None:
    task = load_task(HOTEL).task
    done = CliRunner().invoke(
        command, [HOTEL, "--rate", "2", "--horizon", "10", "--outcome-after", "3", "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["plan"]["pending"] == 2 * 3 * 86_400
    assert found["load"]["learn_us"] > 1
    assert found["load"]["entry_bytes"] == record_sizes(task).entry
    assert {cost["name"] for cost in found["costs"]} == set(BY_NAME)
    shown = CliRunner().invoke(command, [HOTEL, "--rate", "2", "--learn-us", "100"]).stdout
    assert "100 µs" in shown
    rejected = CliRunner().invoke(command, [HOTEL, "--rate", "2", "--horizon", "-1"])
    assert isinstance(rejected.exception, UsageError)


def test_json_is_larger_and_more_models_take_longer() -> None:
    task = load_task(HOTEL).task
    assert record_sizes(task, json=True).request > record_sizes(task).request
    one = replace(task, models=task.models[:1])
    assert record_sizes(one).prediction < record_sizes(task).prediction
    assert time_of_models(one, 500) < time_of_models(task, 500)
