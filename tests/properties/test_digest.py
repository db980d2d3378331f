from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from river import (
    base,
    ensemble,
    feature_extraction,
    forest,
    linear_model,
    naive_bayes,
    neighbors,
    preprocessing,
    stats,
    tree,
)

from schemas.errors import SnapshotError
from streams.select import Select
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest

NOMINAL = ["shop"]


def everything() -> Any:
    numbers = Select("size", "age") | preprocessing.StandardScaler()
    return numbers + (Select("shop") | preprocessing.OneHotEncoder())


# max_depth is stated: without one a tree takes it from Python's recursion limit, which Hypothesis moves.
MODELS: dict[str, Callable[[], base.Classifier]] = {
    "logistic": lambda: everything() | linear_model.LogisticRegression(),
    "hoeffding": lambda: tree.HoeffdingTreeClassifier(10, 20, nominal_attributes=NOMINAL),
    "adaptive": lambda: tree.HoeffdingAdaptiveTreeClassifier(10, 20, nominal_attributes=NOMINAL, seed=1),
    "forest": lambda: forest.ARFClassifier(
        2, grace_period=10, max_depth=20, nominal_attributes=NOMINAL, seed=1
    ),
    "bayes": lambda: everything() | naive_bayes.GaussianNB(),
    "passive": lambda: everything() | linear_model.PAClassifier(),
    "neighbours": lambda: everything() | neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=20)),
    "bagging": lambda: ensemble.BaggingClassifier(everything() | linear_model.LogisticRegression(), seed=1),
    "groups": lambda: (
        (everything() + feature_extraction.TargetAgg("shop", stats.BayesianMean(0.5, 3)))
        | linear_model.LogisticRegression()
    ),
}

SIZES = st.sampled_from([0.0, 1.0, -1.5, 2.25, 7.0]) | st.floats(-100, 100)
FEATURES = st.fixed_dictionaries(
    {"size": SIZES, "shop": st.sampled_from(["a", "b", "c", "d"])}, optional={"age": SIZES}
)
RESTORES: list[Callable[[Any, Any], Any]] = [
    lambda model, _: model,
    lambda model, fresh: load(dump(model), fresh),
    lambda model, _: pickle.loads(pickle.dumps(model)),
    lambda model, _: copy.deepcopy(model),
]
STEPS = st.lists(
    st.tuples(FEATURES, st.booleans(), st.lists(FEATURES, max_size=2), st.sampled_from(RESTORES)),
    min_size=1,
    max_size=40,
)


FAR = [
    ({"size": 0.0, "shop": "a"}, True, [], RESTORES[0]),
    ({"size": 1e-155, "shop": "a"}, False, [], RESTORES[1]),
    ({"size": 0.0, "shop": "a"}, True, [{"size": -1.5, "shop": "a"}], RESTORES[2]),
]
"""The last question lies infinitely far from what was learned: River divides by the sum of inverse distances, 0."""


def score(model: Any, x: Any) -> str:
    """Give a model's score, or the error with which River fails."""
    try:
        return repr(model.predict_proba_one(dict(x)))
    except ArithmeticError as error:
        return repr(error)


@settings(deadline=None)
@given(name=st.sampled_from(sorted(MODELS)), steps=STEPS)
@example(name="neighbours", steps=FAR)
def test_what_was_learned_alone_decides_the_digest(name: str, steps: list[Any]) -> None:
    """Whatever was asked in between, and wherever the model was stored and read."""
    plain, busy = MODELS[name](), MODELS[name]()
    for number, (x, y, questions, restore) in enumerate(steps):
        busy = restore(busy, MODELS[name]())
        for question in questions:
            score(busy if number else copy.deepcopy(busy), question)
        plain.learn_one(dict(x), y)
        busy.learn_one(dict(x), y)
    assert state_digest(plain) == state_digest(busy)
    assert score(plain, steps[0][0]) == score(busy, steps[0][0])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
        | st.frozensets(st.integers() | st.text(max_size=3), max_size=4)
    ),
    max_leaves=20,
)


def exact(value: Any) -> Any:
    """Give a form that is equal for equal values, types and bits included."""
    if isinstance(value, dict):
        return ("dict", sorted(((exact(k), exact(v)) for k, v in value.items()), key=repr))
    if isinstance(value, frozenset):
        return ("set", sorted(map(exact, value), key=repr))
    if isinstance(value, list | tuple):
        return (type(value).__name__, list(map(exact, value)))
    return (type(value).__name__, value.hex() if isinstance(value, float) else value)


@given(one=VALUES, other=VALUES)
def test_digests_are_equal_exactly_for_equal_values(one: Any, other: Any) -> None:
    assert (state_digest(one) == state_digest(other)) == (exact(one) == exact(other))
    assert state_digest(one) == state_digest(copy.deepcopy(one)) == state_digest(load(dump(one)))


def trained() -> bytes:
    model = MODELS["logistic"]()
    for number in range(30):
        model.learn_one({"size": float(number % 7), "age": 1.0, "shop": "ab"[number % 2]}, number % 3 == 0)
    return dump(model)


SNAPSHOT = trained()


@settings(deadline=None)
@given(st.integers(2, len(SNAPSHOT) - 1), st.binary(max_size=4), st.integers(0, 4))
def test_a_damaged_snapshot_is_rejected_in_words_or_harmless(at: int, bytes_in: bytes, out: int) -> None:
    with contextlib.suppress(SnapshotError):  # nothing else may come of it
        load(SNAPSHOT[:at] + bytes_in + SNAPSHOT[at + out :], MODELS["logistic"]())
