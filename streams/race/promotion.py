"""Which model of a race answers, which are dropped, and which come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from schemas.records import Entry
from streams.gate.promotion import Promotion, Wish
from streams.race.rules import Race
from streams.race.standings import Standings

PRESUMED: Final = 100
"""Requests after which the least sure model may answer, and is looked for again."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A model that no longer counts."""

    ts: int
    """Event time up to which the log was complete, ms."""
    against: str
    """The model that answered."""
    n: int
    """Matured requests of the race by then."""
    loss: float
    """Its mean loss on the newest of them."""
    low: float
    high: float
    """Bounds of its mean gain over the model that answered."""

    @property
    def why(self) -> str:
        """The reason in words."""
        return f"worse than {self.against}: gain {self.low:+.4f} to {self.high:+.4f}"


class RacePromotion(Promotion):
    """Follows the lowest mean loss; see `Race`. The tests against the model that answers are those of a gate."""

    gate: Race

    def __init__(self, task: str, race: Race, loss: str, models: Sequence[str]) -> None:
        super().__init__(task, race, loss, models)
        self.standings = Standings(race.recent)
        self.presumed = Standings(1)
        """Of the burn-in: mean losses over the possible labels of each request."""
        self.dropped: dict[str, Dropped] = {}
        self.since: dict[str, int] = {}
        """Event time (ms) of the first cohort in which a revived model counts."""

    @property
    def unproven(self) -> bool:
        """Whether the least sure model should answer."""
        return self.gate.start == "least_sure" and self.standings.n < self.gate.least

    def presume(self, models: Sequence[str], losses: tuple[float, ...]) -> None:
        """Take a request of the burn-in: by model, the mean loss over its possible labels."""
        order = sorted(range(len(models)), key=models.__getitem__)
        names = tuple([models[each] for each in order])
        self.presumed.settle({names: [tuple([losses[each] for each in order])]})

    def counts(self, model: str, start: int) -> bool:
        """Whether a model counts in the cohort that begins at an event time (ms)."""
        return model not in self.dropped and start >= self.since.get(model, start)

    def command(self, offset: int, entry: Entry, now: int) -> None:
        """See `Promotion.command`; a dropped model that answers counts again."""
        super().command(offset, entry, now)
        if self.incumbent in self.dropped:
            self._revive(self.incumbent, now)

    def judge(self, offset: int, now: int, blocked: str, sampled: float) -> None:
        """See `Promotion.judge`; revives and drops models as well."""
        standings = self.standings
        for name, dropped in list(self.dropped.items()):
            waited = standings.n - dropped.n >= self.gate.recent
            if waited and standings.recent_loss(self.incumbent) > dropped.loss:
                self._revive(name, now)
        super().judge(offset, now, blocked, sampled)
        for name, test in self.tests.items():
            if test.verdict == "worse" and name not in self.dropped and not self.roles.role(name).share:
                test.closed, test.why = True, test.why or f"dropped: worse than {self.incumbent}"
                self._verdicts[name] = test.verdict, True
                evidence = test.evidence(self._digest, self._loss, sampled)
                bounds = standings.recent_loss(name), evidence.low, evidence.high
                self.dropped[name] = Dropped(now, self.incumbent, standings.n, *bounds)
                self.plans.clear()

    def _revive(self, name: str, now: int) -> None:
        del self.dropped[name]
        self.tests.pop(name, None)
        self._verdicts.pop(name, None)
        self.since[name] = now
        self.plans.clear()

    def _wanted(self, now: int, blocked: str) -> Wish | None:
        answering = self.roles.answering
        if len(answering) != 1 or (self.standings.n < self.gate.least and not self.unproven):
            return None  # shared out by hand, or the burn-in
        best = self.least_sure() if self.unproven else self.best()
        if best == self.incumbent:
            return None
        if waits := "; ".join(each for each in (blocked, self.roles.rollout.paused(best)) if each):
            return Wish("hold", best, 0, waits)
        why = (
            "the least sure during the burn-in" if self.unproven else "the lowest mean loss on whole cohorts"
        )
        return Wish("promote", best, 100, why)

    def least_sure(self) -> str:
        """Return the model whose mean loss over the possible labels is lowest; by default the incumbent."""
        found = self.incumbent, 0.0
        for name, test in self.tests.items():
            n, gain = self.presumed.gain(self.incumbent, name)
            if n >= PRESUMED and gain > found[1] and not test.closed and name not in self.dropped:
                found = name, gain
        return found[0]

    def best(self) -> str:
        """Return the model that should answer: the incumbent, or what is better over all and recently."""
        found = self.incumbent, 0.0
        for name, test in self.tests.items():
            n, gain = self.standings.gain(self.incumbent, name)
            if test.closed or name in self.dropped or n < self.gate.least or gain <= found[1]:
                continue
            if self.standings.recent_gain(self.incumbent, name) > 0.0:
                found = name, gain
        return found[0]

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        return super().snapshot() | {
            "standings": self.standings.snapshot(),
            "presumed": self.presumed.snapshot(),
            "dropped": {name: asdict(each) for name, each in self.dropped.items()},
            "since": dict(self.since),
        }

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        super().restore(state)
        self.standings.restore(state["standings"])
        self.presumed.restore(state["presumed"])
        self.dropped = {name: Dropped(**each) for name, each in state["dropped"].items()}
        self.since = dict(state["since"])
