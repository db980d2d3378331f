"""Metrics and tallies of each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from river import metrics
from river.metrics.base import Metric

from streams.metrics import binary, multiclass, regression

BINARY: Mapping[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "f1": metrics.F1,
    "log_loss": metrics.LogLoss,
}
MULTICLASS: Mapping[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "f1": metrics.MacroF1,
    "log_loss": multiclass.ClassLogLoss,
    "cross_entropy": metrics.CrossEntropy,
}
REGRESSION: Mapping[str, Callable[[], Metric]] = {
    "mae": metrics.MAE,
    "rmse": metrics.RMSE,
    "r2": metrics.R2,
}
REGISTRY: Final = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}
"""River's cumulative metrics, equal to those of `progressive_val_score` to the last digit; and `log_loss` of
several classes, which is River's `CrossEntropy` but for a class that the model does not know."""

KEPT: Final[Mapping[str, tuple[str, ...]]] = {
    "binary": ("log_loss",),
    "multiclass": ("accuracy", "f1", "cross_entropy"),
    "regression": tuple(REGRESSION),
}
"""Metrics that fold a River object. The others come from sums: equal, at a fraction of the cost."""

TALLIES: Final[Mapping[str, Callable[[], Any]]] = {
    "binary": binary.BinaryTally,
    "multiclass": multiclass.MulticlassTally,
    "regression": regression.RegressionTally,
}
OBSERVE: Final[Mapping[str, Callable[..., Any]]] = {
    "binary": binary.observe,
    "multiclass": multiclass.observe,
    "regression": regression.observe,
}
