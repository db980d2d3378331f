"""Scores of four models on the hotel bookings, as the loop served them, with the labels and the times of both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np

from infra.taskfile import examples, load_task
from schemas.records import Entry
from streams.driver import MemoryDriver
from streams.fold import BaseFold
from streams.policies import label_of
from streams.task import Task
from streams.task_model import Model

Column = np.ndarray[Any, Any]
TRUE_DATES: Final = "hotel_bookings/task.py:cancellation"
WINDOW: Final = "hotel_bookings/task.py:cancellation_within_30_days"


class Scored(NamedTuple):
    """Requests in the order in which they were made."""

    labels: Column
    """1.0 or 0.0, shape (n,)."""
    known: Column
    """Place of each label in the order of the log, shape (n,)."""
    scores: dict[str, Column]
    """P(true) by model, shape (n,)."""

    def losses(self, model: str) -> Column:
        """Return the Brier losses of a model, a request without an answer at 1."""
        return np.asarray(np.nan_to_num((self.scores[model] - self.labels) ** 2, nan=1.0))


class Book(BaseFold[Entry]):
    """Keeps the scores and the last label of each request."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.rows: dict[str, tuple[int, int, float, dict[str, float]]] = {}

    def _apply(self, offset: int, entry: Entry) -> None:
        prediction = entry.prediction
        label = None if prediction is None else label_of(self.task.models[0].policy, entry, self.task.kind)
        if prediction is None or label is None or label.value is None:
            return
        scores = {each.model: np.nan if each.score is None else each.score for each in prediction.scores}
        self.rows[prediction.request_id] = prediction.ts, offset, float(label.value), scores  # type: ignore[assignment]  # a binary task's

    def snapshot(self) -> Any:
        """See `Fold.snapshot`; this one is not stored."""

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""


def with_rates(task: Task) -> Task:
    """Return a task with three learning rates and the tree."""
    lr, tree = task.models
    rates = (
        Model(f"lr-{rate}", lr.build, {"learning_rate": float(f"0.{rate}")}, lr.policy) for rate in RATES
    )
    return replace(task, models=(*rates, tree))


RATES: Final = ("01", "003", "03")


def scored(name: str, limit: int | None = None) -> Scored:
    """Play an example task through the loop."""
    loaded = load_task(str(examples() / name))
    task = with_rates(loaded.task)
    book = Book(task)
    for _ in MemoryDriver(task, folds=[book], keep_log=False).run(list(loaded.events(None, limit))):
        pass
    rows = sorted(book.rows.values(), key=lambda row: row[0])
    known = np.argsort(np.argsort([row[1] for row in rows]))
    scores = {model.name: np.array([row[3][model.name] for row in rows]) for model in task.models}
    return Scored(np.array([row[2] for row in rows]), known, scores)
