"""What `riverloop backtest` says and on what it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from agents.cli.main import riverloop

TASK = """
from datetime import UTC, datetime, timedelta
from river import linear_model, metrics
from schemas import Category, Dictionary, Number
from streams import DataFile, MetricRules, Model, Select, Task


class Breaks(linear_model.LogisticRegression):
    def learn_one(self, x, y):
        if x["a"] == 7:
            raise ValueError("seven")
        super().learn_one(x, y)


class Stops(metrics.MCC):
    def update(self, *arguments):
        raise ValueError("never")


def outcome(row):
    return (int(row["known"]), row["value"] == "True") if row["known"] else None


def task(name, models, **extra):
    return Task(name=name, question="", features=Dictionary(Number(name="a"), Category(name="c")),
        horizon=timedelta(hours=1), earliest=datetime(1970, 1, 1, tzinfo=UTC), models=models,
        metrics=MetricRules(extra={"mcc": metrics.MCC, **extra}, segments=("c",)),
        data=DataFile(path="rows.csv", request_id="id", ts=lambda row: int(row["ts"]), outcome=outcome))


def lr(name="m", rate=None):
    return Model(name, lambda: Select("a") | linear_model.LogisticRegression())


plain = task("plain", (lr(), lr("other")))
failing = task("failing", (Model("m", lambda: Select("a") | Breaks()),), )
stopping = task("stopping", (lr(),), stops=Stops)
"""


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load check of the models takes more than all else, and is in test_loadcheck.py."""
    monkeypatch.setattr("agents.cli.backtest.check_first", lambda *_: None)


def run(folder: Path, *options: str, task: str = "plain") -> Result:
    (folder / "task.py").write_text(TASK)
    return CliRunner().invoke(riverloop, ["backtest", f"{folder / 'task.py'}:{task}", *options])


def write(folder: Path, rows: list[tuple[Any, ...]]) -> None:
    (folder / "rows.csv").write_text(
        "id,ts,known,a,c,value\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    )


def labelled(count: int = 300) -> list[tuple[Any, ...]]:
    levels = ["x", "y"]
    return [
        (f"r{n}", n * 1000, n * 1000 + 1, n % 10, levels[n % 20 == 0], n % 10 > 4 or n % 7 == 0)
        for n in range(count)
    ]


@pytest.mark.parametrize("bound", ["log_loss=0.5", "log_loss=base-rate", "log_loss@c=x=0.5"])
def test_requests_without_outcomes_pass_no_gate(tmp_path: Path, bound: str) -> None:
    write(tmp_path, [(*row[:2], "", *row[3:5], "") for row in labelled()])
    done = run(tmp_path, "--fail-above", bound)
    assert done.exit_code == 1
    assert "FAILED: m.log_loss" in done.stderr
    assert "has no value" in done.stderr
    assert "300 request(s) were never labelled" in done.stdout
    figures = json.loads(run(tmp_path, "--json").stdout)["models"]["m"]
    assert (figures["n"], figures["log_loss"], figures["mcc"], figures["pr_auc"]) == (0, None, None, None)


@pytest.mark.parametrize(
    ("option", "bound", "reason"),
    [
        ("--fail-above", "log_loss=base-rate-0.01", ""),
        ("--fail-above", "log_loss=other", ""),
        ("--fail-above", "other.log_loss=base-rate-0.9", "other.log_loss is"),
        ("--fail-below", "mcc=base-rate+0.2", ""),
        ("--fail-below", "mcc@c=x=0.2", ""),
        ("--fail-below", "mcc@c=y=0.2", "m.mcc@c=y has no value"),  # 15 labels: shown as `other`
        ("--fail-below", "class_recall@class=true=0.5", ""),
        ("--fail-below", "class_recall@class=true=1.1", "m.class_recall@class=true is"),
        ("--fail-below", "pr_auc_exact=0.5", ""),
        ("--fail-below", "coverage=0.99", ""),
        ("--fail-below", "coverage=1.01", "m.coverage is 1.000000, below the bound 1.01"),
    ],
)
def test_a_bound_on_any_metric(tmp_path: Path, option: str, bound: str, reason: str) -> None:
    write(tmp_path, labelled())
    done = run(tmp_path, option, bound)
    assert (done.exit_code, reason in done.stderr) == (1 if reason else 0, True), done.stderr


def test_few_labels_fail_unless_fewer_are_wanted(tmp_path: Path) -> None:
    write(tmp_path, labelled(20))
    few = run(tmp_path, "--fail-below", "accuracy=0.1")
    assert few.exit_code == 1
    assert "rests on 20 label(s), --min-labels wants 30" in few.stderr
    assert run(tmp_path, "--fail-below", "accuracy=0.1", "--min-labels", "20").exit_code == 0


def test_every_table_of_models_has_the_baselines_and_what_is_missing_is_a_dash(tmp_path: Path) -> None:
    write(tmp_path, labelled())
    lines = run(tmp_path).stdout.splitlines()
    for name in ("base-rate", "last-value"):
        assert any(line.startswith("┃") and name[:4] in line for line in lines), "a column"
        assert any("c=x" in line and name[:4] in line for line in lines)
    (other,) = [line for line in lines if "c=other" in line and "│ m " in line]
    assert other.rstrip("│ ").endswith("-"), "River's objects cannot be added up"


def test_many_metrics_are_rows(tmp_path: Path) -> None:
    write(tmp_path, labelled())
    lines = run(tmp_path).stdout.splitlines()
    first = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert first[:4] == ["n", "accuracy", "f1", "log_loss"]


def test_what_is_left_out_is_counted_and_strict_fails_on_it(tmp_path: Path) -> None:
    rows = labelled(60)
    rows[5] = (rows[4][0], *rows[5][1:])
    rows[9] = (*rows[9][:2], rows[9][1] - 5, *rows[9][3:])
    rows[12] = (*rows[12][:2], "", *rows[12][3:5], "")
    write(tmp_path, rows)
    done = run(tmp_path)
    assert done.exit_code == 0
    assert "2 request(s) were never labelled" in done.stdout
    assert "1 row(s) repeat the request id" in done.stdout
    assert "1 outcome(s) lie before their request" in done.stdout
    strict = run(tmp_path, "--strict")
    assert strict.exit_code != 0
    assert "1 row(s) repeat the request id" in str(strict.exception)


@pytest.mark.parametrize(
    ("task", "text"),
    [("failing", "model m failed 11 time(s)"), ("stopping", "metric stops of model m stopped")],
)
def test_code_that_fails_is_said_in_one_line_and_strict_fails_on_it(
    tmp_path: Path, task: str, text: str
) -> None:
    write(tmp_path, labelled())
    done = run(tmp_path, task=task)
    assert done.exit_code == 0
    assert done.stdout.count("ValueError") == 1
    assert "Traceback" not in done.output
    strict = run(tmp_path, "--strict", task=task)
    assert strict.exit_code == 1
    assert f"FAILED: {text}" in strict.stderr
