"""Performance of the predictions that wait, estimated before their labels come (CBPE, as in `estimated`).

The join counts the scores that it takes, by model and by group of the calibration table, and its counters come with
the log. What of them has resolved is in the log itself; the rest waits. So the estimate is a fold of the log like
all else: the same log gives the same numbers, whoever folds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from schemas.records import Entry, Prediction
from streams.fold import BaseMonitor, Measurement
from streams.metrics.binary import GROUPS
from streams.metrics.estimated import LEAST, drawn
from streams.policies import label_of
from streams.task import Task

PREFIX: Final = "score "
"""Begins the names of the join's counters of scores: `score MODEL GROUP`."""
WINDOW: Final = "waiting"


def counter_of(prediction: Prediction) -> str:
    """Return the join's counter that a prediction raises; empty when what was served is no probability.

    Examples
    --------
    >>> from schemas.records import Score
    >>> counter_of(Prediction("r", 0, {}, (Score("lr", 1, 0, 0.25),)))
    'score lr 2'
    """
    if not prediction.scores:
        return ""
    served = prediction.scores[0]
    p = served.score
    if not isinstance(p, float) or not 0.0 <= p <= 1.0:
        return ""
    return f"{PREFIX}{served.model} {int(p * GROUPS) if p < 1.0 else GROUPS - 1}"


class Waiting(BaseMonitor[Entry]):
    """Estimates the accuracy of what was served and has no resolution yet (binary).

    Notes
    -----
    Under a policy by which silence teaches nothing, the calibration is that of requests with an outcome, and so is
    the estimate.
    """

    name = "waiting"

    def __init__(self, task: Task) -> None:
        super().__init__()
        self._policies = {model.name: model.policy for model in task.models}
        self._models = "; ".join(f"{model.name} {model.policy!r}" for model in task.models)
        self._taken: dict[int, dict[str, int]] = {}
        """By partition: the join's counters of scores, the newest."""
        self._resolved: Counter[str] = Counter()
        self._labels: dict[str, tuple[int, int]] = {}
        """By counter: labels, and those that are true."""
        self._versions: dict[str, str] = {}
        """By model: of the newest resolution."""

    @property
    def spec(self) -> str:
        """See `Monitor.spec`."""
        return self._models

    def _apply(self, offset: int, entry: Entry) -> None:
        if entry.kind in {"backfill", "command", "opened"}:
            return
        if entry.progress is not None and entry.partition is not None:
            counters = entry.progress.items()
            self._taken[entry.partition] = {name: n for name, n in counters if name.startswith(PREFIX)}
        prediction = entry.prediction
        counter = "" if prediction is None else counter_of(prediction)
        if prediction is None or not counter or prediction.scores[0].model not in self._policies:
            return  # others wrote it, or a model that the task has no more
        served = prediction.scores[0]
        self._versions[served.model] = served.version
        if entry.corrects is None:
            self._resolved[counter] += 1
        policy = self._policies.get(served.model)
        label = label_of(policy, entry, "binary") if policy else None
        if label is not None:
            n, positive = self._labels.get(counter, (0, 0))
            for value, sign in ((label.replaces, -1), (label.value, 1)):
                if value is not None:
                    n, positive = n + sign, positive + sign * (value is True)
            self._labels[counter] = n, positive

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`: `estimated_accuracy` of each model that served some of what waits."""
        waiting = Counter[str]()
        for taken in self._taken.values():
            waiting.update(taken)
        waiting.subtract(self._resolved)
        for model in self._policies:
            names = [f"{PREFIX}{model} {group}" for group in range(GROUPS)]
            labels = [self._labels.get(name, (0, 0)) for name in names]
            count = sum(waiting[name] for name in names)
            if count <= 0 or sum(n for n, _ in labels) < LEAST:
                continue
            right = 0.0
            for group, (name, (n, positive)) in enumerate(zip(names, labels, strict=True)):
                true = drawn(group, n, positive)
                right += waiting[name] * (true if 2 * group >= GROUPS else 1.0 - true)
            version = self._versions.get(model, "")
            yield Measurement(
                "estimated_accuracy", right / count, "ratio", count, model, version, "served", WINDOW
            )

    def snapshot(self) -> Any:
        """See `Fold.snapshot`."""
        return {
            "next_offset": self.next_offset,
            "taken": {number: dict(self._taken[number]) for number in sorted(self._taken)},
            "resolved": dict(self._resolved),
            "labels": dict(self._labels),
            "versions": dict(self._versions),
        }

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset = state["next_offset"]
        self._taken = {number: dict(taken) for number, taken in state["taken"].items()}
        self._resolved, self._labels = Counter(state["resolved"]), dict(state["labels"])
        self._versions = dict(state["versions"])
