"""The whole loop in memory: the processors that run on Kafka, driven by a virtual clock.

Ships with the product because users test their tasks with it; `backtest` is this driver on a data file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from schemas.errors import BadRecord
from schemas.records import Command, Entry, FeatureValue, Outcome, Position, Prediction, Punctuation, Request
from schemas.state import Payload
from streams.aggregates.aggregates import AggregateRules, Aggregates
from streams.commands import command_entry_id, decide_all
from streams.datafile import Event
from streams.fold import Fold
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore, StateStore
from streams.leave_out import NOTHING, LeaveOut
from streams.metrics.served import ServedMetrics
from streams.metrics.waiting import counter_of
from streams.model import ModelFold
from streams.rollout import GATE
from streams.rollout_checks import ALONE, Situation
from streams.schedule import Sync, schedule
from streams.serve import Server
from streams.task import Task
from streams.task_model import Model


def unpacked(request_id: str, payload: Payload) -> Prediction:
    """Give the prediction of a payload that is held as it is."""
    assert isinstance(payload, Prediction), request_id
    return payload


class MemoryDriver:
    """Serve, join, log and folds of one task in one process, without Kafka.

    Time is that of the events; nothing waits. The log is folded entry by entry, so each request is scored
    by models which have learned everything that was due before it.

    Parameters
    ----------
    models
        Those that compete; all of the task's by default. The first answers until a command says otherwise.
    store
        The join's state; in memory by default.
    folds
        Further folds of the log.
    keep_log
        Whether to keep the entries in `log`.
    leave_out
        What no model learns from.

    Examples
    --------
    See docs/how-to/test-a-task.md.
    """

    def __init__(
        self,
        task: Task,
        models: Sequence[Model] | None = None,
        *,
        store: StateStore | None = None,
        folds: Sequence[Fold] = (),
        keep_log: bool = True,
        leave_out: LeaveOut = NOTHING,
    ) -> None:
        self.task = task
        chosen = tuple(models or task.models)
        self.aggregates = Aggregates(AggregateRules.of(task)) if task.aggregates else None
        self.models = [ModelFold(task, model, leave_out=leave_out) for model in chosen]
        self.metrics = [ServedMetrics(task, model) for model in chosen]
        self.server = Server(task, self.models)
        self.folds: list[Fold] = [*self.models, *self.metrics, *folds]
        rules = JoinRules.of(task, lockstep=True)
        self.join = Join(rules, store or MemoryStore(), unpacked, task.name, 0)
        self.log: list[Entry] = []
        self.rejected: list[tuple[Request, BadRecord]] = []
        """Requests of `run` that have no prediction, each with its reason."""
        self._keep_log = keep_log
        self._offset = 0
        self._asked = 0
        self._reported = 0
        for fold in self.models:
            opening = Entry(f"{task.name}/{fold.model.name}/revision/1", "command", 0, command=fold.opening())
            self._append(opening)

    # ------------------------------------------------------------------ one step

    def ask(self, request: Request) -> Prediction:
        """Score a request with the models as they are, and hold it until its outcome comes.

        Raises
        ------
        BadRecord
            For an impossible time, and as `Server.predict`.
        """
        self.server.times.check(request.ts, request.ts)
        at = Position("predictions", 0, self._asked)
        self._asked += 1
        found = {} if self.aggregates is None else self._aggregated(self.aggregates, request)
        prediction = self.server.predict(self.server.complete(request, found))
        arguments = (request.request_id, request.ts, prediction, at, request.ts, counter_of(prediction))
        self._do(lambda: self.join.prediction(*arguments))
        return prediction

    def _aggregated(self, aggregates: Aggregates, request: Request) -> dict[str, FeatureValue | None]:
        found = aggregates.take(request, aggregates.next_offset)
        aggregates.commit()
        return found

    def report(self, outcome: Outcome) -> None:
        """Report an outcome."""
        self.server.times.check(outcome.ts, outcome.ts)
        self._do(lambda: self.join.outcome(outcome, self._outcome_at(), outcome.ts))

    def complete(self, ts: int) -> None:
        """Declare the input complete up to and including a time: all that is due by then resolves."""
        self._do(lambda: self.join.punctuation(Punctuation(ts), self._outcome_at()), stamp=True)

    def command(self, command: Command, at: Situation = ALONE) -> Command:
        """Do a command, as the log's owner does, and what it sets off; returns it as it lies in the log.

        Parameters
        ----------
        at
            What it is checked against beside the roles; its wall clock is that of the entries.

        Raises
        ------
        CommandRejected
            It cannot be done now.
        """
        folds = {fold.model.name: fold for fold in self.models}
        at = replace(at, own=at.own or (command.author, command.authentication) == (GATE, ""))
        decided = decide_all(command, self.server.roles, folds, at=at)
        for each in decided:
            self._append(Entry(command_entry_id(self.task.name, each), "command", at.now, command=each))
        return decided[0]

    # ------------------------------------------------------------------ a whole stream

    def run(self, events: Iterable[Event]) -> Iterator[Prediction]:
        """Play events in the order of their request times; gives each prediction as it is made."""
        for step in schedule(events, self.join.rules.horizon_ms):
            if isinstance(step, Sync):
                for outcome in step.outcomes:
                    self.report(outcome)
                self.complete(step.ts)
            else:
                try:
                    yield self.ask(step)
                except BadRecord as bad:
                    self.rejected.append((step, bad))

    # ------------------------------------------------------------------ inside

    def _outcome_at(self) -> Position:
        at = Position("outcomes", 0, self._reported)
        self._reported += 1
        return at

    def _do(self, step: Callable[[], None], stamp: bool = False) -> None:
        step()
        if stamp:
            self.join.stamp()
        entries = self.join.out.entries
        self.join.commit()
        for entry in entries:
            self._append(entry)

    def _append(self, entry: Entry) -> None:
        for fold in self.folds:
            fold.apply(self._offset, entry)
        if self._keep_log:
            self.log.append(entry)
        self._offset += 1
