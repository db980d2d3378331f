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
from streams.learning_time import wants_time
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


def make_metrics(task: Task) -> dict[str, Metric]:
    """Make River's metrics of a task's kind, and the task's own, by name."""
    return {name: make() for name, make in (REGISTRY[task.kind] | task.metrics.extra).items()}


def evaluate_with_river(
    task: Task, model: Model, events: Iterable[Event], made_metrics: Sequence[Metric] = ()
) -> Iterator[dict[str, Any]]:
    """Run River's evaluator; gives its state after each outcome, with its `Prediction`.

    Parameters
    ----------
    made_metrics
        What it updates; those of the task by default.
    """
    metric: Metric = metrics.base.Metrics(made_metrics or list(make_metrics(task).values()))
    rows: Any = dataset(task, model, events)
    made: Any = model.make()
    yield from evaluate.iter_progressive_val_score(
        rows,
        _with_time(made) if wants_time(made) else made,
        metric,
        moment=lambda x: x.asked,
        delay=lambda x, _: x.due - x.asked,
        step=1,
        yield_predictions=True,
    )


def river_metrics(task: Task, model: Model, events: Sequence[Event]) -> dict[str, float]:
    """Give the metrics that River's evaluator ends with, by our names, and `n`, the rows that it took."""
    made = make_metrics(task)
    taken = sum(1 for _ in evaluate_with_river(task, model, events, [*made.values()]))
    return {"n": taken} | {name: metric.get() for name, metric in made.items() if taken}
