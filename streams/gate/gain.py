"""The gain of a challenger on one request: the loss of the model that answers less its own, in [-1, 1].

Losses are bounded: Brier loss is (binary: (p - y)^2; several classes: half the sum of the squares), log loss and
absolute error are clipped and divided by their bound. A model without an answer has the loss 1, so leaving hard
requests out wins nothing. Of a request without a label only bounds of the gain are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.records import ScoreValue, Value

ELSE: Final = "\0"
"""A class that no model has named."""


def _brier(p: Any, label: Any) -> float:
    if label is True or label is False:
        error = float(p - label)
        return error * error
    squares, likely = math.fsum(each * each for each in p.values()), float(p.get(label, 0.0))
    return min(1.0, max(0.0, (squares + 1.0 - 2.0 * likely) / 2.0))


def _likelihood(p: Any, label: Any) -> float:
    if label is True or label is False:
        return float(p if label else 1.0 - p)
    return float(p.get(label, 0.0))


@dataclass(frozen=True, slots=True)
class Gain:
    """Computes gains under one loss.

    Parameters
    ----------
    loss
        `brier`, `log_loss` or `absolute_error`.
    clip
        Log loss: the probability below which the loss no longer rises.
    bounds
        Absolute error: the range of outcomes and predictions; the error is divided by its width.
    """

    loss: str
    clip: float = 0.01
    bounds: tuple[float, float] = (0.0, 1.0)

    def loss_of(self, score: ScoreValue, label: Value) -> float:
        """Return the loss, in [0, 1]; 1 without an answer."""
        if score is None:
            return 1.0
        if self.loss == "brier":
            found = _brier(score, label)
        elif self.loss == "log_loss":
            likely = max(_likelihood(score, label), self.clip)
            found = math.log(likely) / math.log(self.clip)
        else:
            low, high = self.bounds
            error = min(max(float(score), low), high) - min(max(float(label), low), high)  # type: ignore[arg-type]  # a regression's
            found = abs(error) / (high - low)
        return found if 0.0 <= found <= 1.0 else 1.0

    def function(self, kind: str) -> Callable[[Any, Any, Any], float]:
        """Return the gain of (score that answers, other score, label); the usual one written out, for speed."""
        if self.loss == "brier" and kind == "binary":
            return _binary_brier_gain
        loss = self.loss_of
        return lambda ours, other, label: loss(ours, label) - loss(other, label)

    def range_of(self, ours: ScoreValue, other: ScoreValue) -> tuple[float, float]:
        """Return the smallest and the largest gain that a request without a label may have."""
        gains = [self.loss_of(ours, each) - self.loss_of(other, each) for each in self.labels(ours, other)]
        return min(gains), max(gains)

    def labels(self, *scores: ScoreValue) -> list[Any]:
        """Return the labels that a request may have, as far as they tell these scores apart."""
        if self.loss == "absolute_error":
            return [
                *self.bounds,
                *(each for each in scores if each is not None),
            ]  # a gain turns at the scores only
        classes = {name for each in scores if isinstance(each, Mapping) for name in each}
        return [*sorted(classes), ELSE] if classes else [False, True]


def _binary_brier_gain(ours: Any, other: Any, label: Any) -> float:
    a = 1.0 if ours is None else ours - label
    b = 1.0 if other is None else other - label
    return float(a * a - b * b)
