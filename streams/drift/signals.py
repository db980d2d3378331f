"""The numbers that are watched on the labelled stream, in the order of what they mean.

Each is made of what was served and what turned out to be true, once per resolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any, Final, Protocol

from schemas.alert import Evidence
from schemas.codec.checks import TaskKind
from schemas.records import Score, Value
from streams.drift.detector import Change

FLOOR: Final = 0.01
"""A score is taken to lie this far from 0 and 1: one sure and wrong answer must not outweigh a thousand others."""
FAR: Final = 8.0
"""Standard deviations beyond which a number of a regression counts no further."""
MEMORY: Final = 1_000
"""Resolutions over which the centre of `ExcessLogLoss` is averaged, exponentially."""
PATIENCE: Final = 500
"""Resolutions after which it is asked whether the truth has followed the scores."""
BEYOND: Final = 3.0
"""It has not, where they are apart by more than this many standard errors."""


class Signal(Protocol):
    """Makes a number of a resolution."""

    span: float
    """What a detector takes for a range of 1; see `DirectionalAdwin`."""

    def of(self, score: Score, label: Value) -> float | None:
        """Return the number; None when there is none."""

    def report(self, change: Change | None) -> Change | None:
        """Take the detector's change after the last value; returns the change to report now, if any."""

    def snapshot(self) -> Any:
        """Return the state."""

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""


class _Unfiltered:
    span = 1.0

    def report(self, change: Change | None) -> Change | None:
        """See `Signal.report`."""
        return change


class _Stateless(_Unfiltered):
    def snapshot(self) -> Any:
        """See `Signal.snapshot`."""
        return None

    def restore(self, state: Any) -> None:
        """See `Signal.restore`."""


class Follow:
    """Asks whether the truth follows the scores: holds a change of their mean back until that is known.

    A model that learns moves its scores too: towards the truth. Only a move away from it is for the worse, and
    that leaves scores which are too high or too low, beyond what chance makes, also some while later.
    """

    def __init__(self) -> None:
        self.pending: Change | None = None
        self._n, self._sum, self._squares = 0, 0.0, 0.0

    def hold(self, change: Change) -> None:
        """Hold a change back; one that is held already is forgotten."""
        self.pending = change
        self._n, self._sum, self._squares = 0, 0.0, 0.0

    def add(self, miss: float) -> None:
        """Take what a score was too high by."""
        self._n += 1
        self._sum += miss
        self._squares += miss * miss

    def due(self) -> Change | None:
        """Return the change once it is known that the truth has not followed."""
        if self.pending is None or self._n < PATIENCE:
            return None
        change, self.pending = self.pending, None
        mean = self._sum / self._n
        bias = mean if change.direction == "up" else -mean
        return (
            change if bias > BEYOND * math.sqrt((self._squares / self._n - mean * mean) / self._n) else None
        )

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        pending = None if self.pending is None else astuple(self.pending)
        return pending, self._n, self._sum, self._squares

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        pending, self._n, self._sum, self._squares = state
        self.pending = None if pending is None else Change(pending[0], Evidence(*pending[1]))


class ExcessLogLoss(_Unfiltered):
    """Log loss minus the entropy of the model's own score, less what a moved base rate explains (binary).

    A calibrated model has a mean of 0, however hard its requests are. With y the label, p the score and
    L = ln((1 - p) / p) it is (y - p) L. If only the base rate moves, all log-odds move alike, which adds about
    p (1 - p) L per event: so the mean of L under the weight p (1 - p) is taken from L first. What is left is the
    part of the loss that comes from ranking and spreading wrongly: the concept. (It is the score statistic of the
    slope in Cox's calibration, "Two Further Applications of a Model for Binary Regression", 1958, with the
    intercept projected out.)

    Its unit is the nat. Few values are larger than one nat, so that is the detector's span: measured, it keeps
    the rate of false alarms that `streams.drift.budget` promises, also at 3 % positives.
    """

    span = 1.0

    def __init__(self) -> None:
        self._weighted = 0.0
        self._weight = 0.0

    def of(self, score: Score, label: Value) -> float | None:
        """See `Signal.of`."""
        p = score.score
        if not isinstance(p, float):
            return None
        if not FLOOR <= p <= 1 - FLOOR:
            p = FLOOR if p < FLOOR else 1 - FLOOR
        against = math.log((1 - p) / p)
        weight = p * (1 - p)
        centre = self._weighted / self._weight if self._weight else 0.0
        self._weighted += (weight * against - self._weighted) / MEMORY
        self._weight += (weight - self._weight) / MEMORY
        return ((label is True) - p) * (against - centre)

    def snapshot(self) -> Any:
        """See `Signal.snapshot`."""
        return self._weighted, self._weight

    def restore(self, state: Any) -> None:
        """See `Signal.restore`."""
        self._weighted, self._weight = state


class ExcessCrossEntropy(_Stateless):
    """Log loss minus the entropy of the model's own probabilities, in nats (multiclass)."""

    span = 2.0

    def of(self, score: Score, label: Value) -> float | None:
        """See `Signal.of`."""
        if not isinstance(score.score, Mapping):
            return None
        probabilities = {name: min(max(p, FLOOR), 1 - FLOOR) for name, p in score.score.items()}
        entropy = -sum(p * math.log(p) for p in probabilities.values())
        return -math.log(probabilities.get(str(label), FLOOR)) - entropy


class Error(_Stateless):
    """1 where the decision was wrong, else 0 (binary, multiclass)."""

    def of(self, score: Score, label: Value) -> float | None:
        """See `Signal.of`."""
        return None if score.label is None else float(score.label != label)


class LabelMean(_Stateless):
    """1 for true, else 0 (binary)."""

    def of(self, score: Score, label: Value) -> float | None:
        """See `Signal.of`."""
        return float(label is True)


class ScoreMean:
    """The score; of several classes the largest probability. Its mean is to move with the truth; see `Follow`."""

    span = 1.0

    def __init__(self) -> None:
        self._follow = Follow()

    def of(self, score: Score, label: Value) -> float | None:
        """See `Signal.of`."""
        predicted, binary = score.score, True
        if not isinstance(predicted, float) and isinstance(predicted, Mapping):
            predicted, binary = max(predicted.values(), default=None), False
        if predicted is not None and self._follow.pending:
            self._follow.add(predicted - (label is True if binary else score.label == label))
        return predicted

    def report(self, change: Change | None) -> Change | None:
        """See `Signal.report`."""
        if change is not None:
            self._follow.hold(change)
        return self._follow.due()

    def snapshot(self) -> Any:
        """See `Signal.snapshot`."""
        return self._follow.snapshot()

    def restore(self, state: Any) -> None:
        """See `Signal.restore`."""
        self._follow.restore(state)


class Scaled:
    """A number without a range of its own (regression), in standard deviations of its first values.

    Parameters
    ----------
    what
        `error`, `label` or `score`: the absolute error, the outcome, the score.
    first
        How many values the mean and the deviation are taken from; there is no number before.
    """

    span = 4.0

    def __init__(self, what: str, first: int = 500) -> None:
        self.what, self.first = what, first
        self._n, self._mean, self._squares = 0, 0.0, 0.0
        self._follow = Follow()

    def of(self, score: Score, label: Value) -> float | None:
        """See `Signal.of`."""
        predicted = score.score
        if not isinstance(predicted, float | int) or not isinstance(label, float | int):
            return None
        if self._follow.pending:
            self._follow.add(predicted - label)
        value = (
            abs(label - predicted)
            if self.what == "error"
            else float(label if self.what == "label" else predicted)
        )
        if self._n < self.first:  # Welford 1962
            self._n += 1
            step = value - self._mean
            self._mean += step / self._n
            self._squares += step * (value - self._mean)
            return None
        z = (value - self._mean) / (math.sqrt(self._squares / self._n) or 1.0)
        return min(max(z, -FAR), FAR)

    def report(self, change: Change | None) -> Change | None:
        """See `Signal.report`."""
        if self.what != "score":
            return change
        if change is not None:
            self._follow.hold(change)
        return self._follow.due()

    def snapshot(self) -> Any:
        """See `Signal.snapshot`."""
        return (self._n, self._mean, self._squares), self._follow.snapshot()

    def restore(self, state: Any) -> None:
        """See `Signal.restore`."""
        (self._n, self._mean, self._squares), followed = state
        self._follow.restore(followed)


def signal(name: str, kind: TaskKind) -> Signal | None:
    """Make a signal by its name; None when a task of this kind does not have it.

    Examples
    --------
    >>> [name for name in NAMES if signal(name, "multiclass")]
    ['excess_log_loss', 'error', 'score_mean']
    """
    if kind == "regression":
        what = {"error": "error", "label_mean": "label", "score_mean": "score"}.get(name)
        return Scaled(what) if what else None
    if name == "excess_log_loss":
        return ExcessLogLoss() if kind == "binary" else ExcessCrossEntropy()
    if name == "label_mean":
        return LabelMean() if kind == "binary" else None
    return Error() if name == "error" else ScoreMean()


NAMES: Final = ("excess_log_loss", "error", "label_mean", "score_mean")
"""The most telling first."""
