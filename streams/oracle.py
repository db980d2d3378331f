"""River's own evaluator on the same events: the oracle that the loop must equal.

What a user would write offline: `evaluate.progressive_val_score` with a moment and a delay, on rows with the first
label that each event gets, known when its outcome came or at the deadline. Rows that never get one are left out.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from river import evaluate, metrics
from river.metrics.base import Metric

from schemas.records import Entry, Outcome, Prediction, Request, Value
from streams.datafile import Event
from streams.failures import is_own
from streams.learning_time import wants_time
from streams.metrics.further import IntervalMetric
from streams.metrics.kinds import REGISTRY
from streams.scoring import gives_interval
from streams.task import Task
from streams.task_model import Model

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
    """Give each event as River takes it: features, and the first label that the model's policy gives it.

    An event that gets no label is left out: the loop answers it and learns nothing from it. So is a row that
    repeats a request id.
    """
    horizon_ms = task.horizon // dt.timedelta(milliseconds=1)
    seen: set[str] = set()
    for event in events:
        request = event.request
        if request.request_id in seen:
            continue
        seen.add(request.request_id)
        found = _first_label(task, model, event, request.ts + horizon_ms)
        if found is None:
            continue
        due, label = found
        row = Row(request.features)
        row.asked = EPOCH + dt.timedelta(milliseconds=request.ts)
        row.due = EPOCH + dt.timedelta(milliseconds=due)
        yield row, label


def _first_label(task: Task, model: Model, event: Event, deadline: int) -> tuple[int, Value] | None:
    """Give the first label of an event, and when it is known; None when it gets none."""
    request, ms = event.request, dt.timedelta(milliseconds=1)
    earliest, latest = request.ts - task.tolerance // ms, deadline + task.revision_horizon // ms
    reported = [each for each in event.outcomes if earliest <= each.ts <= latest]
    in_time = [each for each in reported if each.ts <= deadline]
    facts: list[tuple[int, Entry]] = [(each.ts, _fact("labelled", request, each)) for each in in_time]
    if not in_time:
        facts = [(deadline, _fact("expired", request, None))]
    late = {} if in_time else {"late_by": "event_time"}
    facts += [(each.ts, _fact("late", request, each, **late)) for each in reported if each.ts > deadline]
    for due, fact in facts:
        label = model.policy.label(fact)
        if label is not None and label.value is not None:
            return due, label.value
    return None


def _fact(kind: Any, request: Request, outcome: Outcome | None, **more: Any) -> Entry:
    ts = outcome.ts if outcome else request.ts
    return Entry(
        "", kind, ts, prediction=Prediction(request.request_id, request.ts, {}, ()), outcome=outcome, **more
    )


def _with_time(model: Any) -> Any:
    """Let a model be given the event time of what it learns, as its users give it `t`."""
    learn_one = model.learn_one
    model.learn_one = lambda x, y: learn_one(x, y, t=x.asked)
    return model


class Said(float):
    """A model's number with its interval."""

    interval: tuple[float, float] | None = None


def _with_interval(model: Any) -> Any:
    """Let a model say its interval with each number, from the first example on that it has learned."""
    predict_one, learn_one, learned = model.predict_one, model.learn_one, False

    def learn(x: Any, y: Any, **more: Any) -> None:
        nonlocal learned
        learn_one(x, y, **more)
        learned = True

    def predict(x: Any, **more: Any) -> Said:
        said = Said(predict_one(x, **more))
        if learned:
            found = predict_one(x, with_interval=True)
            said.interval = (float(found.lower), float(found.upper))
        return said

    model.learn_one, model.predict_one = learn, predict
    return model


class Together(metrics.base.Metrics):
    """Metrics that River's evaluator updates at once; one of a user's own that raises is left out from there on.

    River's class gives each a weight, which metrics by its own abstract class need not take.
    """

    def __init__(self, made: Iterable[Metric]) -> None:
        super().__init__([*made])  # type: ignore[no-untyped-call]  # of River

    def update(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        """Update each with what it takes."""
        label = max(y_pred, key=lambda name: y_pred[name]) if isinstance(y_pred, dict) else y_pred
        for each in tuple(self):
            try:
                if not isinstance(each, IntervalMetric):
                    each.update(y_true, label if getattr(each, "requires_labels", False) else y_pred)
                elif isinstance(y_pred, Said) and y_pred.interval is not None:
                    each.update(y_true, y_pred.interval)
            except Exception as error:
                if not is_own(error):
                    raise
                self.data = [other for other in self.data if other is not each]


def make_metrics(task: Task) -> dict[str, Metric]:
    """Make River's metrics of a task's kind, and the task's own, by name."""
    return {name: make() for name, make in [*REGISTRY[task.kind].items(), *task.metrics.extra.items()]}


def evaluate_with_river(
    task: Task, model: Model, events: Iterable[Event], metric: Metric | None = None
) -> Iterator[dict[str, Any]]:
    """Run River's evaluator; gives its state after each outcome, with its `Prediction`.

    Parameters
    ----------
    metric
        What it updates; those of the task by default.
    """
    rows: Any = dataset(task, model, events)
    made: Any = model.make()
    if task.kind == "regression" and gives_interval(made):
        made = _with_interval(made)
    yield from evaluate.iter_progressive_val_score(
        rows,
        _with_time(made) if wants_time(made) else made,
        Together(make_metrics(task).values()) if metric is None else metric,
        moment=lambda x: x.asked,
        delay=lambda x, _: x.due - x.asked,
        step=1,
        yield_predictions=True,
    )


def river_metrics(task: Task, model: Model, events: Sequence[Event]) -> dict[str, float]:
    """Give the metrics that River's evaluator ends with, by our names, and `n`, the rows that it took."""
    made = make_metrics(task)
    taken, left = 0, Together(made.values())
    for _ in evaluate_with_river(task, model, events, left):
        taken += 1
    kept = {id(metric) for metric in left}
    return {"n": taken} | {
        name: metric.get() for name, metric in made.items() if taken and id(metric) in kept
    }
