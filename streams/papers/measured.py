"""Metrics of some scores of a revision; means have the confidence sequence by which shadows are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from schemas.records import Prediction, Score, Value
from streams.metrics.exact import ONE, exact
from streams.metrics.kinds import OBSERVE, TALLIES
from streams.metrics.registry import UNITS
from streams.metrics.scope import level_of
from streams.metrics.shadow_comparison import LEAST, interval
from streams.metrics.slices import Levels
from streams.task import Task

UNBOUNDED: Final = frozenset({"mean_outcome"})
"""Means that may be below 0."""


class MeasuredMetric(NamedTuple):
    """A metric's value."""

    name: str
    value: float
    low: float | None
    """Lower end of its anytime-valid 95 % interval; None: there is none."""
    high: float | None
    labels: int
    """Labels that it rests on."""
    unit: str

    def __str__(self) -> str:
        ends = "" if self.low is None or self.high is None else f" [{self.low:.4f}, {self.high:.4f}]"
        return f"{self.value:.4f}{ends}"


def _binary(seen: Any) -> Iterator[tuple[str, float]]:
    positive, decided = bool(seen.key & 1), bool(seen.cell & 1)
    yield "accuracy", float(positive == decided)
    yield "log_loss", seen.loss
    yield "brier", seen.brier
    yield "base_rate", float(positive)
    yield "mean_score", seen.p
    if decided:
        yield "precision", float(positive)
    if positive:
        yield "recall", float(decided)


def _multiclass(seen: Any) -> Iterator[tuple[str, float]]:
    (label, decision), loss = seen
    yield "accuracy", float(label == decision)
    yield "log_loss", loss


def _regression(seen: Any) -> Iterator[tuple[str, float]]:
    wrong, _, outcome, _, low, high = (each / ONE for each in seen)
    yield "mae", wrong
    yield "mean_outcome", outcome
    yield "quantile_loss_10", low
    yield "quantile_loss_90", high


NUMBERS: Final = {"binary": _binary, "multiclass": _multiclass, "regression": _regression}
"""By kind of task: the metrics that are means, and what a label adds to each."""


class Slice:
    """Sums of some scored labels: those of the kind's metrics, and those of the intervals."""

    def __init__(self, kind: str) -> None:
        self._kind, self.tally = kind, TALLIES[kind]()
        self._sums: dict[str, tuple[int, int, int]] = {}
        """By metric: labels, sum and sum of squares, in units of 2^-64."""

    @property
    def n(self) -> int:
        """Scored labels."""
        return int(self.tally.n)

    def add(self, seen: Any, by: int = 1) -> None:
        """Add an observation, or with -1 take it back."""
        self.tally.add(seen, by)
        for name, number in NUMBERS[self._kind](seen):
            n, total, squares = self._sums.get(name, (0, 0, 0))
            self._sums[name] = n + by, total + by * exact(number), squares + by * exact(number * number)

    def merge(self, other: Slice, by: int = 1) -> None:
        """Add another slice, or with -1 take out a part."""
        self.tally.merge(other.tally, by)
        for name, sums in other._sums.items():
            mine = self._sums.get(name, (0, 0, 0))
            n, total, squares = (a + by * b for a, b in zip(mine, sums, strict=True))
            self._sums[name] = n, total, squares

    def metrics(self) -> list[MeasuredMetric]:
        """Return the metrics that have a value."""
        return [
            MeasuredMetric(name, value, low, high, self.n, UNITS[name])
            for name, value in self.tally.values()
            if math.isfinite(value)
            for low, high in [self._interval(name)]
        ]

    def _interval(self, name: str) -> tuple[float, float] | tuple[None, None]:
        sums = self._sums.get(name)
        if sums is None or sums[0] < LEAST:
            return None, None
        _, low, high = interval(*sums)
        least = -math.inf if name in UNBOUNDED else 0.0
        most = 1.0 if UNITS[name] == "ratio" else math.inf
        return max(low, least), min(high, most)


class MeasuredScores:
    """The labels of some of a model's scores, whole and by segment; a correction takes back what it replaces."""

    def __init__(self, task: Task) -> None:
        self._task, self._observe = task, OBSERVE[task.kind]
        self.whole = Slice(task.kind)
        self.levels = {
            feature: Levels(lambda: Slice(task.kind), task.metrics.levels)
            for feature in task.metrics.segments
        }

    def add(self, score: Score, prediction: Prediction, value: Value, replaces: Value) -> None:
        """Count a label, or a correction of one."""
        slices = [self.whole]
        for name, levels in self.levels.items():
            slices.append(levels.at(level_of(prediction.features, self._task.features.by_name[name])))
        for label, by in ((replaces, -1), (value, 1)):
            seen = None if label is None else self._observe(score, label)
            if seen is not None:
                for each in slices:
                    each.add(seen, by)

    def segments(self) -> Mapping[str, Slice]:
        """Return the segments that are shown, as `feature=level`."""
        rules = self._task.metrics
        return {
            f"{feature}={level}": each
            for feature, levels in self.levels.items()
            for level, each in levels.shown(rules.top, rules.least)
            if each.n
        }
