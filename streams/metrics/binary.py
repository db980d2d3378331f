"""Classification into true and false: what a slice of the stream adds up to, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from schemas.records import Score
from streams.metrics.bins import Counts, auc, average_precision, bin_of, classes, recalibration
from streams.metrics.counts import add, merge, ratio
from streams.metrics.per_class import f1_of

GROUPS: Final = 10
"""Groups of the calibration table, of equal width over the score."""
EPS: Final = 1e-15
"""Log loss takes a probability of 0 or 1 for this far from it, as River does."""


class Seen(NamedTuple):
    """One scored label."""

    group: int
    """Of the calibration table."""
    cell: int
    """Of the confusion matrix: twice the label plus the decision."""
    key: int
    """Of its bin and class, see `Counts`."""
    p: float
    loss: float
    """Log loss."""
    brier: float


def observe(score: Score, label: Any) -> Seen | None:
    """Return what one label adds to every slice; None when the score is no probability."""
    p = score.score
    if not isinstance(p, float) or not 0.0 <= p <= 1.0:
        return None
    positive = label is True
    likely, miss = (p, 1.0 - p) if positive else (1.0 - p, p)
    return Seen(
        int(p * GROUPS) if p < 1.0 else GROUPS - 1,
        2 * positive + (score.label is True),
        2 * bin_of(p) + positive,
        p,
        -math.log(min(max(likely, EPS), 1.0 - EPS)),
        miss * miss,
    )


class BinaryTally:
    """The sums over a slice."""

    __slots__ = ("brier", "cells", "counts", "labels", "loss", "positives", "scores")

    def __init__(self) -> None:
        self.cells = [0] * 4
        """True negatives, false positives, false negatives, true positives."""
        self.labels, self.positives, self.scores = [0] * GROUPS, [0] * GROUPS, [0.0] * GROUPS
        """Per group of the calibration table: labels, true ones, and the sum of the scores."""
        self.loss = self.brier = 0.0
        self.counts: Counts = {}

    @property
    def n(self) -> int:
        """Scored labels."""
        return sum(self.cells)

    def add(self, seen: Seen, by: int = 1) -> None:
        """Add an observation, or with -1 take it back."""
        group, cell, key, p, loss, brier = seen
        self.cells[cell] += by
        self.labels[group] += by
        self.positives[group] += by * (key & 1)
        self.scores[group] += by * p
        self.loss += by * loss
        self.brier += by * brier
        add(self.counts, key, by)

    def merge(self, other: BinaryTally, by: int = 1) -> None:
        """Add another slice, or with -1 take one out that is part of this one."""
        for mine, others in (
            (self.cells, other.cells),
            (self.labels, other.labels),
            (self.positives, other.positives),
        ):
            mine[:] = [a + by * b for a, b in zip(mine, others, strict=True)]
        self.scores = [a + by * b for a, b in zip(self.scores, other.scores, strict=True)]
        self.loss += by * other.loss
        self.brier += by * other.brier
        merge(self.counts, other.counts, by)

    def groups(self) -> Iterator[tuple[int, int, float]]:
        """Yield labels, true ones and the sum of scores of each group."""
        return zip(self.labels, self.positives, self.scores, strict=True)

    def values(self, *, whole: bool = True) -> Iterator[tuple[str, float]]:
        """Return the metrics by name; without `whole` those that cost little."""
        tn, fp, fn, tp = self.cells
        n = tn + fp + fn + tp
        precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
        yield "accuracy", ratio(tn + tp, n)
        yield "precision", precision
        yield "recall", recall
        yield "f1", f1_of(precision, recall)
        yield "log_loss", ratio(self.loss, n)
        yield "brier", ratio(self.brier, n)
        yield "base_rate", ratio(tp + fn, n)
        yield "mean_score", ratio(sum(self.scores), n)
        if whole:
            negatives, positives = classes(self.counts)
            slope, intercept = recalibration(negatives, positives)
            yield "roc_auc", auc(negatives, positives)
            yield "pr_auc", average_precision(negatives, positives)
            yield "ece", ratio(sum(abs(p - y) for _, y, p in self.groups()), n)
            yield "calibration_slope", slope
            yield "calibration_intercept", intercept

    def confusion(self) -> dict[tuple[str, str], int]:
        """Return the labels by outcome and decision."""
        places = (("false", "false"), ("false", "true"), ("true", "false"), ("true", "true"))
        return {place: count for place, count in zip(places, self.cells, strict=True) if count}

    def table(self) -> list[dict[str, float]]:
        """Return the calibration table: per group of scores its bounds, count, mean score and base rate."""
        return [
            {
                "from": number / GROUPS,
                "to": (number + 1) / GROUPS,
                "count": n,
                "mean_score": ratio(p, n),
                "base_rate": ratio(y, n),
            }
            for number, (n, y, p) in enumerate(self.groups())
            if n
        ]

    def snapshot(self) -> Any:
        """Return the sums as plain values."""
        groups = [*self.labels], [*self.positives], [*self.scores]
        return ([*self.cells], *groups, self.loss, self.brier, dict(sorted(self.counts.items())))

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        cells, labels, positives, scores, self.loss, self.brier, counts = state
        self.cells, self.counts = [*cells], dict(counts)
        self.labels, self.positives, self.scores = [*labels], [*positives], [*scores]
