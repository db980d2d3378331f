"""A race as a fold of the log: the gate's cohorts, and another rule for what follows from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from schemas.records import Entry, Prediction
from streams.gate.fold import GateFold
from streams.gate.held import Item, Who
from streams.gate.promotion import OUTAGE
from streams.race.promotion import PRESUMED, RacePromotion
from streams.race.rules import Race
from streams.task import Task

Losses = tuple[tuple[float, ...], ...]
"""Of a request: for its label, or for each that it may have, the loss of each model."""


class RaceFold(GateFold):
    """Compares all models with each other on whole cohorts; see `Race` and `GateFold`.

    Parameters
    ----------
    task
        The task; its first model answers until the log says otherwise.
    race
        By default that of the task.
    models
        Names of the models that compete; all of the task's by default.
    """

    promotion: RacePromotion

    def __init__(self, task: Task, race: Race | None = None, models: Sequence[str] | None = None) -> None:
        race = race or (task.gate if isinstance(task.gate, Race) else Race())
        super().__init__(task, race, models)
        names = self.promotion.models
        self.promotion = RacePromotion(task.name, race, race.loss_text(task.kind), names)
        self._gains = race.gain(task.kind)
        self.counted: Callable[[dict[tuple[str, ...], list[Losses]]], None] = lambda cohort: None
        """Called with each cohort: by the models that count, the losses on its requests."""

    def _take(self, offset: int, entry: Entry, prediction: Prediction) -> None:
        held = self.held.count
        super()._take(offset, entry, prediction)
        if self.held.count > held and self.promotion.unproven:
            competing = [each for each in prediction.scores if each.model in self.promotion.models]
            values = [each.score for each in competing]
            labels = self._gains.labels(*values)  # its own is not read: early ones are of one kind
            mean = _mean(
                tuple([tuple([self._gains.loss_of(each, label) for each in values]) for label in labels])
            )
            self.promotion.presume([each.model for each in competing], mean)
            if self.promotion.presumed.n % PRESUMED == 0:
                who: Who = tuple([(each.model, each.revision) for each in prediction.scores])
                self.promotion.plan(who, self.mark)
                blocked = "" if self.outages.live else OUTAGE
                self.promotion.judge(offset, self.mark, blocked, 0.5**self.held.halvings)

    def _count(self, items: list[Item]) -> None:
        start, competing = self._closed - self.held.width_ms, set(self.promotion.models)
        kept: list[Item] = []
        cohort: dict[tuple[str, ...], list[Losses]] = {}
        for item in items:
            ts, offset, who, scores, label, silent, extra = item
            places = [
                place
                for place, (name, _) in enumerate(who)
                if name in competing and self.promotion.counts(name, start)
            ]
            if len(places) < len(who):
                who, scores = tuple(who[each] for each in places), tuple(scores[each] for each in places)
                item = ts, offset, who, scores, label, silent, extra  # noqa: PLW2901  the same request
            kept.append(item)
            hit = silent and self.outages.spans and self.outages.hit(ts)
            labels = self._gains.labels(*scores) if label is None or hit else [label]
            losses = tuple([tuple([self._gains.loss_of(each, value) for each in scores]) for value in labels])
            cohort.setdefault(tuple([name for name, _ in who]), []).append(losses)
        super()._count(kept)
        ordered: dict[tuple[str, ...], list[Losses]] = {}
        for names, rows in cohort.items():  # the model that answers comes first in a prediction
            order = sorted(range(len(names)), key=names.__getitem__)
            into = ordered.setdefault(tuple(names[each] for each in order), [])
            into += [tuple(tuple(row[each] for each in order) for row in losses) for losses in rows]
        self.counted(ordered)
        self.promotion.standings.settle({names: map(_mean, rows) for names, rows in ordered.items()})


def _mean(losses: Losses) -> tuple[float, ...]:
    if len(losses) == 1:
        return losses[0]
    return tuple([math.fsum(column) / len(losses) for column in zip(*losses, strict=True)])


def gate_fold(task: Task, gate: object = None, models: Sequence[str] | None = None) -> GateFold:
    """Return the fold of a gate, or of a race; by default of the task's."""
    gate = gate or task.gate
    if isinstance(gate, Race):
        return RaceFold(task, gate, models)
    return GateFold(task, gate, models)  # type: ignore[arg-type]  # a Gate or None
