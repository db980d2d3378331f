"""Classification into true and false: what a slice of the stream adds up to, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce
from operator import add
from typing import Any, Final

from schemas.records import Score
from streams.metrics.bins import Counts, auc, bin_of, classes, recalibration
from streams.metrics.exact import ONE, mean, ratio
from streams.metrics.packed import Fields

GROUPS: Final = 10
"""Groups of the calibration table, of equal width over the score."""
EPS: Final = 1e-15
"""Log loss takes a probability of 0 or 1 for this far from it, as River does."""
FIELDS: Final = Fields(48, 48, 48, 48, 128, 128, 128)
"""Per group: true and false negatives and positives (tn, fp, fn, tp), log loss, Brier, scores (2^-64)."""
_LOSS, _BRIER, _SCORE = FIELDS.shifts[4:]
_CELLS: Final = tuple(1 << shift for shift in FIELDS.shifts[:4])
_ONE: Final = float(ONE)

Seen = tuple[int, int, int]
"""One scored label: its group, its packed fields, the key of its bin."""


def observe(score: Score, label: Any) -> Seen | None:
    """Return what one label adds to every slice; None when the score is no probability."""
    p = score.score
    if not isinstance(p, float) or not 0.0 <= p <= 1.0:
        return None
    positive = label is True
    miss = 1.0 - p if positive else p
    likely = p if positive else 1.0 - p
    if likely < EPS:
        likely = EPS
    elif likely > 1.0 - EPS:
        likely = 1.0 - EPS
    packed = (
        _CELLS[2 * positive + (score.label is True)]
        + (int(-math.log(likely) * _ONE) << _LOSS)
        + (int(miss * miss * _ONE) << _BRIER)
        + (int(p * _ONE) << _SCORE)
    )
    return (int(p * GROUPS) if p < 1.0 else GROUPS - 1), packed, 2 * bin_of(p) + positive


class BinaryTally:
    """The sums over a slice; all whole numbers, so that a correction leaves no trace and merging is exact."""

    __slots__ = ("counts", "sums")

    def __init__(self) -> None:
        self.sums = [0] * GROUPS
        """Per group of the calibration table: the fields of `FIELDS`."""
        self.counts: Counts = {}

    @property
    def n(self) -> int:
        """Scored labels."""
        return sum(self._fields()[:4])

    def add(self, seen: Seen) -> None:
        """Add an observation."""
        group, packed, key = seen
        self.sums[group] += packed
        counts = self.counts
        now = counts.get(key, 0) + 1
        if now:
            counts[key] = now
        else:
            del counts[key]

    def take(self, seen: Seen) -> None:
        """Take an observation back."""
        group, packed, key = seen
        self.sums[group] -= packed
        left = self.counts.get(key, 0) - 1
        if left:
            self.counts[key] = left
        else:
            self.counts.pop(key, None)

    def merge(self, other: BinaryTally, by: int = 1) -> None:
        """Add another slice, or with -1 take one out that is part of this one."""
        self.sums = [a + by * b for a, b in zip(self.sums, other.sums, strict=True)]
        for key, count in other.counts.items():
            now = self.counts.get(key, 0) + by * count
            if now:
                self.counts[key] = now
            else:
                self.counts.pop(key, None)

    def _fields(self) -> list[int]:
        return FIELDS.unpack(reduce(add, self.sums))

    def groups(self) -> list[tuple[int, int, int]]:
        """Return labels, positives and the sum of scores (2^-64) of each group."""
        rows = []
        for packed in self.sums:
            tn, fp, fn, tp, _, _, scores = FIELDS.unpack(packed)
            rows.append((tn + fp + fn + tp, fn + tp, scores))
        return rows

    def values(self, *, whole: bool = True) -> Iterator[tuple[str, float]]:
        """Return the metrics by name; without `whole` those that cost little."""
        tn, fp, fn, tp, loss, brier, scores = self._fields()
        n = tn + fp + fn + tp
        precision, recall = ratio(tp, tp + fp), ratio(tp, tp + fn)
        yield "accuracy", ratio(tn + tp, n)
        yield "precision", precision
        yield "recall", recall
        yield "f1", _f1(precision, recall)
        yield "log_loss", mean(loss, n)
        yield "brier", mean(brier, n)
        yield "base_rate", ratio(tp + fn, n)
        yield "mean_score", mean(scores, n)
        if whole:
            negatives, positives = classes(self.counts)
            slope, intercept = recalibration(negatives, positives)
            yield "roc_auc", auc(negatives, positives)
            yield "ece", mean(sum(abs(p - y * ONE) for _, y, p in self.groups()), n)
            yield "calibration_slope", slope
            yield "calibration_intercept", intercept

    def table(self) -> list[dict[str, float]]:
        """Return the calibration table: per group of scores its bounds, count, mean score and base rate."""
        return [
            {
                "from": number / GROUPS,
                "to": (number + 1) / GROUPS,
                "count": n,
                "mean_score": mean(p, n),
                "base_rate": ratio(y, n),
            }
            for number, (n, y, p) in enumerate(self.groups())
            if n
        ]

    def snapshot(self) -> Any:
        """Return the sums as plain values."""
        return (self.sums.copy(), dict(sorted(self.counts.items())))

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        sums, counts = state
        self.sums, self.counts = list(sums), dict(counts)


def _f1(precision: float, recall: float) -> float:
    """Return the harmonic mean in River's order of operations, for its last digit; 0 without right positives."""
    if math.isnan(precision) or math.isnan(recall) or not precision + recall:
        return 0.0
    return 2.0 * precision * recall / (precision + recall)
