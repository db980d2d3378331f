"""The checks of a validation: each passes where it must, and fails where it must."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from schemas import Category, Dictionary, Number
from schemas.errors import TaskError
from schemas.records import Features, ScoreValue
from streams import (
    BeatsBaseRate,
    BeatsEarlier,
    Direction,
    HeldBack,
    Invariant,
    Loss,
    Replay,
    ScoreRange,
    Task,
    Validation,
)
from streams.gate.gain import Gain
from streams.validation.material import Compared, Labelled, Material, Replayed, Result
from streams.validation.rules import Check
from tests.gate_task import make_task

FEATURES = Dictionary(Number(name="a"), Number(name="b", optional=True), Category(name="c", missing="x"))


def rows(score: float, label: bool, count: int = 100) -> list[Labelled]:
    return [Labelled({"a": score}, score, label)] * count


def scored(x: Features) -> ScoreValue:
    """A model that reads a, falls with b, and is not finite for c = bad."""
    if x.get("c") == "bad":
        return math.nan
    return float(x["a"]) - 0.1 * float(x.get("b", 0.0)) if "a" in x else None


def judged(check: Check, **given: Any) -> Result:
    return check.judge(Material("binary", Gain("brier"), scored, **given))


REQUESTS: list[Mapping[str, Any]] = [{"a": 0.2, "b": 1.0, "c": "x"}, {"a": 0.4, "b": 2.0, "c": "y"}]


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (Loss(limit=0.1), {"labelled": rows(0.9, True)}, {"labelled": rows(0.5, True)}),
        (
            BeatsBaseRate(),
            {"labelled": rows(0.9, True, 50) + rows(0.1, False, 50)},
            {"labelled": rows(0.4, True, 50) + rows(0.6, False, 50)},
        ),
        (
            BeatsEarlier(margin=0.01),
            {"compared": [Compared(0.5, 0.6, True)] * 100},
            {"compared": [Compared(0.6, 0.5, True)] * 100},
        ),
        (
            HeldBack(file="f.csv", limit=0.1),
            {"held_back": {"f.csv": rows(0.9, True, 3)}},
            {"held_back": {"f.csv": rows(0.5, True, 3)}},
        ),
        (Invariant(feature="c"), {"requests": REQUESTS}, {"requests": [*REQUESTS, {"a": 0.2, "c": "bad"}]}),
        (Invariant(feature="a", limit=0.25), {"requests": REQUESTS}, {"requests": [*REQUESTS, {"a": 0.9}]}),
        (Direction(feature="a", by=0.1), {"requests": REQUESTS}, {"requests": [{"a": math.nan}]}),
        (
            Direction(feature="b", by=0.1, up=False),
            {"requests": REQUESTS},
            {"requests": [{"a": 1.0, "b": 1.0}, {"b": 1.0}]},
        ),
        (ScoreRange(), {"requests": REQUESTS}, {"requests": [{"a": 1.5}]}),
        (ScoreRange(missing=0.5), {"requests": [{"a": 0.5}, {}]}, {"requests": [{}]}),
        (
            Replay(),
            {"replayed": [Replayed("m.1@7", "aa", "aa")]},
            {"replayed": [Replayed("m.1@7", "aa", "bb")]},
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_a_check_passes_what_is_good_and_fails_what_is_bad(
    check: Check, good: dict[str, Any], bad: dict[str, Any]
) -> None:
    passed = judged(check, **good)
    assert (passed.passed, passed.judged) == (True, True), passed.text
    failed = judged(check, **bad)
    assert (failed.passed, failed.judged) == (False, True), failed.text
    assert failed.count > 0 or isinstance(check, HeldBack)


@pytest.mark.parametrize(
    "check",
    [
        *(Loss(limit=0.1), BeatsBaseRate(), BeatsEarlier(), Invariant(feature="c"), ScoreRange(), Replay()),
        Direction(feature="a", by=1.0),
    ],
)
def test_what_has_too_little_to_judge_passes_and_says_so(check: Check) -> None:
    found = judged(check)
    assert (found.passed, found.judged) == (True, False)
    assert "not judged" in found.text


def test_a_file_without_a_label_fails() -> None:
    assert not judged(HeldBack(file="f.csv", limit=1.0)).passed


def test_a_score_that_is_not_finite_is_out_of_range_and_no_invariance() -> None:
    assert not judged(ScoreRange(), requests=[{"a": 0.1, "c": "bad"}]).passed
    found = judged(Invariant(feature="c", limit=9.0), requests=[{"a": 0.1, "c": "bad"}, {"a": 0.1, "c": "x"}])
    assert not found.passed
    assert found.data()["value"] is None, "JSON has no infinity"


def test_the_base_rate_of_classes_and_of_numbers() -> None:
    labels = ["a"] * 60 + ["b"] * 40
    same = [Labelled({}, {"a": 0.6, "b": 0.4}, each) for each in labels]
    right = [Labelled({}, {each: 1.0}, each) for each in labels]
    for labelled, passed in ((same, False), (right, True)):
        material = Material("multiclass", Gain("brier"), scored, labelled=labelled)
        assert BeatsBaseRate().judge(material).passed is passed
    numbers = [Labelled({}, 5.0, float(each)) for each in (1, 5, 9)] * 40
    gain = Gain("absolute_error", bounds=(0.0, 10.0))
    found = BeatsBaseRate().judge(Material("regression", gain, scored, labelled=numbers))
    assert not found.passed, "it always answers with the median"
    assert found.value == found.limit


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (Validation(checks=()), "must be a tuple of checks"),
        (Validation(checks=(Loss(limit=2.0),)), "Loss(limit=2.0) must be a number from 0 to 1"),
        (Validation(checks=(Loss(limit=0.1), Loss(limit=0.2))), "two checks have the same name"),
        (Validation(checks=(Loss(limit=0.1, least=0),)), "least=0"),
        (Validation(checks=(Invariant(feature="z"),)), "'z' is not a stored feature"),
        (Validation(checks=(Direction(feature="c", by=1.0),)), "'c' is not a number"),
        (Validation(checks=(ScoreRange(low=math.nan),)), "low=nan"),
        (Validation(checks=(HeldBack(file="", limit=0.1),)), "must name a file"),
        (Validation(checks=(Replay(),), every=0), "every=0"),
        (Validation(checks=(Replay(),), loss="absolute_error"), "does not fit kind='binary'"),
    ],
)
def test_a_wrong_validation_is_named_when_the_task_is_made(validation: Validation, words: str) -> None:
    with pytest.raises(TaskError, match="Validation: ") as raised:
        make(validation)
    assert words in str(raised.value)


def make(validation: Validation) -> Task:
    task = make_task()
    return Task(
        name="t",
        question="?",
        features=FEATURES,
        horizon=timedelta(days=5),
        models=task.models,
        validation=validation,
    )


def test_the_digest_names_the_configuration() -> None:
    one, same, other = (Validation(checks=(Loss(limit=each),)) for each in (0.1, 0.1, 0.2))
    assert one.digest == same.digest != other.digest
