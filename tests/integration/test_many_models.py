"""Thirty models of River's users, through a worker that is killed, and proved from the log."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from schemas.records import Outcome, Request
from streams import Event, Task
from streams.examples import synthetic_examples
from tests.integration.loops import COPIES, Loop, until

pytestmark = pytest.mark.kafka

HEAD = """
import warnings
from datetime import timedelta
from river import (anomaly, compat, compose, conf, drift, dummy, ensemble, facto, feature_extraction, forest,
    feature_selection, imblearn, linear_model, multiclass, naive_bayes, neighbors, preprocessing, stats, tree)
from schemas import Category, Dictionary, Number
from sklearn import linear_model as sk, naive_bayes as sknb
from streams import AMRules, AnomalyClassifier, Model, Select, Task, pure

def num(): return Select("a", "b")
def scaled(): return num() | preprocessing.StandardScaler()
def allf(): return scaled() + (Select("c") | preprocessing.OneHotEncoder())
def halved(x): return {"half": x["a"] / 2}
LR, LIN, HALVES = linear_model.LogisticRegression, linear_model.LinearRegression, [False, True]
"""
TAIL = """
task = Task(name={name!r}, kind={kind!r}, question="?", horizon=timedelta(days=1), models=({models}),
    features=Dictionary(Number(name="a", low=0, high=10), Number(name="b", low=0, high=5),
        Category(name="c", levels=("x", "y", "z")), Category(name="text", levels=("a good one", "late again"))))
"""
MODELS = {
    "binary": (
        "allf() | LR()",
        "compat.SKL2RiverClassifier(sk.SGDClassifier(loss='log_loss'), HALVES)",
        "compat.SKL2RiverClassifier(sknb.BernoulliNB(binarize=3.0), HALVES)",
        "AnomalyClassifier(anomaly.HalfSpaceTrees(n_trees=3, height=3, window_size=20, seed=1), q=0.9, least=30)",
        "AnomalyClassifier(anomaly.OneClassSVM(), q=0.9, least=30)",
        "neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=30))",
        "forest.ARFClassifier(n_models=3, seed=1)",
        "tree.ExtremelyFastDecisionTreeClassifier(nominal_attributes=['c', 'text'])",
        "ensemble.ADWINBaggingClassifier(tree.HoeffdingTreeClassifier(), n_models=2, seed=1)",
        "pure(facto.FFMClassifier(n_factors=3, seed=1))",
        "feature_extraction.BagOfWords(on='text') | pure(feature_selection.PoissonInclusion(0.2, seed=1)) | LR()",
        "feature_extraction.TFIDF(on='text') | LR()",
        "imblearn.RandomUnderSampler(LR(), desired_dist={False: 0.5, True: 0.5}, seed=1)",
        "drift.DriftRetrainingClassifier(tree.HoeffdingTreeClassifier(), drift.binary.DDM())",
        "(compose.FuncTransformer(halved) + num()) | LR()",
        "(feature_extraction.TargetAgg(by='c', how=stats.Mean()) + num()) | LR()",
    ),
    "regression": (
        "allf() | LIN()",
        "compat.SKL2RiverRegressor(sk.SGDRegressor())",
        "AMRules(n_min=30, delta=0.1)",
        "forest.ARFRegressor(n_models=3, leaf_prediction='mean', seed=1)",
        "tree.HoeffdingTreeRegressor(leaf_prediction='mean')",
        "linear_model.BayesianLinearRegression()",
        "Select('c', 'text') | pure(facto.FMRegressor(n_factors=3, seed=1))",
        "preprocessing.TargetMinMaxScaler(LIN())",
        "conf.RegressionJackknife(LIN())",
    ),
    "multiclass": (
        "allf() | linear_model.SoftmaxRegression()",
        "compat.SKL2RiverClassifier(sk.SGDClassifier(loss='log_loss'), ['first', 'second', 'third'])",
        "multiclass.OneVsRestClassifier(LR())",
        "tree.HoeffdingTreeClassifier(nominal_attributes=['c', 'text'])",
        "naive_bayes.GaussianNB()",
    ),
}
NUMBERS = (
    "AMRules",
    "Bayesian",
    "SKL2",
    "Jackknife",
    "MinMax",
    "OneClass",
    "HalfSpace",
    "KNN",
    "UnderSampler",
    "OneVs",
    "GaussianNB",
)
"""Those that take numbers only."""


def task_file(folder: Path, name: str, kind: str) -> Path:
    lines, models = [HEAD], ""
    for number, code in enumerate(MODELS[kind]):
        before = "scaled() | " if any(each in code for each in NUMBERS) else ""
        lines.append(f"def build_{number}(): return {before}{code}\n")
        models += f'Model("m{number}", build_{number}), '
    file = folder / "task.py"
    file.write_text("".join(lines) + TAIL.format(name=name, kind=kind, models=models))
    COPIES.add(file)  # what the load check says of such models is in tests/unit
    return file


def events(task: Task, first: int, count: int) -> list[Event]:
    found = []
    for number, (x, y) in enumerate(synthetic_examples(task.features, task.kind, first + count, 3)):
        ts, request_id = 1_700_000_000_000 + number * 1000, f"r{number}"
        outcomes = (Outcome(request_id, ts + 3000, y),) if number % 7 else ()
        found.append(Event(Request(request_id, ts, x), outcomes))
    return found[first:]


def settle(loop: Loop) -> None:
    """Wait until the log has not grown for two seconds: its owner may still write what time has made due."""
    seen, since = -1, time.monotonic()

    def is_still() -> bool:
        nonlocal seen, since
        if (end := loop.end_of(loop.topics.log)) != seen:
            seen, since = end, time.monotonic()
        return time.monotonic() - since > 2

    until(is_still, 60, "the log ends")


def test_they_are_thirty() -> None:
    assert sum(map(len, MODELS.values())) == 30


@pytest.mark.parametrize("kind", MODELS)
def test_models_of_a_kind_are_the_same_after_a_kill_a_restart_and_in_a_proof(
    kind: str, broker: Broker, tmp_path: Path, task_name: str
) -> None:
    file = task_file(tmp_path, task_name, kind)
    with Loop(f"{file}:task", Connection(broker.bootstrap), tmp_path, snapshot_every=60) as loop:
        worker = loop.worker()
        worker.restart()
        loop.play(events(loop.task, 0, 120))
        settle(loop)
        before = loop.assert_digests()
        assert len(before) == len(MODELS[kind])
        until(lambda: loop.store_at(loop.folder / "snapshots"), 60, "a snapshot is written")
        worker.kill()
        worker.restart()
        assert loop.assert_digests() == before
        loop.play(events(loop.task, 120, 60))
        settle(loop)
        after = loop.assert_digests()
        assert not after.keys() & before.keys()
        status = worker.get(f"/tasks/{loop.task.name}/status")["models"]
        assert {name: each["skipped"] for name, each in status.items()} == dict.fromkeys(status, 0)
        report = loop.assert_verified()
        assert report.snapshots > 0
        assert "Traceback" not in worker.log
