"""Champion against shadow: what the gain is made of, and what its interval promises."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from river import dummy, linear_model

from schemas import Dictionary, Number
from schemas.codec.checks import TaskKind
from schemas.records import Entry, Outcome, Prediction, Score, ScoreValue, Value
from streams import Model, Task
from streams.metrics.exact import exact
from streams.metrics.shadow_comparison import LEAST, MOST, ShadowComparison, interval
from streams.policies import DefaultAtHorizon, OnArrival
from streams.snapshot import dump
from streams.version import Version


def task(kind: TaskKind = "binary", policy: Any = None) -> Task:
    make = linear_model.LinearRegression if kind == "regression" else dummy.PriorClassifier
    return Task(
        name="versus",
        question="Which?",
        features=Dictionary(Number(name="x", unit="1")),
        horizon=timedelta(days=1),
        kind=kind,
        models=(Model("a", make), Model("b", make, policy=policy or OnArrival())),
    )


def entry(
    number: int,
    served: ScoreValue,
    shadow: ScoreValue,
    label: Value,
    versions: tuple[str, str] = ("a.1@0", "b.1@0"),
    **more: Any,
) -> Entry:
    made = [Version.parse(version) for version in versions]
    reported = [
        Score(version.model, version.revision, version.offset, score)
        for version, score in zip(made, (served, shadow), strict=True)
    ]
    prediction = Prediction(f"r{number}", number, {}, tuple(reported))
    fields: dict[str, Any] = {
        "prediction": prediction,
        "outcome": Outcome(f"r{number}", number, label),
    }
    return Entry(f"e{number}", more.pop("kind", "labelled"), number, **(fields | more))


def fold(entries: list[Entry], of: Task | None = None) -> ShadowComparison:
    made = ShadowComparison(of or task())
    for offset, each in enumerate(entries):
        made.apply(offset, each)
        made.apply(offset, each)  # one that is read again
    return made


def shown(made: ShadowComparison) -> dict[str, float]:
    return {each.name: each.value for each in made.measurements()}


def scored(count: int, seed: int = 1) -> Iterator[tuple[float, float, bool]]:
    rng = random.Random(seed)
    for _ in range(count):
        p = rng.uniform(0.05, 0.95)
        yield 0.5, p, rng.random() < p


def test_the_gain_is_the_difference_of_the_log_losses_and_its_interval_tells_which_is_better() -> None:
    rows = list(scored(2_000))
    found = shown(fold([entry(number, *row) for number, row in enumerate(rows)]))
    losses = [(-math.log(a if label else 1 - a), -math.log(b if label else 1 - b)) for a, b, label in rows]
    expected = sum(a - b for a, b in losses) / len(losses)
    assert found["log_loss_gain"] == pytest.approx(expected, abs=1e-12)
    assert 0 < found["log_loss_gain_low"] < expected < found["log_loss_gain_high"]


def test_several_classes_and_numbers_have_their_own_losses() -> None:
    classes = [entry(n, {"x": 0.5, "y": 0.5}, {"x": 0.8, "y": 0.2}, "x") for n in range(LEAST)]
    for number, each in enumerate(classes):
        assert each.prediction
        reported = tuple(replace(score, label="x") for score in each.prediction.scores)
        classes[number] = replace(each, prediction=replace(each.prediction, scores=reported))
    assert shown(fold(classes, task("multiclass")))["log_loss_gain"] == pytest.approx(math.log(0.8 / 0.5))
    numbers = [entry(n, 3.0, 5.5, 5.0) for n in range(LEAST)]
    assert shown(fold(numbers, task("regression")))["mae_gain"] == 1.5


def test_a_correction_leaves_no_trace_of_what_it_corrects() -> None:
    rows = list(scored(300))
    reported = [entry(number, *row) for number, row in enumerate(rows)]
    reported += [
        entry(number, a, b, not label, kind="revised", previous=label)
        for number, (a, b, label) in enumerate(rows[:50])
    ]
    straight = [entry(n, a, b, (not label) if n < 50 else label) for n, (a, b, label) in enumerate(rows)]
    assert shown(fold(reported)) == shown(fold(straight))


def test_a_new_revision_begins_anew_and_an_old_pair_s_label_does_not_count_in_it() -> None:
    first = [entry(number, *row) for number, row in enumerate(scored(200))]
    second = [entry(number, *row, ("a.1@0", "b.2@9")) for number, row in enumerate(scored(150, 2), 200)]
    late = [entry(number, *row) for number, row in enumerate(scored(40, 3))]
    made = fold([*first, *second, *late])
    (mean, *_) = made.measurements()
    assert (mean.version, mean.segment, mean.count) == ("b.2", "against=a.1", 150)
    assert shown(made) == shown(fold(second))
    promoted = [entry(number, *row, ("b.2@9", "a.1@0")) for number, row in enumerate(scored(LEAST, 4), 350)]
    (mean, *_) = fold([*first, *second, *promoted]).measurements()
    assert (mean.model, mean.segment, mean.count) == ("a", "against=b.2", LEAST)


def test_few_labels_say_nothing_and_two_policies_are_not_compared() -> None:
    few = [entry(number, *row) for number, row in enumerate(scored(LEAST - 1))]
    assert not shown(fold(few))
    many = [entry(number, *row) for number, row in enumerate(scored(2 * LEAST))]
    assert not shown(fold(many, task(policy=DefaultAtHorizon())))
    backfilled = [replace(each, kind="backfill") for each in many]
    assert not shown(fold(backfilled))


def test_a_restored_one_goes_on_as_if_nothing_had_been() -> None:
    reported = [
        entry(number, *row, (f"a.{1 + number // 150}@0", "b.1@0")) for number, row in enumerate(scored(450))
    ]
    whole, half = fold(reported), fold(reported[:200])
    again = ShadowComparison(task())
    again.restore(half.snapshot())
    for offset, each in enumerate(reported):
        again.apply(offset, each)
    assert dump(again.snapshot()) == dump(whole.snapshot())
    assert shown(again) == shown(whole) != {}


def test_the_number_of_pairs_is_bounded() -> None:
    reported = [entry(number, 0.4, 0.6, True, (f"a.{number + 1}@0", "b.1@0")) for number in range(3 * MOST)]
    assert len(fold(reported).snapshot()["sums"]) == MOST


def test_a_label_of_a_pair_that_was_dropped_does_not_hide_the_newest() -> None:
    reported = [entry(number, 0.4, 0.6, True, (f"a.{number + 1}@0", "b.1@0")) for number in range(3 * MOST)]
    newest = f"a.{3 * MOST}@0"
    reported += [entry(3 * MOST + number, 0.4, 0.6, True, (newest, "b.1@0")) for number in range(LEAST)]
    late = entry(2, 0.4, 0.6, True, ("a.3@0", "b.1@0"))
    made = fold([*reported, late])
    assert {each.segment for each in made.measurements()} == {f"against=a.{3 * MOST}"}
    assert len(made.snapshot()["sums"]) == MOST


def test_the_interval_holds_at_all_times_together() -> None:
    runs, left, ordinary = 300, 0, 0
    for seed in range(runs):
        rng = random.Random(seed)
        n, total, squares, out, plain = 0, 0, 0, False, False
        for _ in range(3_000):
            value = rng.choice((-0.2, 0.1, 0.1))  # 0 on average
            n, total, squares = n + 1, total + exact(value), squares + exact(value * value)
            if n >= LEAST and not n % 20:
                centre, low, high = interval(n, total, squares)
                out = out or not low <= 0.0 <= high
                plain = plain or abs(centre) > 1.96 * math.sqrt(0.02 / n)
        left += out
        ordinary += plain
    assert left / runs <= 0.05
    assert ordinary / runs > 0.2  # which is why it is no ordinary one
