"""The estimate of what waits: exactly what the join holds, read through the labels that have come."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from river import linear_model

from schemas import Dictionary, Number
from schemas.event_time import EPOCH
from schemas.records import Entry, Outcome, Prediction, Request, Score
from streams import MemoryDriver, Model, Select, Task
from streams.metrics.binary import GROUPS
from streams.metrics.waiting import Waiting, counter_of
from streams.snapshot import dump

SECOND_MS = 1000


def build() -> Any:
    return Select("x") | linear_model.LogisticRegression()


TASK = Task(
    name="wait",
    question="How good is what waits?",
    features=Dictionary(Number(name="x")),
    horizon=timedelta(seconds=1000),
    earliest=EPOCH,
    models=(Model("lr", build),),
)


def driven(count: int = 900) -> tuple[MemoryDriver, dict[str, float], dict[str, bool]]:
    """Drive requests, one a second: even ones get an outcome after 5 s, odd ones none. Gives scores and labels."""
    rng, driver = random.Random(3), MemoryDriver(TASK)
    scores: dict[str, float] = {}
    labels: dict[str, bool] = {}
    for number in range(count):
        ts = number * SECOND_MS
        driver.complete(ts)
        score = driver.ask(Request(f"r{number}", ts, {"x": rng.gauss(0, 2)})).scores[0].score
        assert isinstance(score, float)
        scores[f"r{number}"] = score
        if number >= 5 and number % 2:
            name = f"r{number - 5}"
            labels[name] = rng.random() < 0.4
            driver.report(Outcome(name, ts, labels[name], 1))
    driver.complete(count * SECOND_MS)
    return driver, scores, labels


def fold(log: list[Entry]) -> Waiting:
    made = Waiting(TASK)
    for offset, entry in enumerate(log):
        made.apply(offset, entry)
        made.apply(offset, entry)  # one that is read again
    return made


def group_of(score: float) -> int:
    return min(int(score * GROUPS), GROUPS - 1)


def expected(scores: dict[str, float], labels: dict[str, bool]) -> tuple[float, int]:
    waiting = [score for name, score in scores.items() if name not in labels]
    right = 0.0
    for score in waiting:
        group = group_of(score)
        found = [label for name, label in labels.items() if group_of(scores[name]) == group]
        true = (sum(found) + (group + 0.5) / GROUPS) / (len(found) + 1)
        right += true if score >= 0.5 else 1 - true
    return right / len(waiting), len(waiting)


def test_it_is_the_calibrated_share_of_right_decisions_among_what_the_join_holds() -> None:
    driver, scores, labels = driven()
    (reported,) = fold(driver.log).measurements()
    value, count = expected(scores, labels)
    assert reported.value == pytest.approx(value, abs=1e-12)
    assert reported.count == count == driver.join.waiting
    assert (reported.name, reported.window, reported.model) == ("estimated_accuracy", "waiting", "lr")
    assert reported.version.startswith("lr.1@")


def test_a_correction_moves_the_calibration_and_not_what_waits() -> None:
    driver, scores, labels = driven()
    for name in list(labels)[:200]:
        driver.report(Outcome(name, 901 * SECOND_MS, not labels[name], 2))
        labels[name] = not labels[name]
    (reported,) = fold(driver.log).measurements()
    assert (reported.value, reported.count) == pytest.approx(expected(scores, labels))


def test_a_restored_one_goes_on_as_if_nothing_had_been() -> None:
    driver, *_ = driven()
    whole, again = fold(driver.log), Waiting(TASK)
    again.restore(fold(driver.log[:1200]).snapshot())
    for offset, entry in enumerate(driver.log):
        again.apply(offset, entry)
    assert dump(again.snapshot()) == dump(whole.snapshot())
    assert list(again.measurements()) == list(whole.measurements()) != []


def test_few_labels_and_nothing_that_waits_say_nothing() -> None:
    assert not list(fold(driven(300)[0].log).measurements())
    driver, *_ = driven()
    driver.complete(10_000 * SECOND_MS)
    assert driver.join.waiting == 0
    assert not list(fold(driver.log).measurements())


def test_only_a_probability_is_counted() -> None:
    for score in (None, 3.5, {"a": 1.0}, float("nan")):
        served = Score("lr", 1, 0, score)
        assert not counter_of(Prediction("r", 0, {}, (served,)))
    assert not counter_of(Prediction("r", 0, {}, ()))
    assert counter_of(Prediction("r", 0, {}, (Score("lr", 1, 0, 1.0),))) == "score lr 9"
