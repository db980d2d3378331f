"""Classification into several classes: what a slice of the stream adds up to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from river import metrics

from schemas.records import Score
from streams.metrics.binary import EPS
from streams.metrics.counts import add, merge, ratio

Seen = tuple[tuple[str, str], float]
"""One scored label: its cell of class and decision, log loss."""


def loss_of(label: Any, probabilities: Mapping[Any, float]) -> float:
    """Return the log loss of one answer; a class that the model does not know has the probability 0.

    Examples
    --------
    >>> round(loss_of("b", {"a": 1.0}), 2)
    34.54
    """
    return -math.log(min(max(probabilities.get(label, 0.0), EPS), 1.0 - EPS))


class ClassLogLoss(metrics.base.MeanMetric, metrics.base.MultiClassMetric):
    """Mean log loss for River's evaluator, as everywhere else in riverloop.

    River's own `CrossEntropy` takes an unknown class for a perfect answer.
    """

    _fmt = ""

    @property
    def bigger_is_better(self) -> bool:
        """Whether more is better."""
        return False

    @property
    def requires_labels(self) -> bool:
        """Whether it takes decisions and not probabilities."""
        return False

    def _eval(self, y_true: Any, y_pred: Mapping[Any, float]) -> float:
        return loss_of(y_true, y_pred)


def observe(score: Score, label: Any) -> Seen | None:
    """Return what one label adds to every slice; None when the score is no distribution."""
    if not isinstance(score.score, Mapping) or score.label is None:
        return None
    p = score.score.get(str(label), 0.0)
    if not 0.0 <= p <= 1.0:
        return None
    return (str(label), str(score.label)), loss_of(str(label), score.score)


class MulticlassTally:
    """The sums over a slice: the confusion of classes, and log loss."""

    __slots__ = ("cells", "loss")

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], int] = {}
        self.loss = 0.0

    @property
    def n(self) -> int:
        """Scored labels."""
        return sum(self.cells.values())

    def add(self, seen: Seen, by: int = 1) -> None:
        """Add an observation, or with -1 take it back."""
        cell, loss = seen
        add(self.cells, cell, by)
        self.loss += by * loss

    def merge(self, other: MulticlassTally, by: int = 1) -> None:
        """Add another slice, or with -1 take one out that is part of this one."""
        merge(self.cells, other.cells, by)
        self.loss += by * other.loss

    def values(self, *, whole: bool = True) -> Iterator[tuple[str, float]]:
        """Return the metrics by name; precision, recall and F1 are means over the classes seen."""
        n = self.n
        right: dict[str, int] = {}
        true: dict[str, int] = {}
        said: dict[str, int] = {}
        for (label, decision), count in self.cells.items():
            true[label] = true.get(label, 0) + count
            said[decision] = said.get(decision, 0) + count
            if label == decision:
                right[label] = count
        names = sorted(true.keys() | said.keys())
        yield "accuracy", ratio(sum(right.values()), n)
        yield "log_loss", ratio(self.loss, n)
        if whole:
            precision = [right.get(each, 0) / said[each] if each in said else 0.0 for each in names]
            recall = [right.get(each, 0) / true[each] if each in true else 0.0 for each in names]
            f1 = [2 * right.get(each, 0) / (said.get(each, 0) + true.get(each, 0)) for each in names]
            for name, many in (("precision", precision), ("recall", recall), ("f1", f1)):
                yield name, math.fsum(many) / len(many) if many else math.nan

    def confusion(self) -> dict[tuple[str, str], int]:
        """Return the labels by outcome and decision."""
        return self.cells

    def table(self) -> list[dict[str, float]]:
        """Return no calibration table: that of several classes is not kept."""
        return []

    def snapshot(self) -> Any:
        """Return the sums as plain values."""
        return ([[*cell, count] for cell, count in sorted(self.cells.items())], self.loss)

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        rows, self.loss = state
        self.cells = {(label, decision): count for label, decision, count in rows}
