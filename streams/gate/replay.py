"""History through the gate: which decisions it would have brought, which of them were wrong, and at what loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from schemas.records import Entry, ScoreValue
from streams.datafile import Event
from streams.driver import MemoryDriver
from streams.fold import BaseFold
from streams.gate.decision import PROPOSED, Decision
from streams.gate.fold import RESOLVED
from streams.gate.gain import Gain
from streams.gate.rules import Gate
from streams.policies import Policy, label_of
from streams.race.fold import gate_fold
from streams.task import Task
from streams.task_model import Model


class Answered(NamedTuple):
    """A request with the label that it has at the end of history."""

    log_offset: int
    served: str
    losses: dict[str, float]
    """By model."""


class LossBook(BaseFold[Entry]):
    """Keeps the losses of all models on each request under its last label.

    Memory grows with the log, so it is for backtests, not for workers.
    """

    def __init__(self, task: Task, policy: Policy, gain: Gain) -> None:
        self._task, self._policy, self._gain = task, policy, gain
        self.rows: dict[str, Answered] = {}

    def _apply(self, offset: int, entry: Entry) -> None:
        prediction = entry.prediction
        if prediction is None or entry.kind not in RESOLVED:
            return
        label = label_of(self._policy, entry, self._task.kind)
        if label is None:
            return
        if label.value is None:
            self.rows.pop(prediction.request_id, None)
            return
        scores: dict[str, ScoreValue] = {each.model: each.score for each in prediction.scores}
        losses = {name: self._gain.loss_of(score, label.value) for name, score in scores.items()}
        served, at = prediction.scores[0].model, prediction.log_offset
        self.rows[prediction.request_id] = Answered(-1 if at is None else at, served, losses)

    def mean(self, model: str) -> float:
        """Return the mean loss of a model over all requests that it scored."""
        return _mean([row.losses[model] for row in self.rows.values() if model in row.losses])

    def served(self) -> float:
        """Return the mean loss of the scores that answered."""
        return _mean([row.losses[row.served] for row in self.rows.values()])

    def gain(self, challenger: str, incumbent: str, start: int, end: float) -> tuple[int, float]:
        """Return requests and mean gain of those answered in [start, end), by log offsets."""
        gains = [
            row.losses[incumbent] - row.losses[challenger]
            for row in self.rows.values()
            if start <= row.log_offset < end and challenger in row.losses and incumbent in row.losses
        ]
        return len(gains), _mean(gains)

    def snapshot(self) -> Any:
        """See `Fold.snapshot`."""
        return [self.next_offset, {name: list(row) for name, row in self.rows.items()}]

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""
        self.next_offset, rows = state
        self.rows = {name: Answered(*row) for name, row in rows.items()}


def _mean(numbers: list[float]) -> float:
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def replay(
    task: Task,
    events: Sequence[Event],
    models: Sequence[Model] | None = None,
    gate: Gate | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Replay events through the loop in memory, and do at once what the gate proposes.

    Approvals are taken as given; holds between steps are kept, in event time.

    Parameters
    ----------
    events
        In the order of their request times.
    models
        Those that compete; all of the task's by default. The first answers at the beginning.
    gate
        By default the task's, or one with defaults.
    progress
        Called with the number of requests done, after each.

    Returns
    -------
    dict
        Plain data: `loss` in words and digest of the `gate`; `decisions`, each with what became of it: `after` is
        the mean gain of the challenger over the requests that were answered from it until the next change, and
        `wrong` whether that has the wrong sign (None: no such request has a label); counts of `promotions` and
        `rollbacks` and of `false` ones; `tests` by challenger as they stand at the end; `served`, the loss of what
        answered, beside the loss of each of the `fixed` models.
    """
    chosen = tuple(models or task.models)
    gate = gate or task.gate or Gate()
    fold = gate_fold(task, gate, [model.name for model in chosen])
    book = LossBook(task, gate.policy or chosen[0].policy, gate.gain(task.kind))
    driver = MemoryDriver(task, chosen, folds=[fold, book], keep_log=False)
    said: list[Decision] = []
    done: dict[str, int] = {}
    """Log offset of the command, by decision."""
    for asked, _ in enumerate(driver.run(events), start=1):
        said += fold.decisions(said[-1].offset + 1 if said else 0)
        proposal = fold.proposal()
        if proposal is not None:
            done[proposal.id] = fold.next_offset
            driver.command(proposal.command())
        if progress is not None:
            progress(asked)
    said += fold.decisions(said[-1].offset + 1 if said else 0)
    changes = [each for each in said if each.id in done]
    ends = [*(float(done[each.id]) for each in changes), math.inf][1:]
    after = {each.id: _after(book, each, done[each.id], end) for each, end in zip(changes, ends, strict=True)}
    rows = [_row(each, after.get(each.id)) for each in said]
    promotions = [row for row in rows if row["done"] and row["action"] == "promote"]
    rollbacks = [row for row in rows if row["done"] and row["action"] == "rollback"]
    fixed = {model.name: book.mean(model.name) for model in chosen}
    return {
        "loss": gate.loss_text(task.kind),
        "gate": gate.digest,
        "decisions": rows,
        "promotions": len(promotions),
        "rollbacks": len(rollbacks),
        "false": {
            "promotions": sum(row["wrong"] is True for row in promotions),
            "rollbacks": sum(row["wrong"] is True for row in rollbacks),
        },
        "tests": {
            name: {"n": test.n, "unlabelled": test.unlabelled, "verdict": test.verdict, "test": test.number}
            for name, test in fold.promotion.tests.items()
        },
        "served": book.served(),
        "fixed": fixed,
    }


def _after(book: LossBook, decision: Decision, start: int, end: float) -> tuple[int, float]:
    challenger, incumbent = (each.rpartition(".")[0] for each in (decision.challenger, decision.incumbent))
    return book.gain(challenger, incumbent, start, end)


def _row(decision: Decision, after: tuple[int, float] | None) -> dict[str, Any]:
    evidence = decision.evidence
    n, gain = after or (0, math.nan)
    wrong = None if not n else gain > 0.0 if decision.action == "rollback" else gain < 0.0
    return {
        "id": decision.id,
        "offset": decision.offset,
        "ts": decision.ts,
        "action": decision.action,
        "share": decision.share,
        "challenger": decision.challenger,
        "incumbent": decision.incumbent,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "n": evidence.n,
        "unlabelled": evidence.unlabelled,
        "estimate": evidence.estimate,
        "low": evidence.low,
        "high": evidence.high,
        "e_value": evidence.e_better,
        "done": after is not None,
        "asked": decision.action in PROPOSED,
        "after_n": n,
        "after": gain,
        "wrong": wrong,
    }
