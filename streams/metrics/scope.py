"""What one model served, or would have: River's cumulative metrics, and the slices of the stream."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from river import metrics
from river.metrics.base import Metric

from schemas.errors import SnapshotError
from schemas.features import Feature
from schemas.records import Prediction, Score, Value
from streams.metrics.binary import BinaryTally
from streams.metrics.estimated import estimate
from streams.metrics.kinds import KEPT, OBSERVE, REGISTRY, TALLIES
from streams.metrics.metric_rules import MS, MetricRules
from streams.metrics.slices import OTHER, Levels, Newest, Panes, Rolling
from streams.quality.grid import level
from streams.task import Task

MISSING: Final = "missing"
"""The level of a feature that a request does not have."""


class Scope:
    """What one model served, or would have: River's cumulative metrics, and the slices of the stream."""

    def __init__(self, task: Task) -> None:
        rules: MetricRules = task.metrics
        self._task = task
        make, self._observe = TALLIES[task.kind], OBSERVE[task.kind]
        horizon_ms = task.horizon // MS
        width_ms = rules.pane_ms(horizon_ms)
        self.river = {name: REGISTRY[task.kind][name]() for name in KEPT[task.kind]}
        self._takes = self._taking()
        self._names = tuple(REGISTRY[task.kind])
        self.n = 0
        self.version = ""
        """Of the newest scored label."""
        self.revisions = Newest(make, rules.revisions)
        self.rolling = Rolling(make, rules.rolling)
        self.panes = Panes(make, width_ms, horizon_ms + rules.window_ms + 2 * width_ms)
        self.levels = {feature: Levels(make, rules.levels) for feature in rules.segments}

    def score(self, score: Score, prediction: Prediction, value: Value, replaces: Value) -> None:
        """Count a label, or a correction of one."""
        self.version = score.version
        self._river(score, value, replaces)
        new = None if value is None else self._observe(score, value)
        old = None if replaces is None else self._observe(score, replaces)
        tallies = [self.revisions.at(score.revision)]
        pane = self.panes.at(prediction.ts)
        if pane is not None:
            tallies.append(pane)
        for feature, levels in self.levels.items():
            tallies.append(levels.at(level_of(prediction.features, self._task.features.by_name[feature])))
        if old is not None:
            for tally in tallies:
                tally.add(old, -1)
        if new is not None:
            for tally in tallies:
                tally.add(new)
        request_id = prediction.request_id
        if new is None:
            self.rolling.take(request_id)
        elif old is None:
            self.rolling.add(request_id, new)
        else:
            self.rolling.replace(request_id, new)

    def _river(self, score: Score, value: Value, replaces: Value) -> None:
        if replaces is not None and self.n == 1:
            # Nothing is left once it is taken back: what River computes then is rounding, or a division by zero.
            self.river = {name: REGISTRY[self._task.kind][name]() for name in self.river}
            self._takes = self._taking()
            self.n, replaces = 0, None
        for metric, wants_labels in self._takes:
            answer: Any = score.label if wants_labels else score.score
            if replaces is not None:
                metric.revert(replaces, answer)
            if value is not None:
                metric.update(value, answer)
        self.n += (value is not None) - (replaces is not None)

    def _taking(self) -> list[tuple[Metric, bool]]:
        return [(metric, metric_wants_labels(metric)) for metric in self.river.values()]

    def cumulative(self) -> dict[str, float]:
        """Return the metrics that River's evaluator gives, by name; none that has no value yet.

        River calls the accuracy of nothing 0, and so the R² of one number.
        """
        if not self.n:
            return {}
        ours = dict(self.revisions.total().values())
        return {
            name: _real(self.river[name].get()) if name in self.river else ours[name]
            for name in self._names
            if not math.isnan(ours.get(name, 0.0))
        }

    def estimated(self, total: Any) -> dict[str, float]:
        """Estimate the rolling window's performance by the calibration of what is older, and the gap to it."""
        rolling = self.rolling.tally
        if not isinstance(rolling, BinaryTally):
            return {}
        older = BinaryTally()
        older.merge(total)
        older.merge(rolling, -1)
        found = estimate(rolling.counts, older)
        if found:
            found["estimate_gap"] = (
                dict(rolling.values(whole=False))["accuracy"] - found["estimated_accuracy"]
            )
        return found

    def snapshot(self) -> dict[str, Any]:
        """Return the state: River's objects, and plain values."""
        return {
            "river": self.river,
            "n": self.n,
            "version": self.version,
            "revisions": self.revisions.snapshot(),
            "rolling": self.rolling.snapshot(),
            "panes": self.panes.snapshot(),
            "levels": {feature: levels.snapshot() for feature, levels in self.levels.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        river = state["river"]
        if [*map(type, river.values())] != [*map(type, self.river.values())]:
            raise SnapshotError("the state has other metrics than the task's kind")
        self.river, self.n, self.version = river, state["n"], state["version"]
        self._takes = self._taking()
        self.revisions.restore(state["revisions"])
        self.rolling.restore(state["rolling"])
        self.panes.restore(state["panes"])
        for feature, levels in self.levels.items():
            levels.restore(state["levels"][feature])


def _real(value: float | complex) -> float:
    """Return River's value; the root of a mean square that taking back left a hair below 0 is complex there."""
    return 0.0 if isinstance(value, complex) else value


def metric_wants_labels(metric: Metric) -> bool:
    """Whether a metric takes the decision and not the score."""
    return isinstance(metric, metrics.base.ClassificationMetric) and metric.requires_labels


def level_of(features: Mapping[str, Any], feature: Feature) -> str:
    """Return a value's level: as the dictionary declares it, of an open set the first characters."""
    value = features.get(feature.name)
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return str(value).lower()
    return OTHER if feature.outlies(value) else level(str(value))
