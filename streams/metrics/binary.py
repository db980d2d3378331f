"""Classification into true and false: what a slice of the stream adds up to, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from schemas.records import Score
from streams.metrics.bins import Counts, auc, bin_of, classes, recalibration
from streams.metrics.exact import ONE, exact, mean, ratio

GROUPS: Final = 10
"""Groups of the calibration table, of equal width over the score."""
LOSS, BRIER, SCORES, TABLE = 4, 5, 6, 7
EPS: Final = 1e-15
"""Log loss takes a probability of 0 or 1 for this far from it, as River does."""

Seen = tuple[int, int, int, int, int, int]
"""One scored label: confusion cell, log loss, squared error, score (2^-64), key of its bin, group."""


def observe(score: Score, label: Any) -> Seen | None:
    """Give what one label adds to every slice; None when the score is no probability."""
    p = score.score
    if not isinstance(p, float) or not 0.0 <= p <= 1.0:
        return None
    y = label is True
    likely = min(max(p if y else 1.0 - p, EPS), 1.0 - EPS)
    miss = 1.0 - p if y else p
    return (
        2 * y + (score.label is True),
        exact(-math.log(likely)),
        exact(miss * miss),
        exact(p),
        2 * bin_of(p) + y,
        min(int(p * GROUPS), GROUPS - 1),
    )


class BinaryTally:
    """The sums over a slice; all whole numbers, so that a correction leaves no trace and merging is exact."""

    __slots__ = ("counts", "sums")

    def __init__(self) -> None:
        self.sums = [0] * (TABLE + 3 * GROUPS)
        """Confusion cells (2 * label + decision), log loss, Brier, scores; then per group n, positives, scores."""
        self.counts: Counts = {}

    @property
    def n(self) -> int:
        """Scored labels."""
        return sum(self.sums[:4])

    def add(self, seen: Seen, by: int = 1) -> None:
        """Add an observation, or with -1 take it back."""
        cell, loss, brier, p, key, group = seen
        sums = self.sums
        at = TABLE + 3 * group
        if by > 0:
            sums[cell] += 1
            sums[LOSS] += loss
            sums[BRIER] += brier
            sums[SCORES] += p
            sums[at] += 1
            sums[at + 1] += key & 1
            sums[at + 2] += p
            self.counts[key] = self.counts.get(key, 0) + 1
            return
        sums[cell] -= 1
        sums[LOSS] -= loss
        sums[BRIER] -= brier
        sums[SCORES] -= p
        sums[at] -= 1
        sums[at + 1] -= key & 1
        sums[at + 2] -= p
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

    def values(self, *, whole: bool = True) -> Iterator[tuple[str, float]]:
        """Give the metrics by name; without `whole` those that cost little."""
        tn, fp, fn, tp = self.sums[:4]
        n = tn + fp + fn + tp
        yield "accuracy", ratio(tn + tp, n)
        yield "precision", ratio(tp, tp + fp)
        yield "recall", ratio(tp, tp + fn)
        yield "f1", ratio(2 * tp, 2 * tp + fp + fn)
        yield "log_loss", mean(self.sums[LOSS], n)
        yield "brier", mean(self.sums[BRIER], n)
        yield "base_rate", ratio(tp + fn, n)
        yield "mean_score", mean(self.sums[SCORES], n)
        if whole:
            negatives, positives = classes(self.counts)
            slope, intercept = recalibration(negatives, positives)
            yield "roc_auc", auc(negatives, positives)
            yield "ece", self._ece()
            yield "calibration_slope", slope
            yield "calibration_intercept", intercept

    def _ece(self) -> float:
        off = sum(abs(self.sums[at + 2] - self.sums[at + 1] * ONE) for at in self._groups())
        return mean(off, self.n)

    def _groups(self) -> range:
        return range(TABLE, TABLE + 3 * GROUPS, 3)

    def table(self) -> list[dict[str, float]]:
        """Give the calibration table: per group of scores its bounds, count, mean score and base rate."""
        return [
            {
                "from": number / GROUPS,
                "to": (number + 1) / GROUPS,
                "count": self.sums[at],
                "mean_score": mean(self.sums[at + 2], self.sums[at]),
                "base_rate": ratio(self.sums[at + 1], self.sums[at]),
            }
            for number, at in enumerate(self._groups())
            if self.sums[at]
        ]

    def snapshot(self) -> Any:
        """Give the sums as plain values."""
        return (self.sums.copy(), dict(sorted(self.counts.items())))

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        sums, counts = state
        self.sums, self.counts = list(sums), dict(counts)
