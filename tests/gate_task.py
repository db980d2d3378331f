"""A task whose two models answer with what stands in the request, so that a test decides who is better."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from river import base

from schemas import Category, Dictionary, Number
from schemas.event_time import EPOCH
from schemas.records import Command, Entry, Outcome, Request
from streams import DefaultAtHorizon, Event, Gate, MemoryDriver, Model, Task
from streams.gate.decision import Decision
from streams.policies import Policy
from streams.race.fold import gate_fold
from streams.rollout import Rollout
from streams.rollout_checks import Situation

DAY = 86_400_000


class Scripted(base.Classifier):
    """Answers with a feature; fails where it is missing."""

    def __init__(self, feature: str) -> None:
        self.feature = feature

    def learn_one(self, x: dict[Any, Any], y: Any, **kwargs: Any) -> None:
        """Learn nothing."""

    def predict_proba_one(self, x: dict[Any, Any], **kwargs: Any) -> dict[Any, float]:
        """Return the feature as the probability of True."""
        return {True: x[self.feature], False: 1.0 - x[self.feature]}


def make_task(gate: Gate | None = None, horizon_days: float = 5, policy: Policy | None = None) -> Task:
    """Make the task; silence until the horizon means False."""
    policy = policy or DefaultAtHorizon(False)
    return Task(
        name="scripted",
        question="Which model is better?",
        features=Dictionary(
            Number(name="a"), Number(name="b", optional=True), Category(name="c", missing="x")
        ),
        horizon=timedelta(days=horizon_days),
        earliest=EPOCH,
        models=(
            Model("a", Scripted, {"feature": "a"}, policy),
            Model("b", Scripted, {"feature": "b"}, policy),
        ),
        gate=gate,
    )


def quick(**changes: Any) -> Gate:
    """Return a gate that decides after few requests."""
    settings: dict[str, Any] = {
        "least": 200,
        "recent": 200,
        "steps": (10, 100),
        "hold": timedelta(hours=12),
        "decide": "promote",
    }
    return Gate(**settings | changes)


def event(
    number: int, ts: int, scores: tuple[float, float | None], outcome: int | None, c: str = "x"
) -> Event:
    """Make a request and its outcome, True `outcome` ms later; None: none ever comes."""
    values: dict[str, Any] = {"a": scores[0], "c": c} | ({} if scores[1] is None else {"b": scores[1]})
    request = Request(f"r{number}", ts, values, entity_key=f"e{number}")
    outcomes = () if outcome is None else (Outcome(request.request_id, ts + outcome, True),)
    return Event(request, outcomes)


def events(
    n: int,
    scores: Callable[[int, random.Random], tuple[float, float | None]],
    *,
    seed: int = 1,
    rate: float = 0.5,
    gap_ms: int = DAY // 100,
    delay_ms: int = 2 * DAY,
) -> Iterator[Event]:
    """Make requests, a share `rate` of which is positive."""
    draw = random.Random(seed)
    for number in range(n):
        delay = draw.randrange(1, delay_ms) if draw.random() < rate else None
        yield event(number, number * gap_ms, scores(number, draw), delay)


def twice_in(log: Sequence[Entry], behind: int = 50) -> Iterator[Entry]:
    """Give a log in which each joined entry is there again, `behind` entries later."""
    for at, entry in enumerate(log):
        yield entry
        if at >= behind and log[at - behind].prediction is not None:
            yield log[at - behind]


class Loop:
    """The loop in memory with its gate; does what the gate proposes."""

    def __init__(self, task: Task, *, obey: bool = True) -> None:
        self.gate = gate_fold(task)
        self.driver = MemoryDriver(task, folds=[self.gate])
        self.obey = obey
        self.done: list[Decision] = []

    def run(self, made: Any) -> Loop:
        """Play events; afterwards all of them have resolved."""
        for _ in self.driver.run(made):
            self.act()
        self.driver.complete(self.driver.join.stream_time + 3 * DAY)
        self.act()
        return self

    def act(self) -> None:
        """Do what is proposed."""
        proposal = self.gate.proposal()
        if self.obey and proposal is not None:
            self.driver.command(proposal.command())
            self.done.append(proposal)

    def own(self) -> Decision | None:
        """Do the next decision that the log does not have, as the log's owner does; gives it."""
        found = next(iter(self.gate.unlogged()), None)
        if found is not None:
            self.driver.command(found.logged(), Situation(gate=self.gate))
        return found

    def ask(self, name: Any, model: str = "", **arguments: Any) -> Command:
        """Do a command of a person at the wall clock `now`; `author` and `authentication` are hers."""
        now = arguments.pop("now", 0)
        who = arguments.pop("author", "ada"), "a test", f"c-{self.gate.next_offset}"
        known = arguments.pop("authentication", "token")
        command = Command(name, model, arguments, *who, known)
        return self.driver.command(command, Situation(now, self.gate))

    @property
    def rollout(self) -> Rollout:
        """Proposals and pauses at the end of the log."""
        return self.driver.server.roles.rollout

    @property
    def said(self) -> list[tuple[str, str, int]]:
        """Action, challenger and share of each decision."""
        return [(each.action, each.challenger, each.share) for each in self.gate.decisions()]

    @property
    def actions(self) -> list[tuple[str, str, int]]:
        """The same of those that were done."""
        return [(each.action, each.challenger, each.share) for each in self.done]
