from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from river import (
    base,
    compose,
    ensemble,
    facto,
    feature_extraction,
    forest,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    tree,
)

import infra.loadcheck
from infra.checked import CheckCache
from infra.loadcheck import check_task
from infra.taskfile import examples
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.errors import NotReproducible, TaskError
from streams.examples import synthetic_examples
from streams.exercise import Exercise, exercise
from streams.loadcheck import compare
from streams.select import Select

FEATURES = Dictionary(
    Number(name="size", low=0, high=10),
    Number(name="age", optional=True, missing=0.0),
    Integer(name="price", low=0, high=5),
    Category(name="shop", levels=("a", "b", "c")),
    Category(name="kind", optional=True),
    Boolean(name="new"),
)
NUMBERS, LEVELS = ("size", "age", "price"), ("shop", "kind")


def numbers() -> Any:
    return Select(*NUMBERS) | preprocessing.StandardScaler()


def everything() -> Any:
    return numbers() + (Select(*LEVELS) | preprocessing.OneHotEncoder())


NOMINAL = list(LEVELS)
GOOD: dict[str, tuple[str, Callable[[], base.Estimator]]] = {
    "logistic": ("binary", lambda: everything() | linear_model.LogisticRegression()),
    "hoeffding": ("binary", lambda: tree.HoeffdingTreeClassifier(40, nominal_attributes=NOMINAL)),
    "unlimited": ("binary", lambda: numbers() | tree.HoeffdingTreeClassifier(max_size=math.inf)),
    "adaptive": ("binary", lambda: numbers() | tree.HoeffdingAdaptiveTreeClassifier(40, seed=1)),
    "forest": (
        "binary",
        lambda: forest.ARFClassifier(5, grace_period=40, nominal_attributes=NOMINAL, seed=1),
    ),
    "bayes": ("multiclass", lambda: numbers() | naive_bayes.GaussianNB()),
    "softmax": ("multiclass", lambda: everything() | linear_model.SoftmaxRegression()),
    "passive": ("binary", lambda: everything() | linear_model.PAClassifier()),
    "neighbours": (
        "binary",
        lambda: numbers() | neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=50)),
    ),
    "bagging": (
        "binary",
        lambda: ensemble.BaggingClassifier(everything() | linear_model.LogisticRegression(), seed=1),
    ),
    "groups": (
        "binary",
        lambda: (
            (numbers() + feature_extraction.TargetAgg("shop", stats.BayesianMean(0.5, 10)))
            | linear_model.LogisticRegression()
        ),
    ),
    "linear": ("regression", lambda: everything() | linear_model.LinearRegression()),
    "regression tree": ("regression", lambda: numbers() | tree.HoeffdingTreeRegressor(40)),
}


def run(make: Callable[[], base.Estimator], kind: str = "binary", examples: int = 120) -> Exercise:
    return exercise(make, FEATURES, kind, examples, model="m")


def rejected(make: Callable[[], base.Estimator]) -> str:
    with pytest.raises(NotReproducible) as caught:
        compare(run(make), run(make))
    return str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_a_reproducible_model_passes(name: str) -> None:
    kind, make = GOOD[name]
    one = run(make, kind, 200)
    assert one.faults == ()
    compare(one, run(make, kind, 200))


def test_rivers_own_selector_is_named() -> None:
    union = (compose.Select("size", "price") | preprocessing.StandardScaler()) + Select("age")
    message = rejected(lambda: union | linear_model.LogisticRegression())
    assert "'m'" in message
    assert "compose.Select at TransformerUnion/Pipeline/Select" in message
    assert "streams.Select" in message


def test_rivers_own_selector_is_found_inside_an_ensemble() -> None:
    member: Any = compose.Select("size", "price") | linear_model.LogisticRegression()
    assert "compose.Select in ensemble.Bagging" in rejected(
        lambda: ensemble.BaggingClassifier(member, seed=1)
    )


def test_a_selector_of_one_feature_has_one_order() -> None:
    compare(*(run(lambda: compose.Select("size") | linear_model.LogisticRegression()) for _ in range(2)))


def test_a_missing_seed_is_named() -> None:
    message = rejected(lambda: numbers() | forest.ARFClassifier(3))
    assert "forest.ARFClassifier" in message
    assert "without a seed: forest.ARFClassifier" in message


def test_predicting_that_changes_the_state_is_named() -> None:
    message = rejected(lambda: facto.FMClassifier(seed=1))
    assert "facto.FMClassifier changes its state when it predicts" in message


class Counting(base.Transformer):
    """Counts what it sees in `transform_one`, which a prediction calls."""

    def __init__(self) -> None:
        self.seen = 0

    def transform_one(self, x: dict[Any, Any]) -> dict[Any, Any]:
        self.seen += 1
        return x | {"seen": self.seen}


def test_what_a_user_wrote_is_named_as_well() -> None:
    own = (Counting,)
    for kind in own:
        kind.__module__ = "riverloop_task_1"

    def seen(kind: Any) -> str:
        make = lambda: numbers() | kind() | linear_model.LogisticRegression()  # noqa: E731
        both = [exercise(make, FEATURES, "binary", 60, model="m", classes=own) for _ in range(2)]
        with pytest.raises(NotReproducible) as caught:
            compare(*both)
        return str(caught.value)

    assert "Counting at Counting returns values that differ in their bits when it predicts again" in seen(
        Counting
    )


@pytest.mark.parametrize(
    ("make", "component"),
    [
        (lambda: numbers() | neighbors.KNNClassifier(), "neighbors.SWINN"),
        (
            lambda: (
                Select(*NUMBERS)
                | preprocessing.MinMaxScaler()
                | feature_extraction.RandomTreesEmbedding(n_trees=2, height=2, seed=1)
                | linear_model.LogisticRegression()
            ),
            "feature_extraction.RandomTreesEmbedding",
        ),
        (lambda: numbers() | tree.HoeffdingTreeClassifier(max_size=1), "tree.HoeffdingTreeClassifier"),
        (lambda: numbers() | forest.ARFClassifier(2, max_size=1, seed=1), "forest.ARFClassifier"),
    ],
)
def test_what_is_known_to_break_is_rejected(make: Callable[[], base.Estimator], component: str) -> None:
    assert component in rejected(make)


def test_a_model_that_cannot_take_what_the_dictionary_allows_is_named() -> None:
    with pytest.raises(TaskError, match=r"GaussianNB cannot learn from .* got texts, 'shop'.* \(TypeError"):
        run(naive_bayes.GaussianNB)
    needs_all = (
        Select(*LEVELS) | preprocessing.StatImputer(("kind", stats.Mode())) | preprocessing.OneHotEncoder()
    )
    with pytest.raises(
        TaskError, match=r"preprocessing.StatImputer at StatImputer cannot answer .*KeyError: 'kind'"
    ):
        run(lambda: needs_all | linear_model.LogisticRegression())
    with pytest.raises(TaskError, match=r"ensemble\.VotingClassifier .* returns no probabilities"):
        run(lambda: ensemble.VotingClassifier([tree.HoeffdingTreeClassifier() for _ in "ab"]))


def test_synthetic_examples_are_what_the_dictionary_allows() -> None:
    made = list(synthetic_examples(FEATURES, "binary", 500, seed=2))
    assert made == list(synthetic_examples(FEATURES, "binary", 500, seed=2))
    assert made != list(synthetic_examples(FEATURES, "binary", 500, seed=3))
    assert all(FEATURES.canonical(x) == x for x, _ in made)
    assert all(0 <= float(x["size"]) <= 10 and x["price"] in range(6) for x, _ in made)
    missing = sum("kind" not in x for x, _ in made)
    assert 20 < missing < 90
    assert any(str(x["shop"]).startswith("new level") for x, _ in made)
    assert 100 < sum(y is True for _, y in made) < 400


# ---------------------------------------------------------------- in processes of its own

TASK = """
from datetime import timedelta
from river import base, compose, linear_model, preprocessing
from streams import Model, Select, Task
from schemas.dictionary import Category, Dictionary, Number

print("what a task file prints is its own affair")

def double(x):
    return {name: 2 * value for name, value in x.items()}

class Shuffling(base.Transformer):
    def transform_one(self, x):
        return {name: x[name] for name in set(x)}

def good():
    return Select("size", "age") | double | linear_model.LogisticRegression()

def shuffled():
    return Select("size", "age", "b", "c", "d") | Shuffling() | linear_model.LogisticRegression()

features = Dictionary(*(Number(name=name) for name in ("size", "age", "b", "c", "d")))

def task(name, build):
    models = (Model(name, build),)
    return Task(name=name, question="?", features=features, horizon=timedelta(days=1), models=models)

first = task("first", good)
second = task("second", shuffled)
"""


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    path = tmp_path / "task.py"
    path.write_text(TASK)
    return path


def test_a_task_is_checked_in_two_processes(task_file: Path) -> None:
    assert len(check_task(str(task_file))) == 1


def test_another_hash_seed_is_reported_by_the_order_of_features(task_file: Path) -> None:
    with pytest.raises(
        NotReproducible, match=r"Shuffling at Shuffling returns its features in another order"
    ):
        check_task(f"{task_file}:second")


def test_classes_that_come_out_of_a_set_are_reported_by_their_order(tmp_path: Path) -> None:
    path = tmp_path / "classes.py"
    text = """
from datetime import timedelta
from river import tree
from schemas import Dictionary, Number
from streams import Model, Task

task = Task(
    name="classes", question="Which?", kind="multiclass", features=Dictionary(Number(name="size")),
    horizon=timedelta(days=1),
    models=(Model("tree", lambda: tree.HoeffdingAdaptiveTreeClassifier(40, seed=1)),),
)
"""
    path.write_text(text)
    # Between equal probabilities River decides by their order.
    with pytest.raises(NotReproducible, match=r"HoeffdingAdaptiveTreeClassifier .* in another order"):
        check_task(str(path))


def test_a_wrong_task_file_is_reported_by_its_own_error(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("import nowhere\n")
    with pytest.raises(TaskError, match="nowhere"):
        check_task(str(path))
    path.write_text("import os\nos._exit(3)\n")
    with pytest.raises(TaskError, match="exit code 3"):
        check_task(str(path))


@pytest.mark.parametrize("name", ["hotel_bookings", "online_retail", "online_shoppers"])
def test_the_examples_pass(name: str) -> None:
    assert check_task(str(examples() / name / "task.py"))


def test_code_that_has_passed_is_checked_again_only_when_any_of_it_changes(
    task_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "helper_of_the_task.py"
    helper.write_text("SIZE = 1\n")
    task_file.write_text(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nimport helper_of_the_task\n{TASK}"
    )
    cache = CheckCache(tmp_path / "checked")
    assert len(check_task(str(task_file), cache=cache)) == 1

    runs: list[str] = []
    real = infra.loadcheck._run

    def run(reference: str, examples: int, hash_seed: str, timeout_s: float) -> dict[str, Any]:
        runs.append(hash_seed)
        return real(reference, examples, hash_seed, timeout_s)

    monkeypatch.setattr(infra.loadcheck, "_run", run)
    assert len(check_task(str(task_file), cache=cache)) == 1
    assert runs == []
    helper.write_text("SIZE = 2\n")
    assert len(check_task(str(task_file), cache=cache)) == 1
    assert sorted(runs) == ["1", "4242"]
    task_file.write_text(task_file.read_text() + "# another byte\n")
    assert len(check_task(str(task_file), cache=cache)) == 1
    assert len(runs) == 4
    (kept,) = (tmp_path / "checked").iterdir()
    kept.write_bytes(kept.read_bytes()[:-10])
    assert len(check_task(str(task_file), cache=cache)) == 1
    assert len(runs) == 6
    with pytest.raises(NotReproducible):
        check_task(f"{task_file}:second", cache=cache)
    assert len(list((tmp_path / "checked").iterdir())) == 1, "what fails is not remembered"
