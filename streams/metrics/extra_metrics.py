"""The further metrics of a task as a monitor: River's objects, folded from the log like all other metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from schemas.errors import SnapshotError
from schemas.records import Entry
from streams.fold import BaseMonitor, Measurement
from streams.metrics.extra import ExtraTally
from streams.metrics.metric_rules import MetricRules
from streams.metrics.scope import level_of
from streams.metrics.served import Role
from streams.metrics.slices import OTHER, Levels
from streams.own_bodies import own_bodies
from streams.own_code import own_modules
from streams.policies import label_of
from streams.snapshot.digest import state_digest
from streams.task import Task
from streams.task_model import Model


class ExtraScope:
    """What one model served, or would have: all labels, and those of each level."""

    def __init__(self, rules: MetricRules, kind: str) -> None:
        self.version = ""
        """Of the newest scored label."""
        self.whole = ExtraTally(rules.extra, kind)
        self.levels = {
            feature: Levels(lambda: ExtraTally(rules.extra, kind), rules.levels) for feature in rules.segments
        }

    def snapshot(self) -> dict[str, Any]:
        """Return the state."""
        levels = {feature: each.snapshot() for feature, each in self.levels.items()}
        return {"version": self.version, "whole": self.whole.snapshot(), "levels": levels}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self.version = state["version"]
        self.whole.restore(state["whole"])
        for feature, levels in self.levels.items():
            levels.restore(state["levels"][feature])


class ExtraMetrics(BaseMonitor[Entry]):
    """The further metrics of one model, over all labels and by segment; see `ServedMetrics` for what is scored.

    River's objects cannot be added up, so there are none of the levels that are shown together as `other`.

    Parameters
    ----------
    task, model
        The task, and the model of it.
    """

    def __init__(self, task: Task, model: Model) -> None:
        super().__init__()
        self.task, self.model = task, model
        self.role: Role = "served"
        """Of the newest scored label."""
        self.scopes: dict[Role, ExtraScope] = {}

    @property
    def name(self) -> str:
        """See `Monitor.name`."""
        return f"{self.model.name}.extra"

    @property
    def spec(self) -> str:
        """See `Monitor.spec`: with what the metrics are, and the code of the task file's own."""
        rules = self.task.metrics
        made = [*self._made().items()]
        parts = [made, *own_modules(made), *own_bodies(made)]
        return f"{self.task.spec(self.model)} {rules.segments} {rules.levels} {state_digest(parts)}"

    def _made(self) -> dict[str, Any]:
        return {name: make() for name, make in self.task.metrics.extra.items()}

    def _apply(self, offset: int, entry: Entry) -> None:
        prediction = entry.prediction
        if prediction is None or entry.kind == "backfill":
            return
        label = label_of(self.model.policy, entry, self.task.kind)
        if label is None:
            return
        for place, score in enumerate(prediction.scores):
            if score.model == self.model.name and score.score is not None:
                self.role = "shadow" if place else "served"
                scope = self.scopes.get(self.role)
                if scope is None:
                    scope = self.scopes[self.role] = ExtraScope(self.task.metrics, self.task.kind)
                scope.version = score.version
                scope.whole.add(score, label.value, label.replaces)
                for feature, levels in scope.levels.items():
                    level = level_of(prediction.features, self.task.features.by_name[feature])
                    levels.at(level).add(score, label.value, label.replaces)

    # ------------------------------------------------------------------ values

    @property
    def _now(self) -> ExtraScope:
        return self.scopes.get(self.role) or ExtraScope(self.task.metrics, self.task.kind)

    def get(self) -> dict[str, float]:
        """Return the metrics that have a value, by name, in the role of the newest score."""
        return self._now.whole.values()

    def segments(self) -> dict[str, dict[str, float]]:
        """Return the same of each segment that is shown."""
        return {segment: tally.values() for segment, tally in self._segments(self._now)}

    @property
    def failed(self) -> dict[str, str]:
        """By metric that has stopped: what it raised."""
        return dict(self._now.whole.failed)

    def _segments(self, scope: ExtraScope) -> Iterator[tuple[str, ExtraTally]]:
        rules = self.task.metrics
        for feature, levels in scope.levels.items():
            for level, tally in levels.chosen(rules.top, rules.least):
                if level != OTHER:
                    yield f"{feature}={level}", tally

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`."""
        for role, scope in sorted(self.scopes.items()):
            for segment, tally in (("", scope.whole), *self._segments(scope)):
                about = (self.model.name, scope.version, role, "all", segment)
                for name, value in tally.values().items():
                    yield Measurement(name, value, "own", tally.n, *about)

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """See `Fold.snapshot`; `made` has the classes that a restored state may consist of."""
        scopes = {role: self.scopes[role].snapshot() for role in sorted(self.scopes)}
        return {
            "next_offset": self.next_offset,
            "role": self.role,
            "made": self._made(),
            "scopes": scopes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Fold.restore`.

        Raises
        ------
        SnapshotError
            When the state has other metrics than the task.
        """
        made = self._made()
        self.next_offset, self.role, self.scopes = state["next_offset"], state["role"], {}
        for role, each in state["scopes"].items():
            whole = each["whole"]
            expected = {name: type(made[name]) for name in made if name not in whole["failed"]}
            if {name: type(metric) for name, metric in whole["metrics"].items()} != expected:
                raise SnapshotError("the state has other metrics than the task")
            self.scopes[role] = ExtraScope(self.task.metrics, self.task.kind)
            self.scopes[role].restore(each)
