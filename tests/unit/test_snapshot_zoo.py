"""Every River estimator that the load check accepts is stored and restored, and goes on in the same bits."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from river import base, compose, linear_model

from docs.make.state_classes import classes
from schemas.dictionary import Dictionary, Number
from schemas.errors import RiverloopError
from streams.examples import synthetic_examples
from streams.loadcheck import exercise
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest

FEATURES = Dictionary(
    Number(name="size", low=0, high=10), Number(name="price", low=0, high=5), Number(name="age", low=0)
)
MORE = 500
REJECTED = {
    "BagOfWords": "takes a text",
    "BaseTreeClassifier": "a part of a forest",
    "BaseTreeRegressor": "a part of a forest",
    "EntropySampler": "draws when it is asked",
    "GapEncoder": "takes a text",
    "ISOUPTreeRegressor": "several outputs",
    "LDA": "answers otherwise the second time",
    "OneVsOneClassifier": "returns no probabilities",
    "OutputCodeClassifier": "returns no probabilities",
    "RandomTreesEmbedding": "identifies leaves by memory address",
    "TFIDF": "takes a text",
    "VotingClassifier": "returns no probabilities",
    "AMRules": "identifies rules by memory address",
}
"""By class: why the load check rejects it over numbers."""


def estimators() -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Give a name, a kind and a maker for each estimator that answers, alone or before a regression."""
    for cls in classes():
        if not issubclass(cls, base.Estimator) or inspect.isabstract(cls) or cls.__name__.startswith("_"):
            continue
        if issubclass(cls, compose.Pipeline | compose.TransformerUnion):
            continue
        for number, _ in enumerate(cls._unit_test_params()):
            make = maker(cls, number)
            kind = kind_of(make)
            if kind:
                yield (
                    f"{cls.__name__}-{number}",
                    kind,
                    make if kind != "transform" else before_regression(make),
                )


def maker(cls: Any, number: int) -> Callable[[], Any]:
    seeded = "seed" in inspect.signature(cls.__init__).parameters

    def make() -> Any:
        parameters = [*cls._unit_test_params()][number]
        return cls(**({"seed": 1} if seeded else {}) | parameters)

    return make


def before_regression(make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: make() | linear_model.LogisticRegression()


def kind_of(make: Callable[[], Any]) -> str:
    try:
        made = make()
    except (TypeError, RuntimeError):  # it needs a newer Python, or parameters that River does not name
        return ""
    if isinstance(made, base.Classifier):
        return "binary"
    if isinstance(made, base.Regressor):
        return "regression"
    return "transform" if isinstance(made, base.Transformer | base.SupervisedTransformer) else ""


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    MADE = {name: (kind, make) for name, kind, make in estimators()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", MADE)
def test_an_estimator_is_restored_or_rejected_at_the_start(name: str) -> None:
    kind, make = MADE[name]
    kind = "binary" if kind == "transform" else kind
    try:
        faults = exercise(make, FEATURES, kind, 120, model="m").faults
        rejected = str(faults[0]) if faults else ""
    except RiverloopError as error:
        rejected = str(error)
    assert bool(rejected) == (name.rpartition("-")[0] in REJECTED), rejected
    if rejected:
        return
    data = list(synthetic_examples(FEATURES, kind, 400 + MORE, 3))

    def answer(model: Any, x: dict[str, Any]) -> str:
        return repr(model.predict_one(dict(x)) if kind == "regression" else model.predict_proba_one(dict(x)))

    live, restored = make(), make()
    for number, (x, y) in enumerate(data):
        if number == 400:
            restored = load(dump(live), make())
            assert state_digest(restored) == state_digest(live)
        if number >= 400:
            assert answer(restored, x) == answer(live, x)
            restored.learn_one(dict(x), y)
        live.learn_one(dict(x), y)
    assert state_digest(restored) == state_digest(live)


def test_the_zoo_is_as_large_as_it_was() -> None:
    assert len(MADE) > 100
    assert {name.rpartition("-")[0] for name in MADE} >= set(REJECTED)
