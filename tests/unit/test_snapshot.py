from __future__ import annotations

import collections
import copy
import datetime
import functools
import io
import pickle
import random
import types
from typing import Any

import fastavro
import numpy as np
import pytest
from river import compose, facto, linear_model, neighbors, preprocessing, proba, stats, tree, utils

from schemas.errors import SnapshotError
from schemas.records import Outcome
from streams.select import Select
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest

measure: Any = len


def double(x: dict[str, float]) -> dict[str, float]:
    return {name: 2 * value for name, value in x.items()}


class Own(compose.FuncTransformer):
    """Stands for a transformer of a task file."""


class Counter:
    """Stands for an object that a task file's model makes while it learns."""

    def __init__(self) -> None:
        self.seen = 0


class Collecting(compose.FuncTransformer):
    def learn_one(self, x: dict[Any, Any]) -> None:
        vars(self).setdefault("counters", {}).setdefault(len(x), Counter()).seen += 1


for _each in (double, Own, Counter, Collecting):
    _each.__module__ = "riverloop_task_0"


def of_the_task_file() -> Any:
    return compose.FuncTransformer(double) | Own(double) | linear_model.LogisticRegression()


def test_code_comes_from_the_freshly_built_model() -> None:
    model = of_the_task_file()
    model.learn_one({"a": 1.0}, True)
    twin = load(dump(model), of_the_task_file())
    assert twin.predict_proba_one({"a": 1.0}) == model.predict_proba_one({"a": 1.0})
    assert state_digest(twin) == state_digest(model)
    assert [step.func for step in list(twin.steps.values())[:2]] == [double, double]
    with pytest.raises(SnapshotError, match="puts code into 'func' of a FuncTransformer"):
        load(dump(model))
    with pytest.raises(SnapshotError, match="has other steps than the model"):
        load(dump(model), compose.FuncTransformer(measure) | Own(double) | linear_model.LogisticRegression())
    other = compose.FuncTransformer(double) | linear_model.LogisticRegression()
    fresh = compose.FuncTransformer(measure) | linear_model.LogisticRegression()
    fresh.steps = collections.OrderedDict(zip(other.steps, fresh.steps.values(), strict=True))
    with pytest.raises(SnapshotError, match=r"has a code where the model has builtins\.len"):
        load(dump(other), fresh)


def test_a_model_keeps_the_classes_that_the_task_file_gives_it() -> None:
    numbers = preprocessing.MinMaxScaler() | linear_model.LogisticRegression()
    fresh = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    fresh.steps = collections.OrderedDict(zip(numbers.steps, fresh.steps.values(), strict=True))
    with pytest.raises(SnapshotError, match="MinMaxScaler where the model has a StandardScaler"):
        load(dump(numbers), fresh)


def test_objects_of_the_task_files_own_classes_are_made_when_they_are_given() -> None:
    model = Collecting(double) | linear_model.LogisticRegression()
    model.learn_one({"a": 1.0}, True)
    fresh = Collecting(double) | linear_model.LogisticRegression()
    twin = load(dump(model), copy.deepcopy(fresh), [Counter])
    assert twin["double"].counters[1].seen == 1
    with pytest.raises(SnapshotError, match="'task:Counter', a class that is not allowed"):
        load(dump(model), fresh)


def test_a_lambda_is_rejected_when_it_is_written() -> None:
    make: Any = lambda x: x  # noqa: E731
    make.__module__ = "riverloop_task_0"
    with pytest.raises(SnapshotError, match="define it at the top level"):
        dump(compose.FuncTransformer(make))


@pytest.mark.parametrize("value", [io.StringIO(), [].__iter__(), (n for n in range(3)), {}.keys(), object])
def test_what_is_no_plain_data_is_rejected_or_is_code_of_the_model(value: Any) -> None:
    with pytest.raises(SnapshotError):
        load(dump([value]))


def test_objects_of_unlisted_classes_are_rejected() -> None:
    with pytest.raises(SnapshotError, match=r"'schemas\.records:Outcome', a class that is not allowed"):
        load(dump([Outcome("r1", 5, True)]))
    outcome = Outcome("r1", 5, True)
    assert load(dump([outcome]), [Outcome("", 0, None)]) == [outcome]


VALUES: list[Any] = [
    np.arange(12.0).reshape(3, 4),
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    np.arange(20)[::3],
    np.array(3.5),
    np.zeros((0, 3)),
    np.array([True, False]),
    np.array(["a", "bc"]),
    np.array([1, "a", None], object),
    np.array([[1, "a"], [None, 2.0]], object),
    np.float64(0.1),
    np.int32(7),
    np.str_("a"),
    random.Random(3),
    np.random.RandomState(3),
    np.random.default_rng(3),
    *(np.random.Generator(bits(3)) for bits in (np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)),
    np.random.Generator(np.random.MT19937(3)),
    np.random.PCG64(5),
    collections.deque([1, 2], maxlen=3),
    collections.OrderedDict(b=1, a=2),
    collections.Counter("abca"),
    collections.defaultdict(list, a=[1]),
    utils.VectorDict({"a": 1.0, 3: 2.0}, float),
    utils.VectorDict({"a": 1.0, "b": 2.0}).with_mask({"a"}),
    datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC),
    datetime.date(2026, 1, 2),
    datetime.timedelta(1, 2, 3),
    {1 << 59, -(1 << 59), "a", b"b", 0.5, None, (1, ("a", 2.0)), frozenset({1})},
    [1 << 200, -(1 << 200), 1 << 59, -(1 << 59) - 1, 1 - (1 << 59), -1, 0, 2.5, -0.0, float("inf"), 1j],
    bytearray(b"abc"),
    ["", "\x00"],
    {(1, 2): {"a": (3, [4])}, None: True, False: ...},
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_come_back_as_they_were(value: Any) -> None:
    twin = load(dump(value))
    assert type(twin) is type(value)
    assert state_digest(twin) == state_digest(value)
    assert (
        repr(twin) == repr(value)
        or isinstance(value, set | np.random.RandomState | random.Random)
        or "at 0x" in repr(value)
    )
    if isinstance(value, np.ndarray):
        assert twin.flags.writeable
        assert twin.flags.f_contiguous == (value.flags.f_contiguous or value.ndim < 2)


def test_a_text_that_is_no_unicode_is_rejected() -> None:
    with pytest.raises(SnapshotError, match="cannot be stored"):
        dump(["\ud800"])


def test_a_time_zone_with_a_name_is_rejected() -> None:
    zone = datetime.datetime(2026, 1, 1, tzinfo=__import__("zoneinfo").ZoneInfo("UTC"))
    with pytest.raises(SnapshotError, match=r"use datetime\.UTC"):
        dump(zone)


def test_references_stay_references() -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    twin = load(dump({"a": shared, "b": shared}))
    assert twin["a"] is twin["b"]
    assert twin["a"][1] is twin["a"]


def test_a_method_is_bound_to_the_restored_object() -> None:
    passive = linear_model.PAClassifier()
    twin = load(dump(passive), linear_model.PAClassifier())
    assert twin.calc_tau.__self__ is twin
    # And to an object that the fresh model has not yet: one for each class that comes up.
    made = [linear_model.PAClassifier(), {"a": linear_model.PAClassifier()}]
    twin = load(dump(made), [linear_model.PAClassifier(), {}])
    assert twin[1]["a"].calc_tau.__self__ is twin[1]["a"]


def test_what_refers_into_the_fresh_model_refers_to_the_restored_one() -> None:
    numbers = preprocessing.StandardScaler()
    model: Any = numbers | linear_model.LogisticRegression()
    for number in range(9):
        model.learn_one({"a": float(number)}, number > 4)
    fresh: Any = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    scaler, step = fresh["StandardScaler"], fresh["StandardScaler"].transform_one
    twin = load(dump(model), fresh)
    assert twin is fresh
    assert twin["StandardScaler"] is scaler
    assert step({"a": 3.0}) == numbers.transform_one({"a": 3.0})


def test_a_partial_with_a_state_is_filled_where_it_stands() -> None:
    model, twin = facto.FMClassifier(seed=1), facto.FMClassifier(seed=1)
    for number in range(20):
        model.learn_one({f"f{number % 7}": 1.0, "b": 2.0}, number % 3 == 0)
    again = load(dump(model), twin)
    assert again.latents.default_factory.func is again.latent_initializer
    model.learn_one({"never seen": 1.0}, True)
    again.learn_one({"never seen": 1.0}, True)
    assert state_digest(model) == state_digest(again)


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
    twin = load(dump(model), tree.HoeffdingTreeRegressor(grace_period=10_000))
    assert state_digest(twin) == state_digest(model)
    with pytest.raises(RecursionError):
        pickle.dumps(model)


def test_lists_may_be_nested_to_any_depth_and_tuples_to_some() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert len(load(dump(nested))) == 1
    tuples: tuple[Any, ...] = ()
    for _ in range(1000):
        tuples = (tuples,)
    with pytest.raises(SnapshotError, match="nested too deeply"):
        load(dump(tuples))


def test_a_distance_function_is_the_models_own() -> None:
    def make() -> Any:
        return neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=10))

    model = make()
    model.learn_one({"a": 1.0}, True)
    fresh = make()
    twin: Any = load(dump(model), fresh)
    assert isinstance(twin._nn.dist_func, types.BuiltinFunctionType)
    assert twin._nn.dist_func is model._nn.dist_func


def test_the_order_keeping_selector_is_stored() -> None:
    assert load(dump(Select("b", "a")), Select("x")).names == ("b", "a")


def test_any_avro_tool_reads_the_file() -> None:
    (row,) = fastavro.reader(io.BytesIO(dump({"a": stats.Mean()})))
    assert isinstance(row, dict)
    assert row["objects"] == 2
    assert "river.stats.mean:Mean" in row["texts"]


def test_a_factory_of_plain_data_needs_no_template() -> None:
    nested = collections.defaultdict(functools.partial(stats.Quantile, 0.5), {"a": stats.Quantile(0.5)})
    with pytest.raises(SnapshotError, match="expects partial"):
        load(dump(nested))
    fresh: Any = collections.defaultdict(functools.partial(stats.Quantile, 0.5))
    assert state_digest(load(dump(nested), fresh)) == state_digest(nested)
