"""Metrics of what was served: a fold that scores each resolution once, with the score that was served."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from river import metrics
from river.metrics.base import Metric

from schemas.records import Entry, Score, Value
from streams.task import Model, Task

CLASSIFICATION: Mapping[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "f1": metrics.F1,
    "log_loss": metrics.LogLoss,
}
MULTICLASS: Mapping[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "f1": metrics.MacroF1,
    "log_loss": metrics.CrossEntropy,
}
REGRESSION: Mapping[str, Callable[[], Metric]] = {
    "mae": metrics.MAE,
    "rmse": metrics.RMSE,
    "r2": metrics.R2,
}
REGISTRY = {"binary": CLASSIFICATION, "multiclass": MULTICLASS, "regression": REGRESSION}
UNITS = {"log_loss": "nats", "mae": "outcome", "rmse": "outcome"}


class ServedMetrics:
    """Cumulative metrics of one model of a task, over the scores that were served.

    A correction reverts the label it replaces. A null score is not scored.

    Parameters
    ----------
    task, model
        The task, and the model of it: its policy says which label a fact gives.
    """

    def __init__(self, task: Task, model: Model) -> None:
        self.task, self.model = task, model
        self.metrics = {name: make() for name, make in REGISTRY[task.kind].items()}
        self.n = 0
        self.next_offset = 0

    def apply(self, offset: int, entry: Entry) -> None:
        """See `Fold.apply`."""
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        if entry.prediction is None or entry.kind == "backfill":
            return
        label = self.model.policy.label(entry)
        if label is None:
            return
        for score in entry.prediction.scores:
            if score.model == self.model.name and score.score is not None:
                self._score(score, label.value, label.replaces)

    def _score(self, score: Score, value: Value, replaces: Value) -> None:
        for metric in self.metrics.values():
            answer: Any = score.label if metric_wants_labels(metric) else score.score
            if replaces is not None:
                metric.revert(replaces, answer)
            if value is not None:
                metric.update(value, answer)
        self.n += (value is not None) - (replaces is not None)

    def get(self) -> dict[str, float]:
        """Give the metrics by name."""
        return {name: metric.get() for name, metric in self.metrics.items()}

    def snapshot(self) -> dict[str, Any]:
        """See `Fold.snapshot`."""
        return {"metrics": self.metrics, "n": self.n, "next_offset": self.next_offset}

    def restore(self, state: dict[str, Any]) -> None:
        """See `Fold.restore`."""
        self.metrics, self.n, self.next_offset = state["metrics"], state["n"], state["next_offset"]


def metric_wants_labels(metric: Metric) -> bool:
    """Whether a metric takes the decision and not the score."""
    return isinstance(metric, metrics.base.ClassificationMetric) and metric.requires_labels
