"""Further metrics of River's that a task names: a backtest reports them, and a bound may be set on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from river import linear_model, metrics, tree
from sklearn import metrics as sk

from agents.cli.main import riverloop
from schemas.dictionary import Dictionary, Number
from schemas.errors import TaskError
from schemas.records import Outcome, Request
from streams import Event, MetricRules, Model, Task
from streams.backtest import backtest
from streams.examples import synthetic_examples
from streams.metrics.served import ServedMetrics
from streams.oracle import dataset
from streams.report import pr_auc

FEATURES = Dictionary(Number(name="a", low=0, high=10), Number(name="b", low=0, high=5))


class Cost(metrics.base.BinaryMetric):
    """A missed one costs ten, a false alarm one."""

    @property
    def bigger_is_better(self) -> bool:
        return False

    def get(self) -> float:
        return float(10 * self.cm.false_negatives(True) + self.cm.false_positives(True))


EXTRA: dict[str, tuple[Callable[[], Any], dict[str, Callable[[], Any]]]] = {
    "binary": (
        linear_model.LogisticRegression,
        {
            "mcc": metrics.MCC,
            "kappa": metrics.CohenKappa,
            "balanced_accuracy": metrics.BalancedAccuracy,
            "f2": lambda: metrics.FBeta(2.0),
            "area": metrics.ROCAUC,
            "cost": Cost,
        },
    ),
    "multiclass": (
        tree.HoeffdingTreeClassifier,
        {"micro_f1": metrics.MicroF1, "weighted_f1": metrics.WeightedF1, "entropy": metrics.CrossEntropy},
    ),
    "regression": (
        linear_model.LinearRegression,
        {"mape": metrics.MAPE, "smape": metrics.SMAPE, "mse": metrics.MSE},
    ),
}


def task(kind: Any, extra: Any, make: Callable[[], Any]) -> Task:
    rules = MetricRules(extra=extra)
    return Task(
        name="t",
        question="",
        kind=kind,
        features=FEATURES,
        horizon=timedelta(hours=1),
        models=(Model("m", make),),
        metrics=rules,
    )


@pytest.mark.parametrize("kind", EXTRA)
def test_they_are_rivers_over_the_same_labels(kind: str) -> None:
    make, extra = EXTRA[kind]
    made = task(kind, extra, make)
    events = []
    for number, (x, y) in enumerate(synthetic_examples(FEATURES, kind, 200, 2)):
        ts = 1_700_000_000_000 + number * 1000
        events.append(Event(Request(f"r{number}", ts, x), (Outcome(f"r{number}", ts + 1, y),)))
    found = backtest(made, events)["models"]["m"]
    model: Any = make()
    expected = {name: each() for name, each in extra.items()}
    for x, y in dataset(made, made.models[0], events):
        asked = dict(x)
        answers: Any = model.predict_one(asked) if kind == "regression" else model.predict_proba_one(asked)
        if answers or kind == "regression":
            for metric in expected.values():
                labels = kind != "regression" and metric.requires_labels
                metric.update(y, max(answers, key=answers.get) if labels else answers)
        model.learn_one(dict(x), y)
    if kind != "regression":
        accuracy = sum(row.get(name, 0) for name, row in found["confusion"].items()) / found["n"]
        assert accuracy == pytest.approx(found["accuracy"])
        assert sum(sum(row.values()) for row in found["confusion"].values()) == found["n"]
    assert {name: found[name] for name in extra} == {name: each.get() for name, each in expected.items()}
    assert (
        ServedMetrics(made, made.models[0]).spec == ServedMetrics(task(kind, {}, make), made.models[0]).spec
    )


@pytest.mark.parametrize(
    ("kind", "extra", "why"),
    [
        ("binary", {"accuracy": metrics.MCC}, "not taken already"),
        ("binary", {"Mcc": metrics.MCC}, "lower-case letters"),
        ("binary", {"mcc": metrics.MCC()}, "must be a class or function that makes a metric"),
        (
            "binary",
            {"mape": metrics.MAPE},
            "makes a MAPE; kind='binary' takes a BinaryMetric or MultiClassMetric",
        ),
        ("regression", {"mcc": metrics.MCC}, "takes a RegressionMetric"),
        ("binary", {"matrix": metrics.ConfusionMatrix}, "gives no number"),
        ("binary", {"broken": lambda: 1 / 0}, "ZeroDivisionError"),
        ("binary", [metrics.MCC], "must be a dict"),
    ],
)
def test_a_wrong_one_is_named_with_its_cure(kind: str, extra: Any, why: str) -> None:
    with pytest.raises(TaskError, match=why):
        task(kind, extra, EXTRA[kind][0])


def test_average_precision_is_scikit_learns() -> None:

    rng = np.random.default_rng(3)
    scores, labels = rng.integers(0, 30, 500) / 30, rng.random(500) < 0.1
    assert pr_auc(scores, labels) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)
    assert pr_auc(np.zeros(500), labels) == pytest.approx(labels.mean())


def test_a_bound_may_be_set_on_one(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "id,ts,a,outcome\n" + "".join(f"{n},{n * 1000},{n % 10},{n % 10 > 4}\n" for n in range(200))
    )
    (tmp_path / "task.py").write_text(
        "from datetime import UTC, datetime, timedelta\n"
        "from river import linear_model, metrics\n"
        "from schemas import Dictionary, Number\n"
        "from streams import DataFile, MetricRules, Model, Task\n"
        "task = Task(name='t', question='', features=Dictionary(Number(name='a')), horizon=timedelta(hours=1),\n"
        "    earliest=datetime(1970, 1, 1, tzinfo=UTC), models=(Model('m', linear_model.LogisticRegression),),\n"
        "    metrics=MetricRules(extra={'mcc': metrics.MCC}),\n"
        "    data=DataFile(path='rows.csv', request_id='id', ts=lambda row: int(row['ts']),\n"
        "        outcome=lambda row: (int(row['ts']) + 1, row['outcome'] == 'True')))\n"
    )

    def run(*options: str) -> Any:
        return CliRunner().invoke(riverloop, ["backtest", str(tmp_path / "task.py"), *options])

    done = run("--fail-below", "mcc=0.1", "--fail-below", "pr_auc=0.1", "--fail-below", "mcc=base-rate+0.05")
    assert done.exit_code == 0, done.output
    assert "mcc" in done.output
    failed = run("--fail-below", "mcc=0.999", "--fail-below", "pr_auc=1.1")
    assert failed.exit_code == 1
    assert "m.mcc is" in failed.output
    assert "m.pr_auc is" in failed.output
    wrong = run("--fail-above", "mcc=0.5")
    assert "mcc is better when it is higher" in str(wrong.exception)
