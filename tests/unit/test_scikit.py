"""scikit-learn's estimators in River's wrappers: learned, stored and read bit for bit, or refused with a cure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import sklearn
from river import compat, preprocessing
from river import linear_model as river_linear
from sklearn import linear_model, naive_bayes, neural_network

from schemas.dictionary import Category, Dictionary, Number
from schemas.errors import RiverloopError, SnapshotError, TaskError
from schemas.records import Outcome, Request
from streams import Event, Model, Task
from streams.backtest import backtest
from streams.examples import CLASSES, synthetic_examples
from streams.exercise import exercise
from streams.loadcheck import compare
from streams.scoring import Untaught
from streams.snapshot import dump, load, scikit
from streams.snapshot.digest import state_digest

NUMBERS = Dictionary(Number(name="size", low=0, high=10), Number(name="price", low=0, high=5))
MIXED = Dictionary(*NUMBERS, Category(name="shop", levels=("a", "b")))
OPTIONAL = Dictionary(*NUMBERS, Number(name="age", low=0, high=9, optional=True))
HALVES = [False, True]


def classifier(estimator: Any, classes: list[Any] = HALVES) -> Any:
    return compat.SKL2RiverClassifier(estimator, classes=classes)


def regressor(estimator: Any) -> Any:
    return compat.SKL2RiverRegressor(estimator)


def sgd(**arguments: Any) -> Any:
    return classifier(linear_model.SGDClassifier(loss="log_loss", **arguments))


def passive() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return linear_model.PassiveAggressiveRegressor()


def warm() -> Any:
    made = naive_bayes.GaussianNB()
    made.partial_fit(
        [[1.0, 1.0], [2.0, 3.0], [8.0, 2.0], [9.0, 4.0]], [False, False, True, True], classes=HALVES
    )
    return classifier(made)


ACCEPTED: dict[str, tuple[str, Callable[[], Any]]] = {
    "gradient descent": ("binary", lambda: preprocessing.StandardScaler() | sgd()),
    "averaged": ("binary", lambda: sgd(average=True)),
    "three classes": (
        "multiclass",
        lambda: classifier(linear_model.SGDClassifier(loss="log_loss"), ["high", "low", "middle"]),
    ),
    "squares": ("regression", lambda: regressor(linear_model.SGDRegressor())),
    "passive-aggressive": ("regression", lambda: regressor(passive())),
    "means": ("binary", warm),
    "Bernoulli": ("binary", lambda: classifier(naive_bayes.BernoulliNB(binarize=3.0))),
    "counts": ("binary", lambda: classifier(naive_bayes.MultinomialNB())),
    "complement": ("binary", lambda: classifier(naive_bayes.ComplementNB())),
}
REFUSED: dict[str, tuple[str, Dictionary, Callable[[], Any], str]] = {
    "no probabilities": (
        "binary",
        NUMBERS,
        lambda: classifier(linear_model.SGDClassifier()),
        "loss='log_loss'",
    ),
    "another order": (
        "binary",
        NUMBERS,
        lambda: classifier(naive_bayes.BernoulliNB(), [True, False]),
        r"write them in that order",
    ),
    "no variance": (
        "binary",
        NUMBERS,
        lambda: classifier(naive_bayes.GaussianNB()),
        "two different examples of each",
    ),
    "a network": (
        "binary",
        NUMBERS,
        lambda: classifier(neural_network.MLPClassifier(random_state=1)),
        "grows without end; use linear_model.SGDClassifier",
    ),
    "texts": ("binary", MIXED, sgd, r"it takes numbers and got texts, 'shop'.*OneHotEncoder"),
    "optional": (
        "regression",
        OPTIONAL,
        lambda: regressor(linear_model.SGDRegressor()),
        "'age' was missing; fill it",
    ),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ACCEPTED)
def test_it_passes_the_load_check_and_answers_in_a_task(name: str) -> None:
    kind, make = ACCEPTED[name]
    seen = exercise(make, NUMBERS, kind, 80, model=name)
    compare(seen, seen)
    asked: Any = kind
    models = (Model("m", make),)
    task = Task(name="m", question="", features=NUMBERS, horizon=timedelta(1), models=models, kind=asked)
    told = dict(zip(CLASSES, ["high", "low", "middle"], strict=True))
    events = []
    for number, (x, y) in enumerate(synthetic_examples(NUMBERS, kind, 60, 1)):
        ts = 1_700_000_000_000 + number * 1000
        value = told[str(y)] if kind == "multiclass" else y
        events.append(Event(Request(f"r{number}", ts, x), (Outcome(f"r{number}", ts + 10, value),)))
    found = backtest(task, events)["models"]["m"]
    assert found["n"] == 60
    assert found["failures"] is None


def test_it_answers_again_and_again_before_it_has_learned_anything() -> None:
    model = preprocessing.StandardScaler() | regressor(linear_model.SGDRegressor())
    untaught = Untaught(model, "regression", {"size": 1.0, "price": 2.0})
    for _ in range(3):
        assert untaught.answer({"size": 1.0, "price": 2.0}) == (0, None)
    assert model["SKL2RiverRegressor"]._feature_names is None


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_model_and_the_cure(name: str) -> None:
    kind, features, make, cure = REFUSED[name]
    with pytest.raises(RiverloopError, match=f"(?s)model '{name}'.*compat.SKL2River.*{cure}"):
        compare(*[exercise(make, features, kind, 40, model=name)] * 2)


@pytest.mark.parametrize(
    ("kind", "make", "cure"),
    [
        (
            "binary",
            lambda: compat.convert_river_to_sklearn(river_linear.LogisticRegression()),
            "use the River model inside it",
        ),
        ("binary", lambda: linear_model.SGDClassifier(loss="log_loss"), "SKL2RiverClassifier"),
        ("regression", linear_model.SGDRegressor, "SKL2RiverRegressor"),
    ],
)
def test_what_has_no_learn_one_is_refused(kind: Any, make: Callable[[], Any], cure: str) -> None:
    models = (Model("m", make),)
    with pytest.raises(TaskError, match=cure):
        Task(name="m", question="", features=NUMBERS, horizon=timedelta(1), models=models, kind=kind)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", scikit.LEARNED)
def test_the_list_has_the_fields_that_an_estimator_learns(name: str) -> None:
    estimators = [naive_bayes.CategoricalNB(min_categories=2), *(make().estimator for _, make in _bare())]
    inside = next(each for each in estimators if name.endswith(f":{type(each).__name__}"))
    assert f"{type(inside).__module__}:{type(inside).__qualname__}" == name
    numbers = linear_model.SGDRegressor, linear_model.PassiveAggressiveRegressor
    fields: set[str] = set()
    for average in (False, True) if "average" in inside.get_params() else (None,):
        learning = type(inside)(**inside.get_params())
        fresh = set(vars(learning))
        if average is not None:
            learning.set_params(average=average)
        for row in np.random.default_rng(1).integers(0, 2, (20, 2)):
            if isinstance(learning, numbers):
                learning.partial_fit([row], [float(row[0])])
            else:
                learning.partial_fit([row], [bool(row[0])], classes=HALVES)
        fields |= vars(learning).keys() - fresh
    assert fields - scikit.left_out(type(inside)) == scikit.LEARNED[name]


def _bare() -> list[tuple[str, Callable[[], Any]]]:
    return [(kind, make) for name, (kind, make) in ACCEPTED.items() if name != "gradient descent"]


def test_no_other_class_or_field_comes_from_a_snapshot() -> None:
    model = sgd()
    for x, y in synthetic_examples(NUMBERS, "binary", 5, 1):
        model.learn_one(x, y)
    twin = load(dump(model), sgd())
    assert state_digest(twin) == state_digest(model)
    assert twin.estimator.coef_.tobytes() == model.estimator.coef_.tobytes()
    model.estimator.decision_function = 1
    model.estimator.other_ = 1
    with pytest.raises(SnapshotError, match=r"'decision_function'|'other_', which is not a field"):
        load(dump(model), sgd())


def test_the_version_of_scikit_learn_is_part_of_a_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    def spec() -> str:
        model = Model("m", sgd)
        task = Task(name="m", question="", features=NUMBERS, horizon=timedelta(1), models=(model,))
        return task.spec(model)

    before = spec()
    assert spec() == before
    monkeypatch.setattr(sklearn, "__version__", "0.0")
    assert spec() != before
