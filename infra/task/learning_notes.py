"""What the models of a task have not learned: alerts about it, and up to where these are published."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from infra.kafka.transaction import OutRecord
from infra.task.context import TaskContext
from infra.task.revisions import learning_alerts
from streams.model import ModelFold

NOTED: Final = 50
"""Revisions in a transaction's note, which may have 4,096 bytes."""


class LearningNotes:
    """Makes the alerts, each once, with the note of a transaction that says which are published."""

    def __init__(self, context: TaskContext, models: Sequence[ModelFold]) -> None:
        self._context, self._models = context, models
        self.to: dict[str, int] = {}
        """By model and revision: below which log offset it is published which entries it skipped."""
        self._since = 0
        """The same for those that are not listed."""

    @property
    def text(self) -> str:
        """The note: by model and revision, up to which log offset it is published what it has not learned."""
        newest = sorted(self.to.items(), key=lambda each: each[1])[-NOTED:]
        return json.dumps(dict(newest), separators=(",", ":"), sort_keys=True)

    def settle(self, note: str, published: int) -> None:
        """Take over the newest note; without a note of ours an alert is rather left out than repeated.

        Parameters
        ----------
        published
            Log offset up to which everything is published.
        """
        try:
            self.to, self._since = {str(k): int(v) for k, v in json.loads(note).items()}, 0
        except (ValueError, AttributeError, TypeError):
            self.to, self._since = {}, published

    def alerts(self, below: int) -> tuple[list[OutRecord], dict[str, int]]:
        """Return the alerts below an offset that are not published, and `to` once they are."""
        found, to = list[OutRecord](), dict(self.to)
        for fold in self._models:
            if fold.revision is not None:
                key = f"{fold.model.name}.{fold.revision.number}"
                since = to.get(key, self._since)
                found += learning_alerts(self._context, fold, below, since, fold.revision.number)
                to[key] = max(since, below)
        return found, to
