"""Our detectors on a scored stream: the fold that a worker runs, on entries as the log has them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final

from river import dummy

from schemas.alert import Alert
from schemas.dictionary import Dictionary, Number
from schemas.records import Entry, Outcome, Prediction, Score
from streams.drift.drift_rules import LOSS, DriftRules
from streams.drift.fold import DriftFold
from streams.task import Task
from streams.task_model import Model
from tests.benchmarks.drift.concepts import UNJUDGED, Scored

STEP_MS: Final = 1_000
DELAY_MS: Final = 60_000


def task(rules: DriftRules | None = None) -> Task:
    """Give a task with one model; by default with the rules of a task that says nothing about drift."""
    return Task(
        name="bench",
        question="Will it be true?",
        features=Dictionary(Number(name="x", unit="1")),
        horizon=timedelta(days=1),
        models=(Model("model", dummy.PriorClassifier),),
        drift=rules or DriftRules(warm_up=UNJUDGED),
    )


def entries(scored: Iterable[Scored]) -> Iterable[Entry]:
    """Give the entries that a log would have of a scored stream: an event a second, a minute's delay."""
    for number, event in enumerate(scored):
        ts = number * STEP_MS
        score = Score("model", 1, 0, event.score, event.score > 0.5)
        prediction = Prediction("r", ts, {}, (score,))
        came = ts + DELAY_MS
        outcome = Outcome("r", came, event.label)
        yield Entry("e", "labelled", came, prediction=prediction, outcome=outcome)


def alerts(scored: Iterable[Scored], rules: DriftRules | None = None) -> list[Alert]:
    """Give all alerts of a stream; an alert's log offset is the number of its event."""
    fold = DriftFold(task(rules))
    found: list[Alert] = []
    for offset, entry in enumerate(entries(scored)):
        fold.apply(offset, entry)
        found += fold.alerts()
    return found


def openings(found: Sequence[Alert]) -> list[int]:
    """Give the events at which an episode of what is watched opened; those of the loss are left out."""
    return [alert.log_offset for alert in found if alert.state == "opened" and alert.family != LOSS]
