"""Metrics of what was served: a monitor that scores each resolution once, with the score that was served."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

from schemas.records import Entry
from streams.fold import BaseMonitor, Measurement
from streams.metrics.metric_rules import MS, MetricRules
from streams.metrics.per_class import by_class, class_measurements, matrix
from streams.metrics.registry import UNITS
from streams.metrics.scope import Scope
from streams.policies import label_of
from streams.task import Task
from streams.task_model import Model

Role = Literal["served", "shadow"]


class ServedMetrics(BaseMonitor[Entry]):
    """The metrics of one model of a task, over the scores that were served.

    A correction reverts the label it replaces, in every slice. A null score is not scored. Windows of event
    time and cohorts go by the time of the request: what a correction says is then taken from where it was.

    Parameters
    ----------
    task, model
        The task, and the model of it: its policy says which label a fact gives.
    """

    def __init__(self, task: Task, model: Model) -> None:
        super().__init__()
        self.task, self.model = task, model
        self.rules: MetricRules = task.metrics
        self.stream_time = 0
        self._width_ms = self.rules.pane_ms(task.horizon // MS)
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

    def _apply(self, offset: int, entry: Entry) -> None:
        prediction = entry.prediction
        if entry.kind == "backfill" or (prediction is None and entry.kind != "time"):
            return
        ts = entry.ts
        if ts > self.stream_time:
            turned = ts // self._width_ms > self.stream_time // self._width_ms
            self.stream_time = ts
            if turned:
                for scope in self.scopes.values():
                    scope.panes.advance(ts)
        label = None if prediction is None else label_of(self.model.policy, entry, self.task.kind)
        if label is None or prediction is None:
            return
        for place, score in enumerate(prediction.scores):
            if score.model == self.model.name and score.score is not None:
                self.role = "shadow" if place else "served"
                self._scope(self.role).score(score, prediction, label.value, label.replaces)

    def _scope(self, role: Role) -> Scope:
        scope = self.scopes.get(role)
        if scope is None:
            scope = self.scopes[role] = Scope(self.task)
            # As the others have it, which advance when a pane ends.
            scope.panes.advance(self.stream_time)
        return scope

    # ------------------------------------------------------------------ values

    @property
    def n(self) -> int:
        """Labels that count now, in the role of the newest."""
        return self._now.n

    @property
    def n_other_role(self) -> int:
        """Labels that count now of its other role."""
        return sum(scope.n for role, scope in self.scopes.items() if role != self.role)

    @property
    def _now(self) -> Scope:
        return self.scopes.get(self.role) or Scope(self.task)

    def get(self) -> dict[str, float]:
        """Return River's cumulative metrics that have a value, by name, in the role of the newest score."""
        return self._now.cumulative()

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`."""
        for role, scope in sorted(self.scopes.items()):
            for window, segment, version, values, count in self._slices(scope):
                for name, value in values.items():
                    if math.isfinite(value):
                        unit = UNITS[name]
                        yield Measurement(
                            name, value, unit, count, self.model.name, version, role, window, segment
                        )
            if not scope.n:
                continue
            total = scope.revisions.total()
            about = (self.model.name, scope.version, role)
            yield from class_measurements(total.confusion(), self.rules.top, *about)
            for row in total.table():
                segment = f"score={row['from']:g}-{row['to']:g}"
                for name, value in (("score", row["mean_score"]), ("rate", row["base_rate"])):
                    count = int(row["count"])
                    yield Measurement(f"calibration_{name}", value, "ratio", count, *about, "all", segment)

    def _slices(self, scope: Scope) -> Iterator[tuple[str, str, str, dict[str, float], int]]:
        """Return (window, segment, version, values, labels) of each slice that has labels."""
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
        for revision, tally in sorted(scope.revisions.tallies.items()):
            if tally.n:
                name = f"{self.model.name}.{revision}" if revision >= 0 else f"{self.model.name}.older"
                yield "all", "", name, dict(tally.values()), tally.n
        for feature, levels in scope.levels.items():
            for level, tally in levels.shown(rules.top, rules.least):
                yield "all", f"{feature}={level}", newest, dict(tally.values(whole=False)), tally.n

    def windows(self, scope: Scope) -> Iterator[tuple[str, Any]]:
        """Return the tallies of the event-time window and of each cohort by request age."""
        now, horizon = self.stream_time, self.task.horizon // MS
        panes = scope.panes
        yield self.rules.window_name, panes.between(now - self.rules.window_ms, now + 1)
        for name, start, end in self.rules.cohorts(now, horizon):
            yield name, panes.between(start, end)

    def status(self) -> dict[str, Any]:
        """Return what a page shows of the model now: by window, segment, revision and class, and the tables."""
        scope = self._now
        summary: dict[str, Any] = {
            "role": self.role,
            "version": scope.version,
            "windows": {},
            "revisions": {},
            "segments": {},
        }
        for window, segment, version, values, count in self._slices(scope):
            found = {name: value for name, value in values.items() if math.isfinite(value)} | {"count": count}
            if segment:
                summary["segments"][segment] = found
            elif version != scope.version:
                summary["revisions"][version] = found
            else:
                summary["windows"][window] = found
        total = scope.revisions.total()
        summary["calibration"] = total.table()
        cells = total.confusion()
        if cells:
            summary["confusion"] = matrix(cells)
            summary["classes"] = {
                name: {key: value for key, value in each.items() if math.isfinite(value)}
                for name, each in by_class(cells).items()
            }
        return summary

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
