"""Champion against shadow: how much lower the loss of the one would have been, on the same requests.

Both scored each request before its outcome was known, so the difference of their losses is free of what makes a
request easy or hard, and few labels tell. Its interval may be looked at as often as one likes: it is an
asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory
and asymptotic confidence sequences", 2024, theorem 2.2), whose promise holds at all times together. An ordinary
interval, looked at until it excludes 0, does so sooner or later for two equal models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from schemas.records import Entry, Prediction, Score, Value
from streams.fold import BaseMonitor, Measurement
from streams.metrics import binary, multiclass
from streams.metrics.exact import exact, mean
from streams.policies import label_of
from streams.task import Task

ALPHA: Final = 0.05
"""Chance that the interval ever leaves out the true mean."""
TIGHT: Final = 1_000
"""Labels at which the interval is at its tightest, compared with others of its kind."""
RHO: Final = math.sqrt((-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / TIGHT)
LEAST: Final = 100
"""Labels below which nothing is said: the interval rests on a mean of many."""
ENDS: Final = ("", "_low", "_high")
AGAINST: Final = "against="
"""Begins the segment, which names the revision that was served."""
MOST: Final = 16
"""Pairs of revisions that are followed; the one whose newest request is the oldest is dropped."""


def _log_loss(score: Score, label: Value) -> float | None:
    p = score.score
    if not isinstance(p, float) or not 0.0 <= p <= 1.0:
        return None
    likely = p if label is True else 1.0 - p
    return -math.log(min(max(likely, binary.EPS), 1.0 - binary.EPS))


def _cross_entropy(score: Score, label: Value) -> float | None:
    seen = multiclass.observe(score, label)
    return None if seen is None else seen[1]


def _absolute_error(score: Score, label: Value) -> float | None:
    predicted = score.score
    if not isinstance(predicted, int | float) or not isinstance(label, int | float):
        return None
    error = abs(float(label) - predicted)
    return error if math.isfinite(error) else None


LOSSES: Final[Mapping[str, tuple[str, str, Callable[[Score, Value], float | None]]]] = {
    "binary": ("log_loss_gain", "nats", _log_loss),
    "multiclass": ("log_loss_gain", "nats", _cross_entropy),
    "regression": ("mae_gain", "outcome", _absolute_error),
}
"""By kind of task: the measurement, its unit, the loss."""


class Pair(NamedTuple):
    """Who is compared: the revision that was served, and the one that was not."""

    served: str
    shadow: str
    model: str
    """Of the shadow."""


def interval(n: int, total: int, squares: int) -> tuple[float, float, float]:
    """Return a mean and the bounds of its confidence sequence.

    Parameters
    ----------
    n
        How many numbers, 1 or more.
    total, squares
        Their sum and that of their squares, in units of 2^-64.

    Examples
    --------
    >>> differences = [0.1, -0.1, 0.3, 0.1] * 250
    >>> found = interval(1000, sum(map(exact, differences)), sum(exact(each * each) for each in differences))
    >>> [round(each, 4) for each in found]
    [0.1, 0.0864, 0.1136]
    """
    centre = mean(total, n)
    variance = max(mean(squares, n) - centre * centre, 0.0)
    spread = n * RHO * RHO + 1
    half = math.sqrt(variance * 2 * spread / (n * RHO) ** 2 * math.log(math.sqrt(spread) / ALPHA))
    return centre, centre - half, centre + half


class ShadowComparison(BaseMonitor[Entry]):
    """Compares each shadow with what was served, where both go by the same label policy.

    A new revision of either begins a comparison of its own; a label of an older pair still counts there. A
    correction takes back the label that it replaces.
    """

    name = "versus"

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self._policies = {model.name: model.policy for model in task.models}
        self._measurement, self._unit, self._loss = LOSSES[task.kind]
        self._sums: dict[Pair, tuple[int, int, int, int]] = {}
        """Labels, sum and squares (2^-64) of served loss - shadow loss; event time of the newest request (ms)."""

    @property
    def spec(self) -> str:
        """See `Monitor.spec`."""
        return "; ".join(self.task.spec(model) for model in self.task.models)

    def _apply(self, offset: int, entry: Entry) -> None:
        prediction = entry.prediction
        if prediction is None or entry.kind == "backfill" or len(prediction.scores) < 2:
            return
        served = prediction.scores[0]
        policy = self._policies.get(served.model)
        label = label_of(policy, entry, self.task.kind) if policy else None
        if label is None:
            return
        for value, sign in ((label.replaces, -1), (label.value, 1)):
            if value is not None:
                self._count(prediction, served, value, sign)

    def _count(self, prediction: Prediction, served: Score, value: Value, sign: int) -> None:
        loss = self._loss(served, value)
        for shadow in prediction.scores[1:]:
            if self._policies.get(shadow.model) != self._policies[served.model]:
                continue
            other = self._loss(shadow, value)
            if loss is None or other is None:
                continue
            pair = Pair(_revision(served), _revision(shadow), shadow.model)
            sums = self._sums.get(pair) or self._opened(pair, prediction.ts, sign)
            if sums is not None:
                n, total, squares, newest = sums
                gain = loss - other
                total, squares = total + sign * exact(gain), squares + sign * exact(gain * gain)
                self._sums[pair] = n + sign, total, squares, max(newest, prediction.ts)

    def _opened(self, pair: Pair, ts: int, sign: int) -> tuple[int, int, int, int] | None:
        """Make room for a pair that has no labels yet; None when it had some, and was dropped."""
        if sign < 0:
            return None
        if len(self._sums) >= MOST:
            oldest = min(self._sums, key=self._newest)
            if ts < self._newest(oldest):
                return None
            del self._sums[oldest]
        return 0, 0, 0, ts

    def _newest(self, pair: Pair) -> int:
        return self._sums[pair][3]

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`: of the newest served revision with the newest of each shadow."""
        newest = {pair.model: pair for pair in sorted(self._sums, key=self._newest)}
        now = max(newest.values(), key=self._newest).served if newest else ""
        for pair in newest.values():
            *sums, _ = self._sums[pair]
            n = sums[0]
            if pair.served != now or n < LEAST:
                continue
            bounds = zip(ENDS, interval(*sums), strict=True)
            for end, value in bounds:
                name, against = f"{self._measurement}{end}", f"{AGAINST}{pair.served}"
                yield Measurement(
                    name, value, self._unit, n, pair.model, pair.shadow, "shadow", segment=against
                )

    def snapshot(self) -> Any:
        """See `Fold.snapshot`."""
        return {
            "next_offset": self.next_offset,
            "sums": [(tuple(pair), sums) for pair, sums in self._sums.items()],
        }

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset = state["next_offset"]
        self._sums = {Pair(*pair): sums for pair, sums in state["sums"]}


def _revision(score: Score) -> str:
    return f"{score.model}.{score.revision}"
