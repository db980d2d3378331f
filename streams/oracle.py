"""River's own evaluator on the same events: the oracle that the loop must equal.

What a user would write offline: `evaluate.progressive_val_score` with a moment and a delay, on rows with the label
that each event gets by its horizon, known when its outcome came or at the deadline.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

from river import evaluate, metrics
from river.metrics.base import Metric

from schemas.errors import UsageError
from schemas.records import Entry, Outcome, Prediction
from streams.datafile import Event
from streams.metrics.kinds import REGISTRY
from streams.task import Model, Task

EPOCH = dt.datetime(1970, 1, 1)


class Row(dict[str, Any]):
    """Features for River, with the event's times beside and not among them.

    Moment and delay given as names would reach the model as features.
    """

    asked: dt.datetime
    due: dt.datetime

    def __deepcopy__(self, memo: object) -> Row:
        copied = Row(self)
        copied.asked, copied.due = self.asked, self.due
        return copied


def dataset(task: Task, model: Model, events: Iterable[Event]) -> Iterator[tuple[Row, Any]]:
    """Give each event as River takes it: features, and the label that it gets by its horizon.

    Raises
    ------
    UsageError
        For an event that the model's policy gives no label: River's evaluator cannot leave out a row.
    """
    horizon_ms = task.horizon // dt.timedelta(milliseconds=1)
    for event in events:
        request = event.request
        deadline = request.ts + horizon_ms
        outcome = next((each for each in event.outcomes if each.ts <= deadline), None)
        label = model.policy.label(_fact(request.request_id, request.ts, outcome))
        if label is None:
            raise UsageError(
                f"request {request.request_id} has no label under {model.policy!r}, which River's evaluator "
                "requires"
            )
        row = Row(request.features)
        row.asked = EPOCH + dt.timedelta(milliseconds=request.ts)
        row.due = EPOCH + dt.timedelta(milliseconds=outcome.ts if outcome else deadline)
        yield row, label.value


def _fact(request_id: str, ts: int, outcome: Outcome | None) -> Entry:
    kind: Any = "labelled" if outcome else "expired"
    return Entry("", kind, ts, prediction=Prediction(request_id, ts, {}, ()), outcome=outcome)


def evaluate_with_river(task: Task, model: Model, events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """Run River's evaluator; gives its state after each outcome, with its `Prediction`."""
    metric: Metric = metrics.base.Metrics([make() for make in REGISTRY[task.kind].values()])
    rows: Any = dataset(task, model, events)
    yield from evaluate.iter_progressive_val_score(
        rows,
        model.make(),
        metric,
        moment=lambda x: x.asked,
        delay=lambda x, _: x.due - x.asked,
        step=1,
        yield_predictions=True,
    )


def river_metrics(task: Task, model: Model, events: Iterable[Event]) -> dict[str, float]:
    """Give the metrics that River's evaluator ends with, by our names."""
    last: dict[str, Any] = {}
    for step in evaluate_with_river(task, model, events):
        last = step
    names = {make().__class__.__name__: name for name, make in REGISTRY[task.kind].items()}
    return {names[key]: metric.get() for key, metric in last.items() if key in names}
