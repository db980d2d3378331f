from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from river import compose, linear_model, naive_bayes, optim, preprocessing

from schemas import Category, Dictionary, Number
from schemas.errors import TaskError
from streams import DefaultAtHorizon, Model, Select, Task
from streams.join.join_rules import JoinRules


def build(learning_rate: float = 0.1) -> compose.Pipeline:
    scaled = Select("x") | preprocessing.StandardScaler()
    return scaled | linear_model.LogisticRegression(optim.SGD(learning_rate))


def make(**changes: Any) -> Task:
    settings: dict[str, Any] = {
        "name": "task",
        "question": "?",
        "features": Dictionary(Number(name="x"), Category(name="c")),
        "horizon": timedelta(days=30),
        "models": (Model("lr", build, {"learning_rate": 0.01}), Model("nb", naive_bayes.GaussianNB)),
    }
    return Task(**settings | changes)


def test_a_model_is_made_fresh_each_time() -> None:
    model = make().model("lr")
    one, two = model.make(), model.make()
    assert one is not two
    one.learn_one({"x": 1.0}, True)  # type: ignore[attr-defined]  # a pipeline
    assert two.predict_proba_one({"x": 1.0}) == model.make().predict_proba_one({"x": 1.0})  # type: ignore[attr-defined]  # a pipeline


def test_an_unknown_model_is_reported_with_those_there_are() -> None:
    with pytest.raises(TaskError, match="task 'task' has no model 'ht'; it has lr, nb"):
        make().model("ht")


def spec(task: Task) -> str:
    return task.spec(task.models[0])


def test_the_specification_is_equal_for_equal_tasks() -> None:
    assert spec(make()) == spec(make())
    assert len(spec(make())) == 16


@pytest.mark.parametrize(
    "changes",
    [
        {"models": (Model("lr", build, {"learning_rate": 0.02}),)},
        {"models": (Model("lr", build, {"learning_rate": 0.01}, DefaultAtHorizon(False)),)},
        {"models": (Model("lr", lambda learning_rate: build(learning_rate * 2), {"learning_rate": 0.01}),)},
        {"models": (Model("other", build, {"learning_rate": 0.01}),)},
        {"features": Dictionary(Category(name="c"), Number(name="x"))},
        {"features": Dictionary(Number(name="x", optional=True), Category(name="c"))},
        {"kind": "multiclass"},
    ],
)
def test_what_changes_the_model_changes_its_specification(changes: dict[str, Any]) -> None:
    assert spec(make(**changes)) != spec(make())


@pytest.mark.parametrize(
    "changes",
    [
        {"question": "Another?"},
        {"grace": timedelta(hours=1)},
        {"features": Dictionary(Number(name="x", owner="sales", purpose="why not"), Category(name="c"))},
    ],
)
def test_what_does_not_change_it_does_not(changes: dict[str, Any]) -> None:
    assert spec(make(**changes)) == spec(make())


def test_the_description_names_parameters_policy_and_pipeline_and_no_addresses() -> None:
    text = make().model("lr").describe()
    assert text.startswith("lr(learning_rate=0.01)\npolicy: OnArrival()\n")
    assert "LogisticRegression" in text
    assert " at 0x" not in text


def test_rules_take_the_times_in_milliseconds() -> None:
    task = make(
        horizon=timedelta(days=800),
        revision_horizon=timedelta(hours=1),
        early_horizon=timedelta(minutes=1),
        grace=timedelta(seconds=1),
        max_ahead=timedelta(milliseconds=5),
        tolerance=timedelta(milliseconds=1),
    )
    assert JoinRules.of(task) == JoinRules(
        69_120_000_000, 3_600_000, 60_000, 1000, 5, 1, earliest_ms=946_684_800_000
    )
    assert JoinRules.of(task, lockstep=True) == replace(JoinRules.of(task), lockstep=True)


@pytest.mark.parametrize("name", ["", "A", "1a", "a_b", "a-", "-a", "a--b", "a.b", "a\n", "ä", "a" * 101])
def test_a_name_that_no_topic_could_have_is_rejected(name: str) -> None:
    with pytest.raises(
        TaskError, match="a name must consist of lower-case letters, digits and single hyphens"
    ):
        make(name=name)


@pytest.mark.parametrize("name", ["a", "a1", "hotel-cancellation-30d", "a" * 100])
def test_ordinary_names_are_taken(name: str) -> None:
    assert make(name=name).name == name


@pytest.mark.parametrize("name", ["revision_horizon", "early_horizon", "grace", "max_ahead", "tolerance"])
def test_only_the_horizon_must_not_be_zero(name: str) -> None:
    assert getattr(make(**{name: timedelta(0)}), name) == timedelta(0)
    with pytest.raises(TaskError, match=f"{name}=-1 day, 0:00:00 must be positive"):
        make(**{name: timedelta(-1)})


@pytest.mark.parametrize(
    ("earliest", "says"),
    [
        (datetime(2000, 1, 1), "must be a datetime with its time zone"),
        (timedelta(1), "must be a datetime with its time zone"),
        (datetime(1969, 12, 31, tzinfo=UTC), "must be 1970 or later"),
    ],
)
def test_an_earliest_time_that_cannot_be_one_is_rejected(earliest: Any, says: str) -> None:
    with pytest.raises(TaskError, match=says):
        make(earliest=earliest)


def test_the_earliest_time_is_taken_in_any_time_zone() -> None:
    zone = timezone(timedelta(hours=1))
    assert JoinRules.of(make(earliest=datetime(1970, 1, 1, 1, tzinfo=zone))).earliest_ms == 0
