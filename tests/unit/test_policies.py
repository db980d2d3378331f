from __future__ import annotations

from typing import Any

import pytest

from schemas.records import Entry, Outcome, Prediction
from streams.policies import DefaultAtHorizon, Label, OnArrival, Policy
from tests.joining import Step, ask, idle, played, report


def fact(kind: Any, value: Any = True, **more: Any) -> Entry:
    outcome = None if kind in {"expired", "opened", "time"} else Outcome("a", 9, value)
    return Entry("t[0]@1#0", kind, 9, prediction=Prediction("a", 0, {}, ()), outcome=outcome, **more)


LATE: dict[str, Any] = {"late_by": "event_time", "corrects": "e", "previous_kind": "expired"}


@pytest.mark.parametrize(
    ("entry", "on_arrival", "at_horizon"),
    [
        (fact("labelled", True), Label(True), Label(True)),
        (fact("labelled", False), Label(False), Label(False)),
        (fact("labelled", 0.0), Label(0.0), Label(0.0)),
        (fact("expired"), None, Label("silence")),
        (fact("late", True, **LATE), Label(True), None),
        (fact("unavailable", None), None, None),
        (fact("unavailable", None, **LATE), None, None),
        (
            fact("unavailable", None, corrects="e", previous=True, previous_kind="labelled"),
            Label(None, replaces=True),
            Label(None, replaces=True),
        ),
        (
            fact("revised", False, corrects="e", previous=True, previous_kind="labelled"),
            Label(False, replaces=True),
            Label(False, replaces=True),
        ),
        (fact("revised", True, corrects="e", previous=True, previous_kind="labelled"), None, None),
        (
            fact("revised", True, corrects="e", previous=None, previous_kind="unavailable"),
            Label(True),
            Label(True),
        ),
        (
            fact("revised", False, late_by="arrival", corrects="e", previous=True, previous_kind="late"),
            Label(False, replaces=True),
            None,
        ),
        (fact("opened"), None, None),
        (fact("time"), None, None),
        (fact("backfill", True), Label(True), Label(True)),
        (
            Entry("f#1", "backfill", 9, prediction=Prediction("a", 0, {}, ())),
            None,
            Label("silence"),
        ),
        (fact("backfill", True, **LATE), Label(True), None),
    ],
    ids=lambda each: each.kind if isinstance(each, Entry) else "",
)
def test_what_a_fact_says_under_a_policy(
    entry: Entry, on_arrival: Label | None, at_horizon: Label | None
) -> None:
    assert OnArrival().label(entry) == on_arrival
    assert DefaultAtHorizon("silence").label(entry) == at_horizon


def standing(policy: Policy, steps: list[Step]) -> list[Any]:
    """The labels that count of one request after its facts; each correction must take one back that counts."""
    counted: list[Any] = []
    for entry in played(steps).join.out.entries:
        label = policy.label(entry)
        if label is None:
            continue
        if label.replaces is not None:
            counted.remove(label.replaces)
        counted.append(label.value)
    return counted


@pytest.mark.parametrize(
    ("steps", "on_arrival", "at_horizon"),
    [
        ([ask("a", 0), report("a", 5), report("a", 6, False), report("a", 7)], [True], [True]),
        ([ask("a", 0), report("a", 5, None), report("a", 6)], [True], [True]),
        ([ask("a", 0), idle(500)], [], [False]),
        ([ask("a", 0), report("a", 101), report("a", 102, False), report("a", 103)], [True], [False]),
        ([ask("a", 0), report("a", 101, None), report("a", 102), report("a", 103, False)], [False], [False]),
        ([ask("a", 0), idle(500), report("a", 50), report("a", 51, False), report("a", 52)], [True], [False]),
        (
            [ask("a", 0), report("a", 101), report("a", 102, True, 1), report("a", 103, False, 2)],
            [False],
            [False],
        ),
    ],
)
def test_a_request_never_counts_twice_however_often_it_is_corrected(
    steps: list[Step], on_arrival: list[bool], at_horizon: list[bool]
) -> None:
    assert standing(OnArrival(), steps) == on_arrival
    assert standing(DefaultAtHorizon(False), steps) == at_horizon


def test_policies_say_what_they_are_in_a_specification() -> None:
    assert repr(OnArrival()) == "OnArrival()"
    assert repr(DefaultAtHorizon(False)) == "DefaultAtHorizon(value=False)"
    assert DefaultAtHorizon(True) != DefaultAtHorizon(False)
