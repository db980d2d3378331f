"""What the training log says about a version: what it was made of, and how its revision's scores turned out."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Literal

from schemas.records import Entry, Score
from streams.fold import BaseFold
from streams.metrics.shadow_comparison import ShadowComparison
from streams.papers.measured import MeasuredScores
from streams.policies import label_of
from streams.roles import Roles
from streams.task import Task
from streams.task_model import Model
from streams.version import Version

Part = Literal["earlier versions", "this version", "later versions"]
PARTS: Final[tuple[Part, ...]] = ("earlier versions", "this version", "later versions")
"""Of a revision's scores, by the version that gave them."""


class VersionHistory(BaseFold[Entry]):
    """A version's history in the log.

    Parameters
    ----------
    task
        The task.
    version
        Which one.
    model
        Its model, by whose policy labels count; None: the task file has none of that name, and nothing is measured.
    """

    def __init__(self, task: Task, version: Version, model: Model | None) -> None:
        self.task, self.version, self.model = task, version, model
        self.first: tuple[int, int] | None = None
        """Offset and time (ms, event time) of the oldest entry of the log that is not a command."""
        self.last: tuple[int, int] | None = None
        """Of the newest one up to the version."""
        self.kinds: Counter[str] = Counter()
        """Entries up to the version."""
        self.labels = 0
        """First labels that the model's policy gives up to the version."""
        self.requests: tuple[int, int] | None = None
        """Event times of the oldest and the newest request up to the version, ms."""
        self.roles = Roles(task.name)
        """Up to the version."""
        self.offsets: dict[str, int] = {}
        """Log offsets of all commands, by entry id."""
        self.measured: dict[tuple[str, Part], MeasuredScores] = {}
        """By role and part, with all labels of the log."""
        self.comparison = ShadowComparison(task)

    def _apply(self, offset: int, entry: Entry) -> None:
        if entry.command is not None:
            self.offsets[entry.entry_id] = offset
        if offset <= self.version.offset:
            self._until(offset, entry)
        prediction = entry.prediction
        if prediction is None or entry.kind == "backfill":
            return
        self.comparison.apply(offset, entry)
        for place, score in enumerate(prediction.scores):
            if score.model == self.version.model and score.revision == self.version.revision:
                self._score(entry, score, "shadow" if place else "served")

    def _until(self, offset: int, entry: Entry) -> None:
        self.kinds[entry.kind] += 1
        if entry.command is not None:
            self.roles.apply(offset, entry)
            return
        self.first, self.last = self.first or (offset, entry.ts), (offset, entry.ts)
        prediction = entry.prediction
        if prediction is None:
            return
        low, high = self.requests or (prediction.ts, prediction.ts)
        self.requests = min(low, prediction.ts), max(high, prediction.ts)
        label = label_of(self.model.policy, entry, self.task.kind) if self.model else None
        self.labels += label is not None and label.value is not None and label.replaces is None

    def _score(self, entry: Entry, score: Score, role: str) -> None:
        label = label_of(self.model.policy, entry, self.task.kind) if self.model else None
        if label is None or score.score is None or entry.prediction is None:
            return
        at = (score.offset > self.version.offset) - (score.offset < self.version.offset)
        part = PARTS[at + 1]
        scores = self.measured.get((role, part))
        if scores is None:
            scores = self.measured[role, part] = MeasuredScores(self.task)
        scores.add(score, entry.prediction, label.value, label.replaces)

    def gains(self) -> list[Any]:
        """Return the measurements of the revision as a shadow, against the served one."""
        revision = f"{self.version.model}.{self.version.revision}"
        return [each for each in self.comparison.measurements() if each.version == revision]
