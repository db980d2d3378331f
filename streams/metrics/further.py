"""Metrics for `MetricRules(extra=…)` that River does not have, in River's form."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from river import metrics, stats


class TopK(metrics.base.MeanMetric, metrics.base.MultiClassMetric):
    """Share of labels among the k most probable classes; of equally probable ones the first counts.

    Examples
    --------
    >>> top = TopK(2)
    >>> for label in "abc":
    ...     top.update(label, {"a": 0.5, "b": 0.3, "c": 0.2})
    >>> round(top.get(), 3)
    0.667
    """

    def __init__(self, k: int = 3) -> None:
        metrics.base.MeanMetric.__init__(self)
        self.k = k

    @property
    def requires_labels(self) -> bool:
        """Whether it takes decisions and not probabilities."""
        return False

    def _eval(self, y_true: Any, y_pred: Mapping[Any, float]) -> float:
        first = sorted(y_pred, key=lambda name: -y_pred[name])[: self.k]
        return float(y_true in first)


class AtThreshold(metrics.base.BinaryMetric):
    """A metric of decisions that are True from a probability on.

    Parameters
    ----------
    threshold
        The least probability of True, in [0, 1].
    metric
        What the decisions are measured by, such as `metrics.F1()`.

    Examples
    --------
    >>> recall = AtThreshold(0.2, metrics.Recall())
    >>> for p in (0.1, 0.2, 0.4, 0.9):
    ...     recall.update(True, {False: 1 - p, True: p})
    >>> recall.get()
    0.75
    """

    def __init__(self, threshold: float, metric: metrics.base.ClassificationMetric) -> None:
        super().__init__(cm=metric.cm)  # type: ignore[no-untyped-call]  # of River
        self.threshold, self.metric = threshold, metric

    @property
    def bigger_is_better(self) -> bool:
        """Whether more is better."""
        return bool(self.metric.bigger_is_better)

    @property
    def requires_labels(self) -> bool:
        """Whether it takes decisions and not probabilities."""
        return False

    def _decides(self, y_pred: Any) -> bool:
        return bool(y_pred.get(True, 0.0) >= self.threshold)

    def update(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        """Count a label."""
        self.metric.update(y_true, self._decides(y_pred), w)

    def revert(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        """Take a label back."""
        self.metric.revert(y_true, self._decides(y_pred), w)

    def get(self) -> float:
        """Return the metric's value."""
        return float(self.metric.get())


class DecisionCost(metrics.base.MeanMetric, metrics.base.BinaryMetric):
    """Mean cost per label of the decisions that cost least by the model's own probabilities.

    A decision is True where `p * missed > (1 - p) * false_alarm` (Elkan 2001).

    Parameters
    ----------
    false_alarm, missed
        What a wrong True and a wrong False cost, each above 0.

    Examples
    --------
    >>> cost = DecisionCost(false_alarm=1, missed=10)
    >>> for p, label in ((0.2, False), (0.2, True), (0.05, True), (0.01, False)):
    ...     cost.update(label, {False: 1 - p, True: p})
    >>> cost.get()
    2.75
    """

    _fmt = ""

    def __init__(self, false_alarm: float = 1.0, missed: float = 1.0) -> None:
        metrics.base.MeanMetric.__init__(self)
        self.false_alarm, self.missed = false_alarm, missed

    @property
    def bigger_is_better(self) -> bool:
        """Whether more is better."""
        return False

    @property
    def requires_labels(self) -> bool:
        """Whether it takes decisions and not probabilities."""
        return False

    def _eval(self, y_true: Any, y_pred: Mapping[Any, float]) -> float:
        p = y_pred.get(True, 0.0)
        decision = p * self.missed > (1.0 - p) * self.false_alarm
        if decision == (y_true is True):
            return 0.0
        return self.false_alarm if decision else self.missed


class Residual(metrics.base.RegressionMetric):
    """A statistic of the residuals, outcome minus score, such as `Residual(stats.Mean())` or of a quantile.

    A correction takes back what it replaces where the statistic can: River's mean, variance and sum can, its
    quantiles cannot, and have no value after a correction.

    Examples
    --------
    >>> bias = Residual(stats.Mean())
    >>> for outcome, score in ((10.0, 8.0), (4.0, 5.0)):
    ...     bias.update(outcome, score)
    >>> bias.get()
    0.5
    """

    def __init__(self, stat: stats.base.Univariate) -> None:
        self.stat = stat

    def update(self, y_true: float, y_pred: float) -> None:
        """Count a label."""
        self.stat.update(y_true - y_pred)

    def revert(self, y_true: float, y_pred: float) -> None:
        """Take a label back."""
        taken: Any = self.stat
        taken.revert(y_true - y_pred)

    def get(self) -> float:
        """Return the statistic; NaN while it has none."""
        value = self.stat.get()
        return float("nan") if value is None else float(value)


class IntervalMetric(metrics.base.RegressionMetric):
    """Mean over the intervals that a model served with its numbers, as those of `river.conf` do."""

    def __init__(self) -> None:
        self._mean = stats.Mean()

    @abstractmethod
    def _eval(self, y_true: float, interval: tuple[float, float]) -> float:
        """Return what one interval counts."""

    def update(self, y_true: float, y_pred: Any) -> None:
        """Count a label; `y_pred` is the lower and the upper end."""
        self._mean.update(self._eval(y_true, y_pred))

    def revert(self, y_true: float, y_pred: Any) -> None:
        """Take a label back."""
        self._mean.revert(self._eval(y_true, y_pred))

    def get(self) -> float:
        """Return the mean; NaN of nothing."""
        return float(self._mean.get()) if self._mean.n else float("nan")


class IntervalCoverage(IntervalMetric):
    """Share of outcomes within the interval that was served; both ends belong to it.

    Examples
    --------
    >>> share = IntervalCoverage()
    >>> for outcome in (1.0, 2.0, 9.0, 3.0):
    ...     share.update(outcome, (1.0, 4.0))
    >>> share.get()
    0.75
    """

    @property
    def bigger_is_better(self) -> bool:
        """Whether more is better."""
        return True

    def _eval(self, y_true: float, interval: tuple[float, float]) -> float:
        return float(interval[0] <= y_true <= interval[1])


class IntervalWidth(IntervalMetric):
    """Mean width of the intervals that were served, in the outcome's unit."""

    def _eval(self, y_true: float, interval: tuple[float, float]) -> float:
        return interval[1] - interval[0]
