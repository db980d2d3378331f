"""A race over a history: scores in, decisions and a leaderboard out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from schemas.records import Command, Entry, Prediction, Score, ScoreValue
from streams.commands import command_entry_id
from streams.gate.wager import interval
from streams.policies import label_of
from streams.race.fold import Losses, RaceFold
from streams.race.history import History
from streams.race.rules import Race
from streams.task import Task
from streams.task_model import Model

DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Change:
    """Something that the race did with a model."""

    ts: int
    """Event time up to which the log was complete, ms."""
    n: int
    """Matured requests by then."""
    model: str
    action: str
    """`leads`, `dropped` or `revived`."""
    why: str


class Contest:
    """Folds a history with the models' scores into a race, as the log of a live loop would be.

    The result depends on the history, the models and the race only: not on how the history is cut into parts.

    Parameters
    ----------
    models
        The first answers at the beginning.
    """

    def __init__(self, task: Task, history: History, models: Sequence[Model], race: Race) -> None:
        self.task, self.history, self.models, self.race = task, history, tuple(models), race
        own = replace(task, models=self.models, challengers=None, gate=race, fallback=None)
        self.fold = RaceFold(own, race)
        self.fold.counted = self._count
        self.scores: dict[str, list[ScoreValue]] = {model.name: [] for model in self.models}
        """By model, of the requests in their order, as far as they were given."""
        self.changes: list[Change] = []
        self.served: list[str] = []
        """Of each request: the model that answered."""
        self.cohorts: list[dict[tuple[str, ...], list[Losses]]] = []
        self._numbers = {each.request_id: number for number, each in enumerate(history.requests)}
        self._labels: dict[int, Any] = {}
        self._next = self._offset = 0
        self._dropped: dict[str, str] = {}
        for model in self.models:
            self._command(Command("revision", model.name, {"revision": "1", "spec": task.spec(model)}))

    @property
    def live(self) -> list[str]:
        """The models whose scores are needed."""
        return [model.name for model in self.models if model.name not in self.fold.promotion.dropped]

    @property
    def leader(self) -> str:
        """The model that answers."""
        return self.fold.promotion.incumbent

    def give(self, model: str, scores: Sequence[ScoreValue]) -> None:
        """Take the next scores of a model."""
        self.scores[model] += scores

    def advance(self, end: int) -> list[str]:
        """Fold entries before the number `end`.

        Returns
        -------
        list of str
            Models that were revived and that lack scores: give them up to `end`, and call it again. Empty: done.
        """
        last = end >= len(self.history.entries)
        asked = len(self.history.requests) if last else self._asked_before(end)
        while self._next < end:
            lacking = [name for name in self.live if len(self.scores[name]) < asked]
            if lacking:
                return lacking
            self._answer(self._next)
            self._apply(self.history.entries[self._next])
            self._next += 1
        if last:
            self._answer(len(self.history.entries))
        return []

    def _asked_before(self, end: int) -> int:
        places = self.history.places
        at = len(self.served)
        while at < len(places) and places[at] < end:
            at += 1
        return at

    def _answer(self, number: int) -> None:
        places = self.history.places
        while len(self.served) < len(places) and places[len(self.served)] <= number:
            self.served.append(self.leader)

    def _apply(self, entry: Entry) -> None:
        prediction = entry.prediction
        number = None if prediction is None else self._numbers.get(prediction.request_id)
        if prediction is not None and number is not None:
            label = label_of(self.models[0].policy, entry, self.task.kind)
            if label is not None:
                self._labels[number] = label.value
            entry = replace(entry, prediction=self._scored(prediction, number))
        self.fold.apply(self._offset, entry)
        self._offset += 1
        proposal = self.fold.proposal()
        if proposal is not None:
            command = proposal.command()
            self._command(command)
            self._note(command.model, "leads", proposal.reason)
        self._note_dropped()

    def _scored(self, prediction: Prediction, number: int) -> Prediction:
        served = self.served[number] if number < len(self.served) else self.leader
        names = [name for name in self.live if number < len(self.scores[name])]
        names.sort(key=lambda name: name != served)
        return replace(
            prediction, scores=tuple(Score(name, 1, -1, self.scores[name][number]) for name in names)
        )

    def _command(self, command: Command) -> None:
        entry = Entry(command_entry_id(self.task.name, command), "command", 0, command=command)
        self.fold.apply(self._offset, entry)
        self._offset += 1

    def _note_dropped(self) -> None:
        dropped = self.fold.promotion.dropped
        if dropped.keys() == self._dropped.keys():
            return
        for name in dropped.keys() - self._dropped.keys():
            self._note(name, "dropped", dropped[name].why)
        for name in self._dropped.keys() - dropped.keys():
            self._note(name, "revived", "the answering model's loss has risen")
        self._dropped = {name: each.why for name, each in dropped.items()}

    def _note(self, model: str, action: str, why: str) -> None:
        n = self.fold.promotion.standings.n
        self.changes.append(Change(self.fold.mark, n, model, action, why))

    def _count(self, cohort: dict[tuple[str, ...], list[Losses]]) -> None:
        self.cohorts.append(cohort)

    # ------------------------------------------------------------------ what came out

    def leaderboard(self) -> list[dict[str, Any]]:
        """Return a row for each model, the lowest loss first: plain data.

        `gain` is that over the leader, on the whole cohorts in which both count, with bounds at the race's alpha
        for all pairs together. `loss` is the leader's less the gain.
        """
        pairs = len(self.models) * max(1, len(self.models) - 1)
        rows = [self._row(model, self.race.alpha / pairs) for model in self.models]
        return sorted(rows, key=lambda row: (row["status"] != "leads", row["loss"], row["model"]))

    def _row(self, model: Model, alpha: float) -> dict[str, Any]:
        name, leader = model.name, self.leader
        lows, highs, middles = list[float](), list[float](), list[float]()
        for cohort in self.cohorts:
            for names, rows in cohort.items():
                if leader in names and name in names:
                    a, b = names.index(leader), names.index(name)
                    for losses in rows:
                        gains = [each[a] - each[b] for each in losses]
                        lows.append(min(gains))
                        highs.append(max(gains))
                        middles.append(math.fsum(gains) / len(gains))
        n = len(middles)
        gain = math.fsum(middles) / n if n else math.nan
        bounds = (math.nan, math.nan)
        if name == leader:
            bounds = (0.0, 0.0)
        elif n:
            squares = math.fsum(x * x for x in lows), math.fsum(x * x for x in highs)
            bounds = interval(n, math.fsum(lows), math.fsum(highs), squares, alpha)
        dropped = self.fold.promotion.dropped.get(name)
        return {
            "model": name,
            "parameters": dict(model.parameters),
            "status": "leads" if name == leader else "dropped" if dropped else "races",
            "loss": self._leader_loss() - gain,
            "gain": gain,
            "low": bounds[0],
            "high": bounds[1],
            "n": n,
            "why": dropped.why if dropped else "",
            "dropped_at": dropped.ts if dropped else None,
            "requests": len(self.scores[name]),
        }

    def _leader_loss(self) -> float:
        leader, found = self.leader, list[float]()
        for cohort in self.cohorts:
            for names, rows in cohort.items():
                if leader in names:
                    at = names.index(leader)
                    found += [math.fsum(each[at] for each in losses) / len(losses) for losses in rows]
        return math.fsum(found) / len(found) if found else math.nan

    def served_loss(self) -> float:
        """Return the mean loss of the scores that would have answered, under the last label of each request."""
        gain = self.race.gain(self.task.kind)
        found = [
            gain.loss_of(self.scores[self.served[number]][number], value)
            for number, value in sorted(self._labels.items())
            if value is not None
        ]
        return math.fsum(found) / len(found) if found else math.nan

    def fixed_losses(self) -> Mapping[str, float]:
        """Return the same of each model alone, where it has scored all requests."""
        gain, whole = self.race.gain(self.task.kind), len(self.history.requests)
        known = [(number, value) for number, value in sorted(self._labels.items()) if value is not None]
        return {
            name: math.fsum(gain.loss_of(scores[number], value) for number, value in known) / len(known)
            for name, scores in self.scores.items()
            if known and len(scores) == whole
        }
