"""Metrics of what was served: a monitor that scores each resolution once, with the score that was served."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, Literal

from river import metrics
from river.metrics.base import Metric

from schemas.errors import SnapshotError
from schemas.records import Entry, Prediction, Score, Value
from streams.fold import Measurement
from streams.metrics.binary import BinaryTally
from streams.metrics.estimated import estimate
from streams.metrics.registry import OBSERVE, REGISTRY, TALLIES, UNITS
from streams.metrics.rules import COHORTS, PARTS, MetricRules
from streams.metrics.slices import Levels, Newest, Panes, Rolling
from streams.task import Model, Task

Role = Literal["served", "shadow"]
MISSING: Final = "missing"
"""The level of a feature that a request does not have."""


class ServedMetrics:
    """The metrics of one model of a task, over the scores that were served.

    A correction reverts the label it replaces, in every slice. A null score is not scored. Windows of event
    time and cohorts go by the time of the request: what a correction says is then taken from where it was.

    Parameters
    ----------
    task, model
        The task, and the model of it: its policy says which label a fact gives.
    """

    def __init__(self, task: Task, model: Model) -> None:
        self.task, self.model = task, model
        self.rules: MetricRules = task.metrics
        self.next_offset = 0
        self.stream_time = 0
        self.role: Role = "served"
        """Of the newest scored label."""
        self.scopes: dict[Role, Scope] = {}
        """What the model served, apart from what it only would have."""

    @property
    def name(self) -> str:
        """See `Monitor.name`."""
        return self.model.name

    @property
    def spec(self) -> str:
        """See `Monitor.spec`."""
        return f"{self.task.spec(self.model)} {self.task.horizon} {self.rules!r}"

    def apply(self, offset: int, entry: Entry) -> None:
        """See `Fold.apply`."""
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        prediction = entry.prediction
        if entry.kind == "backfill" or (prediction is None and entry.kind != "time"):
            return
        if entry.ts > self.stream_time:
            self.stream_time = entry.ts
            for scope in self.scopes.values():
                scope.panes.advance(entry.ts)
        label = None if prediction is None else self.model.policy.label(entry)
        if label is None or prediction is None:
            return
        for score in prediction.scores:
            if score.model == self.model.name and score.score is not None:
                self.role = score.role
                self._scope(score.role).score(score, prediction, label.value, label.replaces)

    def _scope(self, role: Role) -> Scope:
        scope = self.scopes.get(role)
        if scope is None:
            scope = self.scopes[role] = Scope(self.task)
            scope.panes.advance(self.stream_time)
        return scope

    def alerts(self) -> Iterator[Any]:
        """See `Monitor.alerts`: metrics raise none."""
        return iter(())

    # ------------------------------------------------------------------ values

    @property
    def n(self) -> int:
        """Labels that count now, in the role of the newest."""
        return self._now.n

    @property
    def _now(self) -> Scope:
        return self.scopes.get(self.role) or Scope(self.task)

    def get(self) -> dict[str, float]:
        """Give River's cumulative metrics by name, in the role of the newest score."""
        return {name: metric.get() for name, metric in self._now.river.items()}

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`."""
        for role, scope in self.scopes.items():
            for window, segment, version, values, count in self._slices(scope):
                for name, value in values.items():
                    if math.isfinite(value):
                        unit = UNITS[name]
                        yield Measurement(
                            name, value, unit, count, self.model.name, version, role, window, segment
                        )

    def _slices(self, scope: Scope) -> Iterator[tuple[str, str, str, dict[str, float], int]]:
        """Give (window, segment, version, values, labels) of each slice that has labels."""
        rules, newest = self.rules, scope.version
        if not scope.n:
            return
        total = scope.revisions.total()
        yield "all", "", newest, dict(total.values()) | scope.cumulative(), scope.n
        rolling = scope.rolling.tally
        if rolling.n:
            estimated = scope.estimated(total)
            yield rules.rolling_name, "", newest, dict(rolling.values()) | estimated, rolling.n
        for window, tally in self.windows(scope):
            if tally.n:
                whole = window == rules.window_name
                yield window, "", newest, dict(tally.values(whole=whole)), tally.n
        for revision, tally in scope.revisions.tallies.items():
            if tally.n:
                name = f"{self.model.name}.{revision}" if revision >= 0 else f"{self.model.name}.older"
                yield "all", "", name, dict(tally.values()), tally.n
        for feature, levels in scope.levels.items():
            for level, tally in levels.shown(rules.top, rules.least):
                yield "all", f"{feature}={level}", newest, dict(tally.values(whole=False)), tally.n

    def windows(self, scope: Scope) -> Iterator[tuple[str, Any]]:
        """Give the tallies of the event-time window and of each cohort by request age."""
        now, horizon = self.stream_time, self.task.horizon // timedelta(milliseconds=1)
        panes = scope.panes
        yield self.rules.window_name, panes.between(now - self.rules.window_ms, now + 1)
        for name, (young, old) in zip(COHORTS, PARTS, strict=False):
            # The youngest cohort has all that is as young or, on another partition, ahead of stream time.
            end = now - int(young * horizon) if young else now + panes.width_ms
            yield name, panes.between(now - int(old * horizon), end)
        yield COHORTS[-1], panes.between(now - horizon - self.rules.window_ms, now - horizon)

    def status(self) -> dict[str, Any]:
        """Give what a page shows of the model now: metrics by window, calibration table, segments, revisions."""
        scope = self._now
        told: dict[str, Any] = {
            "role": self.role,
            "version": scope.version,
            "windows": {},
            "revisions": {},
            "segments": {},
        }
        for window, segment, version, values, count in self._slices(scope):
            found = {name: value for name, value in values.items() if math.isfinite(value)} | {"count": count}
            if segment:
                told["segments"][segment] = found
            elif version != scope.version:
                told["revisions"][version] = found
            else:
                told["windows"][window] = found
        told["calibration"] = scope.revisions.total().table()
        return told

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """See `Fold.snapshot`."""
        return {
            "next_offset": self.next_offset,
            "stream_time": self.stream_time,
            "role": self.role,
            "scopes": {role: self.scopes[role].snapshot() for role in sorted(self.scopes)},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Fold.restore`.

        Raises
        ------
        SnapshotError
            When the state is not one of these metrics.
        """
        self.next_offset, self.stream_time = state["next_offset"], state["stream_time"]
        self.role, self.scopes = state["role"], {}
        for role, each in state["scopes"].items():
            self.scopes[role] = Scope(self.task)
            self.scopes[role].restore(each)


class Scope:
    """What one model served, or would have: River's cumulative metrics, and the slices of the stream."""

    def __init__(self, task: Task) -> None:
        rules: MetricRules = task.metrics
        self._task = task
        make, self._observe = TALLIES[task.kind], OBSERVE[task.kind]
        horizon_ms = task.horizon // timedelta(milliseconds=1)
        width_ms = rules.pane_ms(horizon_ms)
        self.river = {name: create() for name, create in REGISTRY[task.kind].items()}
        self.n = 0
        self.version = ""
        """Of the newest scored label."""
        self.revisions = Newest(make, rules.revisions)
        self.rolling = Rolling(make, rules.rolling)
        self.panes = Panes(make, width_ms, horizon_ms + rules.window_ms + width_ms)
        self.levels = {feature: Levels(make, rules.levels) for feature in rules.segments}

    def score(self, score: Score, prediction: Prediction, value: Value, replaces: Value) -> None:
        """Count a label, or a correction of one."""
        self.version = score.version
        self._river(score, value, replaces)
        new = None if value is None else self._observe(score, value)
        old = None if replaces is None else self._observe(score, replaces)
        tallies = [self.revisions.at(_revision(score.version))]
        pane = self.panes.at(prediction.ts)
        if pane is not None:
            tallies.append(pane)
        for feature, levels in self.levels.items():
            tallies.append(levels.at(_level(prediction.features, feature)))
        for tally in tallies:
            if old is not None:
                tally.add(old, -1)
            if new is not None:
                tally.add(new)
        request_id = prediction.request_id
        if new is None:
            self.rolling.take(request_id)
        elif old is None:
            self.rolling.add(request_id, new)
        else:
            self.rolling.replace(request_id, new)

    def _river(self, score: Score, value: Value, replaces: Value) -> None:
        for metric in self.river.values():
            answer: Any = score.label if metric_wants_labels(metric) else score.score
            if replaces is not None:
                metric.revert(replaces, answer)
            if value is not None:
                metric.update(value, answer)
        self.n += (value is not None) - (replaces is not None)

    def cumulative(self) -> dict[str, float]:
        """Give River's metrics by name."""
        return {name: metric.get() for name, metric in self.river.items()}

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
        """Give the state: River's objects, and plain values."""
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
            raise SnapshotError("the state holds other metrics than the task's kind has")
        self.river, self.n, self.version = river, state["n"], state["version"]
        self.revisions.restore(state["revisions"])
        self.rolling.restore(state["rolling"])
        self.panes.restore(state["panes"])
        for feature, levels in self.levels.items():
            levels.restore(state["levels"][feature])


def metric_wants_labels(metric: Metric) -> bool:
    """Whether a metric takes the decision and not the score."""
    return isinstance(metric, metrics.base.ClassificationMetric) and metric.requires_labels


def _revision(version: str) -> int:
    """Give the revision of `model.revision@offset`."""
    return int(version[version.rindex(".") + 1 : version.rindex("@")])


def _level(features: Mapping[str, Any], feature: str) -> str:
    value = features.get(feature)
    return MISSING if value is None else str(value).lower() if isinstance(value, bool) else str(value)
