"""Aggregates of a task: what may be declared, and what a backtest makes of them on real orders."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.taskfile import LoadedTask, load_task
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import TaskError
from schemas.records import Request
from streams import Aggregate, MemoryDriver, Task
from streams.aggregates.aggregates import AggregateRules, Aggregates
from streams.datafile import Event, in_time_order
from tests.aggregates_plain import plain_aggregates

EXAMPLE = Path("docs/examples/online_retail/task.py")
WEEK = timedelta(days=7)
DAY_MS = 86_400_000
AGGREGATES = (
    Aggregate("orders_7d", by="customer_id", window=WEEK, how="count"),
    Aggregate("orders_28d", by="customer_id", window=4 * WEEK, how="count"),
    Aggregate("value_7d", by="customer_id", window=WEEK, how="sum", value="value"),
    Aggregate("value_28d", by="customer_id", window=4 * WEEK, how="mean", value="value", missing=-1),
    Aggregate("countries_28d", by="customer_id", window=4 * WEEK, how="distinct", value="country"),
    Aggregate("units_before", by="customer_id", window=4 * WEEK, how="last", value="n_units"),
)


@pytest.fixture(scope="module")
def loaded() -> LoadedTask:
    return load_task(str(EXAMPLE))


@pytest.fixture(scope="module")
def task(loaded: LoadedTask) -> Task:
    return with_aggregates(loaded.task)


def with_aggregates(task: Task, *aggregates: Aggregate, **more: Any) -> Task:
    features = Dictionary(*task.features, Category(name="customer_id"))
    return replace(task, features=features, aggregates=aggregates or AGGREGATES, **more)


@pytest.fixture(scope="module")
def events(loaded: LoadedTask, task: Task) -> list[Event]:
    """All 7,410 orders of the example, with their customers."""
    return in_time_order(replace(loaded, task=task).file_events())


def test_a_backtest_has_the_aggregates_of_a_plain_computation_over_real_orders(
    task: Task, events: list[Event]
) -> None:
    driver, found = MemoryDriver(task, keep_log=False), {}
    for prediction in driver.run(events):
        found[prediction.request_id] = prediction.features
    requests = [each.request for each in events]
    rules = AggregateRules.of(task)
    expected = [*plain_aggregates(requests, AGGREGATES, rules.lateness_ms)]
    assert len(found) == len(requests) > 7_000
    for request, plain in zip(requests, expected, strict=True):
        stored = {name: value for name, value in plain.items() if value is not None}
        if "value_28d" not in stored:
            stored["value_28d"] = -1.0
        features = found[request.request_id]
        assert {name: value for name, value in features.items() if name in task.features.added} == stored
    assert sum(int(each["orders_28d"] or 0) for each in expected) > 8_000  # the data tell something
    assert driver.aggregates is not None
    newest = max(each.ts for each in requests)
    assert len(driver.aggregates) == sum(each.ts >= newest - rules.kept_ms for each in requests)


def test_memory_is_bounded_by_the_longest_window_and_the_lateness() -> None:
    aggregate = Aggregate("n", by="who", window=timedelta(seconds=1), how="count")
    state = Aggregates(AggregateRules((aggregate,), lateness_ms=500))
    for number in range(5_000):
        state.take(Request(f"r-{number}", number * 10, {"who": f"w{number % 7}"}), number)
        if number % 100 == 0:
            state.commit()
    assert len(state) == 151
    state.take(Request("last", 10**9, {}), 5_000)
    assert (len(state), state.entities) == (0, 0)


def test_the_features_lie_behind_those_that_requests_carry(loaded: LoadedTask, task: Task) -> None:
    names = [*loaded.task.features.names, "customer_id", *(each.name for each in AGGREGATES)]
    assert [*task.features.names] == names
    assert task.features.added == tuple(each.name for each in AGGREGATES)
    assert [each.word for each in task.features][-6:] == [
        *("integer", "integer", "number", "number", "integer", "integer")
    ]
    assert replace(task).features == task.features  # also where a task is made of another one


def test_the_dictionary_may_declare_the_feature_itself(loaded: LoadedTask) -> None:
    own = Integer(name="orders_7d", high=100, missing=0)
    features = Dictionary(own, Category(name="customer_id"))
    task = replace(loaded.task, features=features, aggregates=AGGREGATES[:1])
    assert task.features.by_name["orders_7d"] == own
    assert task.features.added == ("orders_7d",)
    features = Dictionary(Number(name="orders_7d"), Category(name="customer_id"))
    with pytest.raises(TaskError, match="has a number of that name, but it is an integer"):
        replace(loaded.task, features=features, aggregates=AGGREGATES[:1])


def test_another_window_is_another_specification(loaded: LoadedTask) -> None:
    one, other = (
        with_aggregates(loaded.task, Aggregate("n", by="customer_id", window=window, how="count"))
        for window in (WEEK, 2 * WEEK)
    )
    assert one.spec(one.models[0]) != other.spec(other.models[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"by": "who"}, "by='who' is not a feature that requests carry"),
        ({"by": "value"}, "by='value' is a number, but must be category or integer"),
        ({"by": "entity_key"}, "set entity_key= of the Dictionary"),
        ({"window": timedelta(0)}, "must be a timedelta of a millisecond or more"),
        ({"how": "median"}, "is not one of count, sum, mean, distinct, last"),
        ({"how": "sum"}, "needs value="),
        ({"how": "sum", "value": "country"}, "value='country' is a category, but must be number or"),
        ({"how": "mean", "value": "orders_7d"}, "is not a feature that requests carry"),
        ({"of": "outcome"}, "of='outcome' must be 'request'"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(
    loaded: LoadedTask, change: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"by": "customer_id", "window": WEEK, "how": "count"} | change
    with pytest.raises(TaskError, match=message):
        with_aggregates(loaded.task, AGGREGATES[0], Aggregate("n", **given))


def test_all_aggregates_of_a_task_are_by_the_same_feature(loaded: LoadedTask) -> None:
    other = Aggregate("n", by="country", window=WEEK, how="count")
    with pytest.raises(TaskError, match="by country and by customer_id; those of a task must be by the same"):
        with_aggregates(loaded.task, AGGREGATES[0], other)
    with pytest.raises(TaskError, match="two aggregates have the same name"):
        with_aggregates(loaded.task, AGGREGATES[0], AGGREGATES[0])
