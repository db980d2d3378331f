"""What a verification found: counts, what it could not check, what does not hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from schemas.errors import BadRecord
from schemas.records import Position
from streams.verify import Difference

SHOWN: Final = 20
"""So many differences are kept; the others are counted."""


class Report:
    """Collects what is found; its size does not grow with the history."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.counts: Counter[str] = Counter()
        self.resolutions: Counter[str] = Counter()
        """Entries by kind."""
        self.reproduced: Counter[str] = Counter()
        """Scores reproduced bit for bit, by model."""
        self.other: Counter[str] = Counter()
        """Scores by model that need another task file or another runtime."""
        self.skipped: dict[str, dict[str, Any]] = {}
        """By model whose code raised: how many entries it has not learned from, the newest, where it stopped."""
        self.snapshots = 0
        self.notes: list[str] = []
        """What could not be checked, and why."""
        self.failures: list[Difference] = []
        self.failed = 0
        self.seconds = 0.0

    @property
    def ok(self) -> bool:
        """Whether everything that was checked holds."""
        return self.failed == 0

    def fail(self, differences: Iterable[Difference]) -> None:
        """Take down what does not hold."""
        for difference in differences:
            self.failed += 1
            if len(self.failures) < SHOWN:
                self.failures.append(difference)

    def unreadable(self, what: str, at: Position, bad: BadRecord) -> None:
        """Take down a record of ours that cannot be read."""
        self.fail([Difference(f"{what} cannot be read", str(at), "a readable record", bad.message)])

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data."""
        return {
            "task": self.task,
            "ok": self.ok,
            **{name: self.counts[name] for name in COUNTS},
            "resolutions": dict(sorted(self.resolutions.items())),
            "scores_reproduced": dict(self.reproduced),
            "scores_of_other_revisions": dict(self.other),
            "skipped": dict(self.skipped),
            "snapshots_checked": self.snapshots,
            "notes": list(self.notes),
            "failed": self.failed,
            "failures": [difference._asdict() for difference in self.failures],
            "seconds": round(self.seconds, 3),
        }


COUNTS: Final = {
    "requests": "requests",
    "unserved": "requests not served yet",
    "predictions": "predictions",
    "duplicate_predictions": "duplicate predictions",
    "unread_predictions": "predictions not joined yet",
    "answers": "predictions answered by the model that was drawn",
    "waiting": "predictions pending for an outcome",
    "outcomes": "outcomes",
    "duplicate_outcomes": "duplicate or older outcomes",
    "early_outcomes": "outcomes without a prediction yet",
    "forwarded_outcomes": "outcomes forwarded to their own partition",
    "unread_outcomes": "outcomes not joined yet",
    "dead_letters": "dead letters",
    "entries": "entries of the training log",
    "decisions": "decisions of the gate",
    "other_decisions": "decisions of a gate with another configuration",
    "validations": "validations judged again",
    "other_validations": "validations of another configuration, revision or part of the log",
    "cut": "records whose counterpart was deleted by retention",
}
"""What is counted, and what it means."""
