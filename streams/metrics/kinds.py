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
    "log_loss": metrics.CrossEntropy,
}
REGRESSION: Mapping[str, Callable[[], Metric]] = {
    "mae": metrics.MAE,
    "rmse": metrics.RMSE,
    "r2": metrics.R2,
}
REGISTRY: Final = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}
"""River's cumulative metrics, equal to those of `progressive_val_score` to the last digit."""

KEPT: Final[Mapping[str, tuple[str, ...]]] = {
    "binary": ("log_loss",),
    "multiclass": tuple(MULTICLASS),
    "regression": tuple(REGRESSION),
}
"""Metrics that fold a River object. Accuracy and F1 of two classes come from counts: equal, at a fraction of the
cost."""

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
