from __future__ import annotations

import collections
import copy
import importlib.util
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from river import (
    drift,
    ensemble,
    feature_extraction,
    forest,
    linear_model,
    metrics,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    tree,
    utils,
)

from schemas.errors import NotReproducible
from schemas.records import Outcome, Position
from streams.select import Select
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest, state_digests

NUMBERS, LEVELS = ("size", "age", "price"), ("shop", "kind")


def numbers() -> Any:
    return Select(*NUMBERS) | preprocessing.StandardScaler()


def everything() -> Any:
    return numbers() + (Select(*LEVELS) | preprocessing.OneHotEncoder())


def groups() -> Any:
    union = numbers() + feature_extraction.Agg(on="size", by="shop", how=stats.Mean())
    union += feature_extraction.TargetAgg(by=["shop", "kind"], how=stats.BayesianMean(0.5, 10))
    return union


def hashed() -> Any:
    return numbers() + (Select(*LEVELS) | preprocessing.FeatureHasher(n_features=30, seed=5))


def imputed() -> Any:
    levels = (
        Select(*LEVELS) | preprocessing.StatImputer(("kind", stats.Mode())) | preprocessing.OneHotEncoder()
    )
    return (Select(*NUMBERS) | preprocessing.PreviousImputer() | preprocessing.StandardScaler()) + levels


NOMINAL = list(LEVELS)
CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: everything() | linear_model.LogisticRegression(),
    "hoeffding": lambda: tree.HoeffdingTreeClassifier(grace_period=40, nominal_attributes=NOMINAL),
    "adaptive": lambda: tree.HoeffdingAdaptiveTreeClassifier(
        grace_period=40, nominal_attributes=NOMINAL, seed=4
    ),
    "forest": lambda: forest.ARFClassifier(n_models=5, grace_period=40, nominal_attributes=NOMINAL, seed=1),
    "mondrian": lambda: numbers() | forest.AMFClassifier(n_estimators=3, seed=1),
    "bayes": lambda: numbers() | naive_bayes.GaussianNB(),
    "passive": lambda: everything() | linear_model.PAClassifier(),
    "neighbours": lambda: numbers() | neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=60)),
    "bagging": lambda: ensemble.BaggingClassifier(everything() | linear_model.LogisticRegression(), seed=2),
    "adwin bagging": lambda: numbers() | ensemble.ADWINBaggingClassifier(naive_bayes.GaussianNB(), seed=2),
    "groups": lambda: groups() | linear_model.LogisticRegression(),
    "hashed": lambda: hashed() | linear_model.LogisticRegression(),
    "imputed": lambda: imputed() | linear_model.LogisticRegression(),
    "robust": lambda: Select(*NUMBERS) | preprocessing.RobustScaler() | linear_model.LogisticRegression(),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "linear": lambda: everything() | linear_model.LinearRegression(),
    "regression tree": lambda: numbers() | tree.HoeffdingTreeRegressor(grace_period=40),
    "adaptive regression": lambda: numbers() | tree.HoeffdingAdaptiveTreeRegressor(grace_period=40, seed=1),
    "regression forest": lambda: numbers() | forest.ARFRegressor(n_models=3, grace_period=40, seed=1),
    "bayesian": lambda: numbers() | linear_model.BayesianLinearRegression(),
}
NAMES = [*CLASSIFIERS, *REGRESSORS]

Example = tuple[dict[str, Any], Any]


def make(name: str) -> Any:
    return (CLASSIFIERS.get(name) or REGRESSORS[name])()


def examples(name: str, count: int = 200) -> Iterator[Example]:
    rng = random.Random(11)
    for _ in range(count):
        x: dict[str, Any] = {"size": rng.random(), "age": rng.gauss(0, 3), "price": float(rng.randrange(5))}
        x |= {"shop": rng.choice("abcd"), "kind": rng.choice("xyz")}
        target = x["size"] + (x["shop"] in "ab") + rng.gauss(0, 0.1)
        yield x, (target if name in REGRESSORS else target > 1)


def answer(name: str, model: Any, x: dict[str, Any]) -> Any:
    return model.predict_one(x) if name in REGRESSORS else model.predict_proba_one(x)


def trained(name: str, count: int = 200) -> Any:
    model = make(name)
    for x, y in examples(name, count):
        model.learn_one(x, y)
    return model


def all_digests() -> dict[str, str]:
    return {name: state_digest(trained(name)) for name in NAMES}


# ---------------------------------------------------------------- equal knowledge


@pytest.mark.parametrize(
    "restore", [lambda m, fresh: pickle.loads(pickle.dumps(m)), lambda m, fresh: load(dump(m), fresh)]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_model_restored_half_way_goes_on_in_the_same_bits(
    name: str, restore: Callable[[Any, Any], Any]
) -> None:
    live, restored = make(name), make(name)
    for number, (x, y) in enumerate(examples(name)):
        if number in {1, 70, 130}:
            restored = restore(restored, make(name))
        if number:
            assert repr(answer(name, live, x)) == repr(answer(name, restored, x))
        live.learn_one(x, y)
        restored.learn_one(copy.deepcopy(x), y)
        if number % 50 == 0:
            assert state_digest(live) == state_digest(restored)
    assert state_digest(live) == state_digest(restored)


def test_models_are_equal_in_processes_with_other_hash_seeds() -> None:
    code = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('models', {str(Path(__file__))!r})\n"
        "models = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(models)\n"
        "print(json.dumps(models.all_digests()))\n"
    )
    path = os.pathsep.join(sys.path)
    for seed in ("1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(done.stdout) == all_digests()


@pytest.mark.parametrize("name", NAMES)
def test_predicting_changes_nothing(name: str) -> None:
    model = trained(name, 60)
    before = state_digest(model)
    for x, _ in examples(name, 20):
        answer(name, model, x)
        answer(name, model, x | {"shop": "never seen", "size": 5.0})
    assert state_digest(model) == before


@pytest.mark.parametrize("name", NAMES)
def test_one_more_example_changes_it(name: str) -> None:
    model = trained(name, 60)
    before = state_digest(model)
    # Far off, and of the other class: a passive-aggressive model learns nothing from what it gets right.
    for y in (0.0, 5.0) if name in REGRESSORS else (True, False):
        model.learn_one({"size": 3.0, "age": 9.0, "price": 1.0, "shop": "a", "kind": "x"}, y)
    assert state_digest(model) != before


def test_a_detector_and_a_metric_are_states_as_well() -> None:
    def run(restored: bool) -> tuple[Any, Any]:
        detector, metric = drift.ADWIN(), metrics.LogLoss()
        rng = random.Random(3)
        drifted = False
        for number in range(700):
            detector.update(rng.random() + (number > 400))
            drifted = drifted or detector.drift_detected
            metric.update(rng.random() < 0.5, rng.random())
            if restored and number % 200 == 50:
                detector, metric = load(dump((detector, metric)))
        assert drifted
        return detector, metric

    assert state_digest(run(False)) == state_digest(run(True))


# ---------------------------------------------------------------- defaults


def test_an_entry_that_equals_the_default_is_absent() -> None:
    touched: dict[str, float] = collections.defaultdict(float)
    untouched: dict[str, float] = collections.defaultdict(float)
    assert touched["a"] == 0.0
    assert state_digest(touched) == state_digest(untouched)
    touched["a"] = -0.0  # other bits than the default's
    assert state_digest(touched) != state_digest(untouched)


def test_defaults_are_absent_at_any_depth() -> None:
    touched: Any = collections.defaultdict(counter)
    empty: Any = collections.defaultdict(counter)
    assert touched["a"]["b"] == 0
    # A function outside River is not called, for it might count its calls: its entries are knowledge.
    assert state_digest(touched) != state_digest(empty)
    nested: Any = collections.defaultdict(collections.Counter)
    assert nested["a"]["b"] == 0
    assert state_digest(nested) == state_digest(collections.defaultdict(collections.Counter))
    nested["a"].update("b")
    assert state_digest(nested) != state_digest(collections.defaultdict(collections.Counter))


def counter() -> collections.Counter[str]:
    return collections.Counter()


def test_a_vector_that_was_touched_is_equal() -> None:
    touched: Any = utils.VectorDict({"a": 1.0}, float)
    untouched: Any = utils.VectorDict({"a": 1.0}, float)
    assert touched["b"] == 0.0
    assert state_digest(touched) == state_digest(untouched)
    touched["b"] = 2.0
    assert state_digest(touched) != state_digest(untouched)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (1, 1.0),
        (1, True),
        ("1", 1),
        ("1", b"1"),
        ([1, 2], (1, 2)),
        ([1, 2], [2, 1]),
        ([[1], 2], [[1, 2]]),
        ({1: 2}, {2: 1}),
        ({"a": 1}, {"a": 1, "b": None}),
        (set(), frozenset()),
        (["ab", "c"], ["a", "bc"]),
        (float("nan"), float("inf")),
        (np.float64(1), 1.0),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros(2), np.zeros(2, "f4")),
        (np.array([1, "a"], object), np.array([1, "b"], object)),
        (collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1)),
        (collections.deque([1], 5), collections.deque([1], 6)),
        (random.Random(1), random.Random(2)),
        (np.random.default_rng(1), np.random.default_rng(2)),
        (np.random.RandomState(1), np.random.RandomState(2)),
        (stats.Mean, stats.Var),
        (stats.Mean().get, stats.Var().get),
        (preprocessing.MinMaxScaler(), preprocessing.MaxAbsScaler()),
        (Position("t", 0, 1), Position("t", 1, 0)),
        (Outcome("r", 1, True), Outcome("r", 1, 1.0)),
    ],
)
def test_different_values_differ(one: Any, other: Any) -> None:
    assert state_digest(one) != state_digest(other)
    assert state_digest(one) == state_digest(copy.deepcopy(one))
    assert state_digest(other) == state_digest(copy.deepcopy(other))


def test_order_of_dicts_and_sets_is_no_knowledge() -> None:
    assert state_digest({"a": {1}, "b": 2}) == state_digest({"b": 2, "a": {1}})
    assert state_digest({("x", i) for i in range(50)}) == state_digest(
        {("x", i) for i in reversed(range(50))}
    )
    assert state_digest({Position("t", 0, i): i for i in range(9)}) == state_digest(
        {Position("t", 0, i): i for i in reversed(range(9))}
    )


def test_shared_objects_are_equal_to_equal_ones() -> None:
    shared: list[Any] = [1, [2]]
    assert state_digest([shared, shared]) == state_digest([[1, [2]], [1, [2]]])
    one, other = [shared, shared], shared
    assert state_digests([one, other]) == [state_digest(one), state_digest(other)]


class Node:
    def __init__(self, value: int) -> None:
        self.value = value
        self.parent: Node | None = None
        self.children: list[Node] = []


def ring(*values: int) -> Node:
    nodes = [Node(value) for value in values]
    for node, after in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        node.children, after.parent = [after], node
    return nodes[0]


def test_objects_that_refer_back_are_digested() -> None:
    assert state_digest(ring(1, 2, 3)) == state_digest(pickle.loads(pickle.dumps(ring(1, 2, 3))))
    assert state_digest(ring(1, 2, 3)) != state_digest(ring(1, 3, 2))
    assert state_digest(ring(1, 2, 3)) != state_digest(ring(1, 2, 3, 1, 2, 3))
    itself: list[Any] = []
    itself.append(itself)
    assert state_digest(itself) == state_digest(copy.deepcopy(itself))


def test_a_chain_of_any_depth_is_digested() -> None:
    def chain(last: int) -> Node:
        node = Node(last)
        for number in range(20_000):
            above = Node(number)
            above.children, node.parent = [node], above
            node = above
        return node

    assert state_digest(chain(1)) == state_digest(chain(1))
    assert state_digest(chain(1)) != state_digest(chain(2))


def test_what_has_no_state_is_rejected() -> None:
    with pytest.raises(NotReproducible, match="generator"):
        state_digest({"a": (i for i in range(3))})


def test_a_task_file_may_lie_anywhere(tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        file = tmp_path / f"task_{number}.py"
        file.write_text("class Own:\n    def __init__(self): self.a = 1\n")
        spec = importlib.util.spec_from_file_location(f"task_{number}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        digests.add(state_digest([module.Own(), module.Own]))
    assert len(digests) == 1
