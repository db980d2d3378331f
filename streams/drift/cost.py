"""What the served answers cost: their loss against the model's own recent level.

A signal that moves says that the world, or the model, is another one. Whether that hurts is a question about the
loss, and this is the answer: a cumulative sum (Page, "Continuous inspection schemes", 1954) of the loss above its
recent level, in standard deviations, less an allowance. It opens when the sum passes a threshold and is over when
the sum is back at 0, so a loss that returns to its level closes it within some dozens of labels.

The level is the median of the means of the last blocks of labels, which a bad stretch moves only when it makes up
half of them. What lasts that long has become the level.

Labels of one event time have no order among themselves: dates, nightly batches. They count together, when
another time comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from schemas.alert import Evidence
from schemas.codec.checks import TaskKind
from schemas.records import Score, Value
from streams.drift.signals import FLOOR

ALLOWED: Final = 0.25
"""Standard deviations by which the mean loss may exceed its level without counting."""
THRESHOLD: Final = 18.0
"""Sum, in standard deviations, above which the loss is worse: 24 labels at one deviation, 72 at half of one."""
MOST: Final = 2.0
"""The sum is cut off at this many thresholds, so that an end is seen soon."""
FAR: Final = 2.5
"""Losses beyond this many deviations above the level count no further: a group that cancels together is one event,
and no worse model."""
BLOCK: Final = 125
"""Labels in a block."""
BLOCKS: Final = 40
"""Blocks of the recent level: 5,000 labels."""
FEWEST: Final = 8
"""Blocks before anything is judged."""
CRITICAL: Final = 2.0
"""A mean loss of this many levels, over `LONG` labels, makes an episode critical."""
LONG: Final = 2 * BLOCK

Severity = Literal["warning", "critical"]


@dataclass(frozen=True, slots=True)
class Cost:
    """The loss is above its level."""

    severity: Severity
    evidence: Evidence


def _binary(score: Score, label: Value) -> float | None:
    p = score.score
    if not isinstance(p, float):
        return None
    likely = p if label is True else 1.0 - p
    return -math.log(min(max(likely, FLOOR), 1 - FLOOR))


def _multiclass(score: Score, label: Value) -> float | None:
    predicted = score.score
    return -math.log(max(predicted.get(str(label), 0.0), FLOOR)) if isinstance(predicted, Mapping) else None


def _regression(score: Score, label: Value) -> float | None:
    predicted = score.score
    if not isinstance(predicted, int | float) or not isinstance(label, int | float):
        return None
    return abs(float(label) - predicted)


LOSSES: Final[Mapping[str, tuple[str, str, Callable[[Score, Value], float | None]]]] = {
    "binary": ("log loss", " nats", _binary),
    "multiclass": ("log loss", " nats", _multiclass),
    "regression": ("absolute error", "", _regression),
}
"""By kind of task: name, unit, the loss. Scores are taken to lie `FLOOR` from 0 and 1, as for the signals."""


class ExcessLoss:
    """Watches the loss of what is served, whichever model and revision serves.

    Parameters
    ----------
    warm_up
        First labels that are not judged; they make the first level.

    Examples
    --------
    >>> import random
    >>> rng = random.Random(1)
    >>> watch = ExcessLoss("binary", 1_000)
    >>> for number in range(4_000):
    ...     sure = 0.8 if rng.random() < (0.8 if not 2_000 <= number < 2_500 else 0.4) else 0.2
    ...     before = watch.cost is not None
    ...     cost = watch.update(Score("m", 1, 0, sure), True, number)
    ...     if (cost is not None) != before:
    ...         print(number, "back" if cost is None else f"{cost.severity}, {cost.evidence.recent:.2f}")
    2021 warning, 1.08
    2655 back
    """

    def __init__(self, kind: TaskKind, warm_up: int) -> None:
        self.name, self.unit, self._loss = LOSSES[kind]
        self.warm_up = warm_up
        self.seen = 0
        self.sum = 0.0
        self.ts = 0
        """Event time of the newest labels that have counted (ms)."""
        self._moment: tuple[int, int, float, float] | None = None
        """Labels of the newest event time: that time (ms), how many, their loss, and as it counts."""
        self._run = (0, 0.0)
        """Labels since the sum left 0, and their loss."""
        self._worse = False
        self._block = (0, 0.0, 0.0, 0.0)
        """Labels, loss and its squares, loss as it counts."""
        self._blocks: list[tuple[float, float, float]] = []
        """Means of the same, the newest last."""
        self._measure()

    @property
    def level(self) -> float:
        """The recent level of the loss; NaN before it is known."""
        return self._level

    @property
    def cost(self) -> Cost | None:
        """What it costs now; None while the loss is at its level."""
        if not self._worse:
            return None
        count, total = self._run
        recent = total / count
        evidence = Evidence(
            f"ExcessLoss({self.name})",
            f"{self.name} above its level, summed",
            total - count * self._level,
            THRESHOLD * self._deviation,
            self._level,
            len(self._blocks) * BLOCK,
            recent,
            count,
        )
        critical = count >= LONG and recent >= CRITICAL * self._level
        return Cost("critical" if critical else "warning", evidence)

    def update(self, score: Score, label: Value, ts: int) -> Cost | None:
        """Take a served score and its label; returns what the labels of earlier event times cost.

        Parameters
        ----------
        ts
            Event time of the label, ms.
        """
        loss = self._loss(score, label)
        if loss is None or not math.isfinite(loss):
            return self.cost
        if self._moment is not None and self._moment[0] != ts:
            self._count(*self._moment)
            self._moment = None
        counted = min(loss, self._far)
        _, count, total, all_counted = self._moment or (ts, 0, 0.0, 0.0)
        self._moment = ts, count + 1, total + loss, all_counted + counted
        self.seen += 1
        count, total, squares, all_counted = self._block
        self._block = count + 1, total + loss, squares + loss * loss, all_counted + counted
        if count + 1 == BLOCK:
            _, total, squares, all_counted = self._block
            self._blocks = [*self._blocks, (total / BLOCK, squares / BLOCK, all_counted / BLOCK)][-BLOCKS:]
            self._block = (0, 0.0, 0.0, 0.0)
            self._measure()
        return self.cost

    def _count(self, ts: int, n: int, loss: float, counted: float) -> None:
        """Let the labels of one event time count."""
        self.ts = ts
        if self.seen <= self.warm_up or len(self._blocks) < FEWEST:
            return
        step = (counted - n * self._centre) / self._deviation - n * ALLOWED
        self.sum = min(max(self.sum + step, 0.0), MOST * THRESHOLD)
        count, total = self._run
        self._run = (count + n, total + loss) if self.sum else (0, 0.0)
        self._worse = self.sum > THRESHOLD or (self._worse and self.sum > 0)

    def _measure(self) -> None:
        """Work the level, the deviation and what counts out of the blocks."""
        self._level, self._far = math.nan, math.inf
        self._centre = self._deviation = math.nan
        if len(self._blocks) < FEWEST:
            return
        place = (len(self._blocks) - 1) // 2
        self._level = sorted(mean for mean, _, _ in self._blocks)[place]
        variance = sorted(squares - mean * mean for mean, squares, _ in self._blocks)[place]
        self._deviation = math.sqrt(max(variance, 1e-6 * self._level * self._level, 1e-12))
        self._centre = sorted(counted for _, _, counted in self._blocks)[place]
        self._far = self._level + FAR * self._deviation

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        # What the open sums count was cut off at the limit of its time, which the blocks give again.
        sums = self.seen, self.sum, self.ts, self._run, self._worse
        return sums, self._moment, self._block, [*self._blocks]

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        sums, self._moment, self._block, blocks = state
        self.seen, self.sum, self.ts, self._run, self._worse = sums
        self._blocks = [*blocks]
        self._measure()
