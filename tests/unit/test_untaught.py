"""A model that has learned nothing answers each request as if it were the first one it sees."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from river import base, compose, forest, linear_model, naive_bayes, optim, preprocessing, tree

from schemas import Dictionary, Number
from schemas.records import Entry, Outcome, Prediction
from streams import Model, Task
from streams.model import ModelFold

NAMES = ("a", "b", "c")
ASKED: list[dict[str, Any]] = [
    {"a": 1.5},
    {"c": -2.0, "b": 0.25},
    {},
    {"a": 1.5},
    {"a": 0.1, "b": 0.2, "c": 0.3},
]


def random_weights() -> base.Estimator:
    """It draws a weight for each feature that it sees: predicting changes it."""
    drawn = optim.initializers.Normal(mu=1.0, sigma=1.0, seed=7)
    made: base.Estimator = preprocessing.StandardScaler() | linear_model.LogisticRegression(initializer=drawn)
    return made


def with_lambda() -> base.Estimator:
    """It holds a function that no module has."""
    made: base.Estimator = (
        compose.FuncTransformer(lambda x: {**x, "more": 1.0}) | linear_model.LogisticRegression()
    )
    return made


MADE: list[Callable[[], base.Estimator]] = [
    lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    random_weights,
    with_lambda,
    tree.HoeffdingTreeClassifier,
    lambda: forest.ARFClassifier(n_models=3, seed=1),
    naive_bayes.GaussianNB,
]


def fold_of(make: Callable[[], base.Estimator]) -> ModelFold:
    dictionary = Dictionary(*(Number(name=name, optional=True) for name in NAMES))
    models = (Model("m", make),)
    task = Task(name="t", question="Is it?", features=dictionary, horizon=timedelta(days=1), models=models)
    return ModelFold(task, task.models[0])


@pytest.mark.parametrize("make", MADE)
def test_each_answer_is_that_of_a_fresh_model_and_changes_nothing(make: Callable[[], base.Estimator]) -> None:
    fold = fold_of(make)
    before = fold.digest
    for x in ASKED:
        fresh: Any = copy.deepcopy(fold.estimator)
        reported = fresh.predict_proba_one(dict(x))
        found = fold.predict(x).score
        assert found == (float(reported.get(True, 0.0)) if reported else None)
    assert fold.digest == before


def test_once_taught_it_answers_from_what_it_learned() -> None:
    fold = fold_of(random_weights)
    fold.predict(ASKED[0])
    outcome = Outcome("1", 5, True)
    fold.apply(0, Entry("0", "labelled", 5, prediction=Prediction("1", 1, ASKED[4], ()), outcome=outcome))
    expected: Any = random_weights()
    expected.learn_one(dict(ASKED[4]), True)
    assert fold.predict(ASKED[4]).score == expected.predict_proba_one(dict(ASKED[4]))[True]
