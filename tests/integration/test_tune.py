"""`riverloop tune`: processes, a Dask cluster, Optuna, and a run that is killed give one result."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agents.cli.tune import tune

TASK = """
from datetime import timedelta
from river import compose, linear_model, optim, preprocessing
from schemas import Dictionary, Number
from streams import DataFile, Model, Task


def build(rate, l2=0.0):
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression(optim.SGD(rate), l2=l2))


tuned = Task(
    name="tuned", question="Is x above y?", features=Dictionary(Number(name="x"), Number(name="y")),
    horizon=timedelta(days=5), models=(Model("lr", build, {"rate": 0.01}),),
    data=DataFile(path="rows.csv", request_id="id", ts="ts", timezone="UTC", dates="epoch_ms",
                  outcome=lambda row: (int(row["known"]), row["label"] == "1")),
)
"""
GRID = ("--grid", "rate=0.0001,0.01,5.0", "--grid", "l2=0.0,0.01", "--burn-in", "200", "--part", "1000")
REST = ("--space", "rate=0.0001..5:log", "--trials", "10", "--burn-in", "200", "--part", "2000")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("tune")
    draw, start = random.Random(3), 1_700_000_000
    rows = ["id,ts,known,x,y,label"]
    for number in range(3000):
        x, y = draw.random(), draw.random()
        ts, delay = start + number * 900, draw.randrange(3600, 4 * 86_400)
        label = int(x + 0.3 * draw.gauss(0, 1) > y)
        rows.append(f"r{number},{ts}000,{ts + delay}000,{x:.6f},{y:.6f},{label}")
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    (folder / "task.py").write_text(TASK)
    return str(folder / "task.py")


def run(task: str, out: Path, *more: str) -> Result:
    return CliRunner().invoke(tune, [task, "--out", str(out), "--json", *more])


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, (result.output, result.exception)
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module")
def undisturbed(task: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return found(run(task, tmp_path_factory.mktemp("one"), *GRID, "--jobs", "1"))


def test_a_leaderboard_has_gains_with_intervals_and_says_who_was_dropped(undisturbed: dict[str, Any]) -> None:
    rows = undisturbed["leaderboard"]
    assert len(rows) == 6
    assert rows[0]["status"] == "leads"
    assert rows[0]["model"].startswith("lr-0-01")
    worst = {row["model"]: row for row in rows}["lr-5-0-0-0"]
    assert worst["status"] == "dropped"
    assert worst["low"] <= worst["gain"] <= worst["high"]
    assert worst["gain"] < -0.02
    assert worst["requests"] < undisturbed["requests"]
    assert "worse than" in worst["why"]
    assert undisturbed["lines"][0] == (
        f"Model({rows[0]['model']!r}, build, {rows[0]['parameters']!r}, OnArrival()),"
    )
    assert 0.0 < undisturbed["served"] < 0.25


def test_the_number_of_processes_and_the_parts_change_nothing(
    task: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    grid = [each if each != "1000" else "2500" for each in GRID]
    assert found(run(task, tmp_path, *grid, "--jobs", "3"))["digest"] == undisturbed["digest"]


def test_a_killed_run_goes_on_and_ends_alike(task: str, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "agents.cli.main",
        "tune",
        task,
        "--out",
        str(tmp_path),
        *GRID,
        "--jobs",
        "2",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while len(parts(tmp_path)) < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    there = len(parts(tmp_path))
    assert there >= 2
    result = found(run(task, tmp_path, *GRID, "--jobs", "2"))
    assert result["digest"] == undisturbed["digest"]
    assert result["reused"] >= there
    again = found(run(task, tmp_path, *GRID, "--jobs", "1"))
    assert (again["digest"], again["reused"]) == (undisturbed["digest"], len(parts(tmp_path)))


def parts(folder: Path) -> list[Path]:
    return list(folder.glob("*/*.json"))


def test_a_folder_of_another_run_is_rejected(task: str, tmp_path: Path) -> None:
    assert run(task, tmp_path, "--limit", "400", "--jobs", "1").exit_code == 0
    other = run(task, tmp_path, "--limit", "300", "--jobs", "1")
    assert "history differ" in str(other.exception)


def test_mistakes_are_named(task: str, tmp_path: Path) -> None:
    for more, text in (
        (("--grid", "rate"), "NAME="),
        (("--grid", "rate=1", "--space", "rate=1..2"), "exclude"),
        (("--space", "rate=2..1"), "LOW must be below HIGH"),
        (("--executor", "ray"), "dask://"),
        (("--grid", "nothing=1"), "nothing"),
        (("--grid", "rate=1.5,1-5"), "same name"),
    ):
        result = run(task, tmp_path, "--limit", "100", *more)
        assert result.exit_code != 0
        assert text in str(result.exception), (more, result.exception)


def test_optuna_proposes_rounds_whose_result_does_not_depend_on_processes(task: str, tmp_path: Path) -> None:
    one = found(run(task, tmp_path / "a", *REST, "--jobs", "1"))
    three = found(run(task, tmp_path / "b", *REST, "--jobs", "3"))
    assert one["digest"] == three["digest"]
    assert len(one["leaderboard"]) == 10
    assert 0.001 < one["leaderboard"][0]["parameters"]["rate"] < 1.0
    assert found(run(task, tmp_path / "a", *REST, "--jobs", "2"))["digest"] == one["digest"]


def test_a_dask_cluster_gives_the_same_result(task: str, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, protocol="tcp"
    ) as cluster:
        address = str(cluster.scheduler_address).replace("tcp://", "dask://")
        assert found(run(task, tmp_path, *GRID, "--executor", address))["digest"] == undisturbed["digest"]
