"""Live equals replay equals River's own evaluator: every prediction, to the last bit."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from river import datasets, dummy, forest, linear_model, naive_bayes, preprocessing, tree

from infra.datafiles.rows import rows
from infra.taskfile import load_task
from schemas import Dictionary, Number
from schemas.event_time import EPOCH
from schemas.records import Outcome, Request
from streams import Event, MemoryDriver, Model, OnArrival, Task, native
from streams.datafile import in_time_order
from streams.oracle import evaluate_with_river, river_metrics

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
DAY_MS = 86_400_000

PHISHING_MODELS: dict[str, Callable[[], Any]] = {
    "lr": lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    "ht": tree.HoeffdingTreeClassifier,
    "arf": lambda: forest.ARFClassifier(n_models=5, seed=42),
    "nb": naive_bayes.GaussianNB,
}
FUSED = ("lr",)
"""Models that the native core fuses."""
PHISHING_ACCURACY = {0: 0.8928, 1: 0.8928, 2: 0.8888, 10: 0.8856, 100: 0.8592, 500: 0.7664, 2000: 0.5616}


def assert_equals_river(
    task: Task, events: Sequence[Event], labelled: int | None = None
) -> dict[str, dict[str, float]]:
    """Every score that the loop served is River's, bit for bit, and so are the metrics; over those with a label.

    What the native core fuses learns in Python as well, once more.
    """
    rivers = {model.name: list(evaluate_with_river(task, model, events)) for model in task.models}
    driver = MemoryDriver(task)
    fused = [fold.model for fold in driver.models if not fold.prepare()]
    before = native.chosen()
    if before != "python" and native.built() is not None:
        assert [model.name for model in fused] == [name for name in rivers if name in FUSED]
    found = assert_equal(driver, rivers, events, labelled)
    if fused:
        native.choose("python")
        try:
            again = assert_equal(MemoryDriver(task, fused), rivers, events, labelled)
        finally:
            native.choose(before)
        assert again == {name: found[name] for name in again}
    return found


def assert_equal(
    driver: MemoryDriver,
    rivers: Mapping[str, list[dict[str, Any]]],
    events: Sequence[Event],
    labelled: int | None,
) -> dict[str, dict[str, float]]:
    """Let a loop learn, and compare it with the steps of River's evaluator, by model."""
    asked = sum(1 for _ in driver.run(events))
    assert asked == len(events)
    found = {}
    for index, (fold, served) in enumerate(zip(driver.models, driver.metrics, strict=True)):
        model, steps = fold.model, rivers[fold.model.name]
        predictions = [step["Prediction"] for step in steps]
        expected = {name: steps[-1][name].get() for name in ("Accuracy", "F1", "LogLoss")}
        resolved = [
            entry.prediction.scores[index].score
            for entry in driver.log
            if entry.prediction and model.policy.label(entry) is not None
        ]
        assert len(resolved) == len(predictions) == (len(events) if labelled is None else labelled)
        for ours, theirs in zip(resolved, predictions, strict=True):
            bits = None if not theirs else struct.pack("<d", theirs.get(True, 0.0))
            assert (None if ours is None else struct.pack("<d", ours)) == bits
        ours_now = served.get()
        if any(predictions):
            assert ours_now["accuracy"] == expected["Accuracy"]
            assert ours_now["f1"] == expected["F1"]
            assert ours_now["log_loss"] == pytest.approx(expected["LogLoss"], rel=0, abs=1e-12)
        else:  # it had learned nothing before the last request: River says 0, and there is no value
            assert not {"accuracy", "f1", "log_loss"} & ours_now.keys()
        assert driver.join.waiting == 0
        found[model.name] = ours_now | {"n": served.n, "most_waiting": driver.join.most_waiting}
    return found


def shifted(events: Sequence[Event], delay_ms: int) -> list[Event]:
    """The same events, each outcome a fixed time after its request."""
    return [
        Event(
            event.request,
            tuple(Outcome(o.request_id, event.request.ts + delay_ms, o.value) for o in event.outcomes),
        )
        for event in events
    ]


def phishing_task(*names: str) -> Task:
    features = next(iter(datasets.Phishing()))[0]
    return Task(
        name="phishing",
        question="Is this page a phishing page?",
        features=Dictionary(*(Number(name=name) for name in features)),
        earliest=EPOCH,
        horizon=timedelta(days=1),
        models=tuple(Model(name, PHISHING_MODELS[name]) for name in names),
    )


def phishing_events(task: Task, delay: int) -> list[Event]:
    return [
        Event(
            Request(str(i), i * 1000, task.features.canonical(x)), (Outcome(str(i), (i + delay) * 1000, y),)
        )
        for i, (x, y) in enumerate(datasets.Phishing())
    ]


@pytest.mark.parametrize("delay", PHISHING_ACCURACY)
@pytest.mark.parametrize("name", PHISHING_MODELS)
def test_phishing_at_every_delay_and_with_every_kind_of_model(name: str, delay: int) -> None:
    task = phishing_task(name)
    found = assert_equals_river(task, phishing_events(task, delay))
    if name == "lr":
        assert found["lr"]["accuracy"] == PHISHING_ACCURACY[delay]


@cache
def example(reference: str) -> tuple[Task, list[Event]]:
    loaded = load_task(str(EXAMPLES / reference))
    assert loaded.task.data
    events = loaded.task.data.events(rows(loaded.data_path()), loaded.task.features)
    return loaded.task, in_time_order(events)


@pytest.mark.parametrize(
    ("delay", "accuracy", "f1", "log_loss"),
    [
        (0, 0.8844282238442822, 0.5077720207253886, 0.3017731571843383),
        (10, 0.884022708840227, 0.5058742225293711, 0.30203005150496587),
        (100, 0.8839416058394161, 0.5032974661575842, 0.3078169818437551),
        (1000, 0.8793998377939983, 0.48025166025865085, 0.35410591306935235),
    ],
)
def test_online_shoppers(delay: int, accuracy: float, f1: float, log_loss: float) -> None:
    task, events = example("online_shoppers/task.py")
    found = assert_equals_river(task, shifted(events, delay * 1000))["lr"]
    assert (found["accuracy"], found["f1"]) == (accuracy, f1)
    assert found["log_loss"] == pytest.approx(log_loss, abs=1e-9)


@pytest.mark.parametrize(
    ("delay_days", "lr", "log_loss", "ht", "ht_n"),
    [
        (0, 0.8132301547678482, 0.4386630955307199, 0.7856411792605906, 40059),
        (None, 0.6981278082875686, 0.6777199286275108, 0.5760812467168622, 39977),
        (30, 0.79136295556665, 0.48380228541734416, None, None),
    ],
)
def test_hotel_bookings(
    delay_days: int | None, lr: float, log_loss: float, ht: float | None, ht_n: int | None
) -> None:
    task, events = example("hotel_bookings/task.py")
    if delay_days == 0:  # one second apart, each known before the next
        events = [
            Event(
                Request(e.request.request_id, events[0].request.ts + i * 1000, e.request.features),
                (Outcome(e.request.request_id, events[0].request.ts + i * 1000, e.outcomes[0].value),),
            )
            for i, e in enumerate(events)
        ]
    elif delay_days is not None:
        events = shifted(events, delay_days * DAY_MS)
    if ht is None:  # a tree takes most of the time, and has shown it at two delays
        task = replace(task, models=task.models[:1])
    found = assert_equals_river(task, events)
    assert found["lr"]["accuracy"] == lr
    assert found["lr"]["log_loss"] == pytest.approx(log_loss, abs=1e-9)
    if ht is not None:
        assert (found["ht"]["accuracy"], found["ht"]["n"]) == (ht, ht_n)
    if delay_days is None:
        assert found["lr"]["most_waiting"] == 5401


def test_hotel_bookings_within_30_days() -> None:
    task, events = example("hotel_bookings/task.py:cancellation_within_30_days")
    found = assert_equals_river(replace(task, models=task.models[:1]), events)["lr"]
    assert (found["accuracy"], found["f1"]) == (0.8282576135796306, 0.24858016601135866)
    assert found["log_loss"] == pytest.approx(0.42367262107547754, abs=1e-9)
    assert found["most_waiting"] == 2623


@pytest.mark.parametrize("horizon_days", [3, 400])
def test_outcomes_that_may_never_come(horizon_days: int) -> None:
    """Silence teaches nothing: River's side leaves such rows out. Late outcomes teach when they come."""
    whole, events = example("hotel_bookings/task.py:cancellation_within_30_days")
    events = events[:4000]
    task = replace(
        whole,
        horizon=timedelta(days=horizon_days),
        models=tuple(replace(model, policy=OnArrival()) for model in whole.models[:1]),
    )
    labelled = sum(1 for event in events if event.outcomes)
    assert 500 < labelled < 3500
    assert_equals_river(task, events, labelled)
    found = river_metrics(task, task.models[0], events)
    assert found["n"] == labelled


def test_the_log_loss_of_several_classes_is_one_and_rivers_keeps_rivers_name() -> None:
    """A model that knows one class only is not perfect when others come."""
    task = Task(
        name="classes",
        question="?",
        kind="multiclass",
        features=Dictionary(Number(name="x")),
        earliest=EPOCH,
        horizon=timedelta(days=1),
        models=(Model("prior", dummy.PriorClassifier), Model("nb", naive_bayes.GaussianNB)),
    )
    events = [
        Event(
            Request(str(n), n * 1000, {"x": float(n)}),
            (Outcome(str(n), n * 1000, "abc"[n * n % 3] if n > 20 else "a"),),
        )
        for n in range(60)
    ]
    driver = MemoryDriver(task)
    for _ in driver.run(events):
        pass
    for model, served in zip(task.models, driver.metrics, strict=True):
        ours, theirs = served.get(), river_metrics(task, model, events)
        assert ours.keys() == theirs.keys() - {"n"}
        for name, value in ours.items():
            assert value == pytest.approx(theirs[name], abs=1e-12)
        assert ours["log_loss"] > ours["cross_entropy"] + 0.5  # one answer without a new class costs 34.5
