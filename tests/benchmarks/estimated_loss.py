"""What an estimate of the loss would say before labels come: `python -m tests.benchmarks.estimated_loss`.

For each week of requests the estimate has their scores and the labels of requests that were older than the horizon
at the week's end: of younger ones only those are labelled whose outcome came early. It is the mean loss of the
scores' groups among the newest 5,000 such labels, weighted by the week's scores. Held against the week's loss as
its labels showed it later, and against the same labels' loss, which is all that is known without an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from agents.cli.common import table
from infra.taskfile import examples, load_task
from schemas.records import Entry
from streams.drift.cost import LOSSES
from streams.driver import MemoryDriver
from streams.metrics.binary import GROUPS
from streams.policies import label_of
from streams.task import Task

TASKS: Final = ("hotel_bookings/task.py:cancellation_within_30_days", "online_retail/task.py")
WEEK_MS: Final = 7 * 24 * 3_600_000
RECENT: Final = 5_000
FEWEST: Final = (1_000, 50)
"""Labels before the first estimate, and requests of a week that is judged."""
ABOVE: Final = (0.05, 0.1, 0.2)
"""Shares by which an estimate is above the level when it says that answers are worse."""


class Labels:
    """A fold that keeps request time, score and loss of each first label of what was served."""

    def __init__(self, task: Task) -> None:
        self._task, self._policies = task, {model.name: model.policy for model in task.models}
        self.next_offset = 0
        self.rows: list[tuple[int, float, float]] = []

    def apply(self, offset: int, entry: Entry) -> None:
        """See `Fold.apply`."""
        if entry.prediction is None or entry.kind == "backfill" or not entry.prediction.scores:
            return
        served = entry.prediction.scores[0]
        label = label_of(self._policies[served.model], entry, self._task.kind)
        if label is None or label.value is None or label.replaces is not None:
            return
        loss = LOSSES[self._task.kind][2](served, label.value)
        if loss is not None and isinstance(served.score, float):
            self.rows.append((entry.prediction.ts, served.score, loss))

    def snapshot(self) -> Any:
        """See `Fold.snapshot`; this one is not stored."""

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""


def weeks(rows: Sequence[tuple[int, float, float]], horizon_ms: int) -> np.ndarray[Any, Any]:
    """Give estimate, level and loss of each week of requests, shape (weeks, 3)."""
    ts, scores, losses = (np.array(column) for column in zip(*sorted(rows), strict=True))
    groups = np.minimum((scores * GROUPS).astype(int), GROUPS - 1)
    found = []
    for week in range(int(ts[0]) // WEEK_MS, int(ts[-1]) // WEEK_MS + 1):
        known = np.flatnonzero(ts + horizon_ms < (week + 1) * WEEK_MS)[-RECENT:]
        mine = np.flatnonzero(ts // WEEK_MS == week)
        if len(known) < FEWEST[0] or len(mine) < FEWEST[1]:
            continue
        level = losses[known].mean()
        count = np.bincount(groups[known], minlength=GROUPS)
        total = np.bincount(groups[known], weights=losses[known], minlength=GROUPS)
        means = (total + level) / (count + 1)
        found.append((means[groups[mine]].mean(), level, losses[mine].mean()))
    return np.array(found)


def main() -> None:
    """Play the example tasks with a horizon of 30 days, and print the table."""
    out: list[list[Any]] = []
    for name in TASKS:
        loaded = load_task(str(examples() / name))
        labels = Labels(loaded.task)
        for _ in MemoryDriver(loaded.task, folds=[labels], keep_log=False).run(
            list(loaded.events(None, None))
        ):
            pass
        horizon_ms = int(loaded.task.horizon.total_seconds() * 1000)
        estimate, level, loss = weeks(labels.rows, horizon_ms).T
        worst = set(np.argsort(-loss)[:10].tolist())
        apart = f"{np.abs(estimate - loss).mean():.3f} / {np.abs(level - loss).mean():.3f}"
        for share in ABOVE:
            said = np.flatnonzero(estimate > (1 + share) * level)
            right = f"{(loss > level)[said].mean():.0%}" if len(said) else "none"
            of_all = f"{(loss > level).mean():.0%}"
            found = len(worst & set(said.tolist()))
            out.append([loaded.task.name, len(loss), apart, f"{share:.0%}", len(said), right, of_all, found])
    head = ["task", "weeks", "error: estimate / level", "above", "said", "worse", "of all", "worst ten"]
    table("Loss estimated before labels", head, out)


if __name__ == "__main__":
    main()
