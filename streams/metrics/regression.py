"""Numbers: what a slice of the stream adds up to, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from schemas.records import Score
from streams.metrics.exact import ONE, exact, mean

QUANTILES: Final = (0.1, 0.9)
"""Quantile loss (Koenker and Bassett 1978) is shown for these: too high and too low weigh differently."""

Seen = tuple[int, int, int, int, int, int]
"""One scored label in 2^-64: |error|, error², outcome, outcome², quantile losses at 0.1 and 0.9."""


def observe(score: Score, label: Any) -> Seen | None:
    """Return what one label adds to every slice; None when score or label is no finite number."""
    if not isinstance(score.score, int | float) or not isinstance(label, int | float):
        return None
    error = float(label) - score.score
    if not math.isfinite(error):
        return None
    low, high = (max(q * error, (q - 1) * error) for q in QUANTILES)
    y = float(label)
    return exact(abs(error)), exact(error * error), exact(y), exact(y * y), exact(low), exact(high)


class RegressionTally:
    """The sums over a slice."""

    __slots__ = ("n", "sums")

    def __init__(self) -> None:
        self.n = 0
        self.sums = [0] * 6

    def add(self, seen: Seen, by: int = 1) -> None:
        """Add an observation, or with -1 take it back."""
        self.n += by
        self.sums = [total + by * each for total, each in zip(self.sums, seen, strict=True)]

    def merge(self, other: RegressionTally, by: int = 1) -> None:
        """Add another slice, or with -1 take one out that is part of this one."""
        self.n += by * other.n
        self.sums = [total + by * each for total, each in zip(self.sums, other.sums, strict=True)]

    def values(self, *, whole: bool = True) -> Iterator[tuple[str, float]]:
        """Return the metrics by name."""
        n = self.n
        wrong, squared, y, y_squared, low, high = self.sums
        yield "mae", mean(wrong, n)
        yield "rmse", math.sqrt(mean(squared, n)) if n else math.nan
        # n * variance, exact until the division: no cancellation for outcomes far from 0.
        spread = n * y_squared * ONE - y * y
        yield "r2", 1.0 - n * squared * ONE / spread if n > 1 and spread > 0 else math.nan
        yield "mean_outcome", mean(y, n)
        if whole:
            yield "quantile_loss_10", mean(low, n)
            yield "quantile_loss_90", mean(high, n)

    def confusion(self) -> dict[tuple[str, str], int]:
        """Return no confusion: a number has no classes."""
        return {}

    def table(self) -> list[dict[str, float]]:
        """Return no calibration table: a number has none."""
        return []

    def snapshot(self) -> Any:
        """Return the sums as plain values."""
        return (self.n, self.sums.copy())

    def restore(self, state: Any) -> None:
        """Take over what `snapshot` gave."""
        self.n, sums = state
        self.sums = list(sums)
