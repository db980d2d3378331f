from __future__ import annotations

import collections
import functools
import io
import os
import pickle
import random
import types
from typing import Any

import numpy as np
import pytest
from river import compose, linear_model, neighbors, preprocessing, proba, stats, tree

from schemas.errors import SnapshotError
from schemas.records import Outcome
from streams.digest import state_digest
from streams.select import Select
from streams.snapshot import dump, load


def double(x: dict[str, float]) -> dict[str, float]:
    return {name: 2 * value for name, value in x.items()}


class Own(compose.FuncTransformer):
    """Stands for a transformer of a task file."""


def in_a_task_file(*made: Any) -> Any:
    for each in made:
        each.__module__ = "riverloop_task_0"
    return made


def test_what_the_task_file_defines_goes_in_by_name_and_comes_back_from_it() -> None:
    in_a_task_file(double, Own)
    model = compose.FuncTransformer(double) | Own(double) | linear_model.LogisticRegression()
    model.learn_one({"a": 1.0}, True)
    data = dump(model)
    twin = load(data, resolve={"double": double, "Own": Own})
    assert twin.predict_proba_one({"a": 1.0}) == model.predict_proba_one({"a": 1.0})
    assert state_digest(twin) == state_digest(model)
    for resolve in (
        None,
        {},
        {"double": double},
        {"double": os.system, "Own": Own},
        {"double": len, "Own": Own},
    ):
        with pytest.raises(SnapshotError, match="which the task file does not define"):
            load(data, resolve=resolve)


def test_a_lambda_is_refused_when_it_is_written() -> None:
    make: Any = lambda x: x  # noqa: E731
    in_a_task_file(make)
    with pytest.raises(SnapshotError, match="define it by name at the top level"):
        dump(compose.FuncTransformer(make))


def test_an_unlisted_class_is_refused_when_it_is_written() -> None:
    with pytest.raises(SnapshotError, match="'_io', 'StringIO'"):
        dump([io.StringIO()])
    with pytest.raises(SnapshotError, match="'builtins', 'getattr'"):
        dump([].__iter__)
    with pytest.raises(SnapshotError, match="cannot be stored"):
        dump(number for number in range(3))


def test_more_classes_are_allowed_by_their_exact_names() -> None:
    pair = frozenset({("schemas.records", "Outcome")})
    outcome = Outcome("r1", 5, True)
    with pytest.raises(SnapshotError, match=r"\('schemas.records', 'Outcome'\)"):
        dump(outcome)
    data = dump([outcome], pair)
    assert load(data, pair) == [outcome]
    with pytest.raises(SnapshotError, match=r"\('schemas.records', 'Outcome'\)"):
        load(data)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(20)[::3],
        np.array(3.5),
        np.zeros((0, 3)),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.array([1, "a", None], object),
        np.float64(0.1),
        np.int32(7),
        random.Random(3),
        np.random.RandomState(3),
        np.random.default_rng(3),
        collections.defaultdict(functools.partial(stats.Quantile, 0.5), {"a": stats.Quantile(0.5)}),
        stats.Mean().get,
        preprocessing.StandardScaler.transform_one,
    ],
)
def test_values_come_back_as_they_were(value: Any) -> None:
    twin = load(dump(value))
    assert type(twin) is type(value)
    assert state_digest(twin) == state_digest(value)
    if isinstance(value, np.ndarray):
        assert twin.flags.writeable
        assert twin.flags.f_contiguous == (value.flags.f_contiguous or value.ndim < 2)


def test_references_stay_references() -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    twin = load(dump({"a": shared, "b": shared}))
    assert twin["a"] is twin["b"]
    assert twin["a"][1] is twin["a"]
    passive = linear_model.PAClassifier()
    assert load(dump(passive)).calc_tau.__self__ is not passive


def test_generators_that_nothing_uses_are_not_stored() -> None:
    model = tree.HoeffdingTreeClassifier(grace_period=50)
    rng = random.Random(1)
    for _ in range(400):
        x = {"a": rng.random(), "b": rng.random()}
        model.learn_one(x, x["a"] > 0.5)
    assert len(dump(model)) < len(pickle.dumps(model)) / 5
    seeded = proba.Gaussian(seed=7)
    assert load(dump(seeded)).sample() == seeded.sample()


def test_a_tree_that_sorted_values_made_deep_is_stored() -> None:
    model = tree.HoeffdingTreeRegressor(grace_period=10_000)
    for number in range(3_000):
        model.learn_one({"a": float(number)}, float(number % 7))
    twin = load(dump(model))
    assert state_digest(twin) == state_digest(model)
    with pytest.raises(RecursionError):
        pickle.dumps(model)


def test_a_state_nested_too_deeply_is_refused_in_words() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(SnapshotError, match="nested too deeply"):
        dump(nested)


def test_a_distance_function_is_itself_again() -> None:
    model = neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=10))
    model.learn_one({"a": 1.0}, True)
    twin: Any = load(dump(model))
    assert isinstance(twin._nn.dist_func, types.BuiltinFunctionType)
    assert twin._nn.dist_func is model._nn.dist_func


def test_the_order_keeping_selector_is_stored() -> None:
    assert load(dump(Select("b", "a"))).names == ("b", "a")
