"""The same log raises the same alerts at the same offsets, however it is cut and restored."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift, dummy

from schemas.alert import Alert
from schemas.dictionary import Dictionary, Number
from schemas.records import Entry, Outcome, Prediction, Score
from streams.drift.drift_rules import DriftRules, Watch
from streams.drift.fold import DriftFold
from streams.policies import DefaultAtHorizon, OnArrival
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest
from streams.task import Task
from streams.task_model import Model

MINUTE = 60_000
TASK = Task(
    name="cuts",
    question="Will it?",
    features=Dictionary(Number(name="x", unit="1")),
    horizon=timedelta(hours=1),
    models=(
        Model("one", dummy.PriorClassifier, policy=OnArrival()),
        Model("two", dummy.PriorClassifier, policy=DefaultAtHorizon(False)),
    ),
    drift=DriftRules(
        watches=(
            Watch("excess_log_loss"),
            Watch("error", drift.binary.HDDMW),
            Watch("label_mean"),
            Watch("score_mean", drift.ADWIN, {"delta": 0.01}),
            Watch("delay"),
        ),
        warm_up=100,
        cool_down=200,
        one_false_alarm_in=1_000,
    ),
)


@cache
def log() -> tuple[Entry, ...]:
    """A log with a drift, an outage, slower outcomes, late ones and corrections."""
    rng = random.Random(2)
    out = []
    for number in range(5_000):
        ts = number * MINUTE
        label = rng.random() < 0.4
        right = rng.random() < (0.9 if number < 1_500 else 0.4)
        p = 0.8 if label == right else 0.2
        scores = tuple(Score(name, 1, 0, p, p > 0.5) for name in ("one", "two"))
        prediction = Prediction(f"r{number}", ts, {}, scores)
        came = ts + rng.randrange(1, 20 if number < 3_500 else 50) * MINUTE
        progress = {"predictions": number + 1}
        if 2_300 < number < 2_700 or (not label and rng.random() < 0.3):
            out.append(
                Entry("e", "expired", ts + 60 * MINUTE, prediction=prediction, progress=progress, partition=0)
            )
            if rng.random() < 0.1 and not 2_200 < number < 2_700:
                late = Outcome("r", ts + 90 * MINUTE, label)
                more = {"late_by": "event_time", "previous_kind": "expired", "corrects": "e"}
                out.append(Entry("l", "late", late.ts, prediction=prediction, outcome=late, **more))  # type: ignore[arg-type]  # by name
        else:
            outcome = Outcome("r", came, label)
            out.append(
                Entry(
                    "e",
                    "labelled",
                    came,
                    prediction=prediction,
                    outcome=outcome,
                    progress=progress,
                    partition=0,
                )
            )
    return tuple(sorted(out, key=lambda entry: entry.ts))


@cache
def undisturbed() -> tuple[tuple[Alert, ...], str]:
    fold = DriftFold(TASK)
    found: list[Alert] = []
    for offset, entry in enumerate(log()):
        fold.apply(offset, entry)
        found += fold.alerts()
    return tuple(found), state_digest(fold.snapshot())


def test_the_log_has_what_the_property_is_about() -> None:
    found, _ = undisturbed()
    assert {alert.family for alert in found} >= {"drift", "outage", "loss"}
    assert {alert.state for alert in found} == {"opened", "updated", "closed"}


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, 4_999), max_size=4), st.integers(0, 200))
def test_cuts_restarts_and_repeats_change_no_alert(cuts: list[int], again: int) -> None:
    entries, places = log(), sorted({0, *cuts, len(log())})
    fold = DriftFold(TASK)
    found: list[Alert] = []
    for start, end in pairwise(places):
        # A new owner restores the newest snapshot and is given some entries again.
        for offset in range(max(start - again, 0), end):
            fold.apply(offset, entries[offset])
            found += fold.alerts()
        stored = dump(fold.snapshot())
        fold = DriftFold(TASK)
        fold.restore(load(stored, fold.snapshot()))
    expected, digest = undisturbed()
    assert tuple(found) == expected
    assert state_digest(fold.snapshot()) == digest
