"""The fates that a request of the ledger may have: each says what is sent, and what must come of it.

What must come is written down here by hand, from the join's table and not by running the join.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from schemas.records import Kind, Outcome, Request, Value
from streams.examples import CLASSES
from streams.join.rules import JoinRules
from streams.ledger.plan import Plan, Sending, Step

NOBODY: Final = "nobody-"
"""Ids that were never asked begin so, with the number of the request they came with."""
BROKEN: Final = (
    (b"\xfe\xfeneither JSON nor Avro", "unreadable"),
    (b'{"request_id": "cut short', "malformed"),
    (b"\x00\x00\x00\x00\x01framed", "registry_framing"),
    (b'{"request_id": "x", "ts": 1}', "missing_field"),
    (b'{"request_id": "x", "ts": "noon"}', "wrong_type"),
)
"""Bytes that no topic accepts, with the reason that must be given."""


@dataclass(slots=True)
class Draft:
    """A plan in the making.

    Parameters
    ----------
    number, request, value
        Of the request, and its true value.
    rules
        The join's times.
    random
        Seeded.
    last_ts
        The event time at which the requests end: what would be decided only after the run is not drawn.
    """

    number: int
    request: Request
    value: Value
    rules: JoinRules
    random: random.Random
    last_ts: int
    sendings: list[Sending] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    letters: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def deadline(self) -> int:
        """The last moment that is in time."""
        return self.request.ts + self.rules.horizon_ms

    def ask(self) -> None:
        """Send the request."""
        name, ts = self.request.request_id, self.request.ts
        self.sendings.append(Sending("requests", name, ts, self.request, self.random.random() < 0.05))

    def tell(
        self, ts: int, value: Value, revision: int | None = None, *, alone: bool = False, name: str = ""
    ) -> Outcome:
        """Send an outcome; `alone` says that no other has its id."""
        name = name or self.request.request_id
        outcome = Outcome(name, ts, value, revision, None if value is not None else "the truth was lost")
        json = self.random.random() < 0.05
        self.sendings.append(Sending("outcomes", name, ts, outcome, json, movable=alone))
        return outcome

    def step(self, kind: Kind, outcome: Outcome | None = None, late: bool = False) -> None:
        """Expect an entry."""
        if outcome is None:
            self.steps.append(Step(kind, self.deadline))
        else:
            by: Literal["event_time"] | None = "event_time" if late else None
            self.steps.append(Step(kind, outcome.ts, outcome.value, outcome.revision, by))

    def count(self, name: str) -> None:
        """Expect the join to count something."""
        self.counts[name] = self.counts.get(name, 0) + 1

    def between(self, low: int, high: int) -> int:
        """Draw a time in [low, high]."""
        return self.random.randint(low, max(low, high))

    def in_time(self) -> int:
        """Draw a time within the horizon, more often soon than late."""
        share = self.random.random() ** 2
        return self.request.ts + int(share * self.rules.horizon_ms)

    def other(self, value: Value) -> Value:
        """Give another value of the same kind."""
        if isinstance(value, bool):
            return not value
        if isinstance(value, str):
            return CLASSES[(CLASSES.index(value) + 1) % len(CLASSES)]
        assert value is not None
        return value + 1.0

    def plan(self, fate: str) -> Plan:
        """Finish it."""
        return Plan(
            self.number,
            fate,
            self.request,
            tuple(self.sendings),
            tuple(self.steps),
            tuple(self.letters),
            self.counts,
        )


def on_time(draft: Draft) -> None:
    """Let the outcome come within the horizon."""
    draft.ask()
    draft.step("labelled", draft.tell(draft.in_time(), draft.value, alone=True))


def at_the_deadline(draft: Draft) -> None:
    """Let the outcome come at the last moment that is in time."""
    draft.ask()
    draft.step("labelled", draft.tell(draft.deadline, draft.value, alone=True))


def before_the_prediction(draft: Draft) -> None:
    """Send the outcome before the request, within the tolerance."""
    ts = draft.between(draft.request.ts - draft.rules.tolerance_ms, draft.request.ts)
    draft.step("labelled", draft.tell(ts, draft.value, alone=True))
    draft.ask()


def asked_twice(draft: Draft) -> None:
    """Repeat the request; the first prediction stands."""
    draft.ask()
    draft.ask()
    draft.count("duplicate_prediction")
    draft.step("labelled", draft.tell(draft.in_time(), draft.value))


def same_bytes(draft: Draft) -> None:
    """Send the outcome twice, the same bytes."""
    draft.ask()
    draft.step("labelled", draft.tell(draft.in_time(), draft.value))
    draft.sendings.append(draft.sendings[-1])
    draft.count("duplicate_outcome")


def same_value(draft: Draft) -> None:
    """Report the outcome again later, with the same value."""
    draft.ask()
    ts = draft.in_time()
    draft.step("labelled", draft.tell(ts, draft.value))
    draft.tell(draft.between(ts + 1, draft.deadline + draft.rules.revision_horizon_ms), draft.value)
    draft.count("duplicate_outcome")


def revised(draft: Draft) -> None:
    """Correct the outcome later: a refund, a chargeback."""
    draft.ask()
    ts = draft.in_time()
    draft.step("labelled", draft.tell(ts, draft.value))
    ts = draft.between(ts + 1, draft.deadline + draft.rules.revision_horizon_ms)
    draft.step("revised", draft.tell(ts, draft.other(draft.value)))


def numbered(draft: Draft) -> None:
    """Corrections carry revision numbers; an old one that comes late changes nothing."""
    draft.ask()
    value, ts = draft.value, draft.in_time()
    most = draft.rules.revision_horizon_ms // 4
    draft.step("labelled", draft.tell(ts, value, 1))
    for revision in (2, 4):
        value, ts = draft.other(value), draft.between(ts + 1, ts + most)
        draft.step("revised", draft.tell(ts, value, revision))
    draft.tell(ts + 1, draft.other(value), 3)
    draft.count("stale_revision")


def unavailable(draft: Draft) -> None:
    """Say that the truth is lost, and find it after all."""
    draft.ask()
    ts = draft.in_time()
    draft.step("unavailable", draft.tell(ts, None))
    ts = draft.between(ts + 1, draft.deadline + draft.rules.revision_horizon_ms)
    draft.step("revised", draft.tell(ts, draft.value))


def withdrawn(draft: Draft) -> None:
    """Withdraw the outcome."""
    draft.ask()
    ts = draft.in_time()
    draft.step("labelled", draft.tell(ts, draft.value))
    draft.step("unavailable", draft.tell(draft.between(ts + 1, draft.deadline), None))


def just_late(draft: Draft) -> None:
    """Let the outcome come one millisecond after the deadline."""
    draft.ask()
    draft.step("expired")
    draft.step("late", draft.tell(draft.deadline + 1, draft.value, alone=True), late=True)


def after_expiry(draft: Draft) -> None:
    """Let the outcome come after the expiry, and sometimes be corrected once more."""
    draft.ask()
    draft.step("expired")
    rules = draft.rules
    last = draft.deadline + rules.revision_horizon_ms
    soonest = min(rules.grace_ms, rules.revision_horizon_ms // 2) + 1
    ts = draft.between(draft.deadline + soonest, last - 1)
    draft.step("late", draft.tell(ts, draft.value), late=True)
    if draft.random.random() < 0.5:
        draft.step("revised", draft.tell(draft.between(ts + 1, last), draft.other(draft.value)), late=True)


def never(draft: Draft) -> None:
    """Send no outcome."""
    draft.ask()
    draft.step("expired")


def forgotten(draft: Draft) -> None:
    """Let the outcome come when nobody remembers the request."""
    ts = draft.deadline + draft.rules.revision_horizon_ms + draft.random.randint(1, 1000)
    never(draft)
    if ts <= draft.last_ts:
        draft.tell(ts, draft.value, alone=True)
        draft.letters.append(("unknown_or_forgotten", draft.request.request_id))


def impossible(draft: Draft) -> None:
    """Claim that the outcome is older than its request, beyond the tolerance."""
    never(draft)
    draft.tell(draft.request.ts - draft.rules.tolerance_ms - 1, draft.value)
    draft.letters.append(("outcome_before_request", draft.request.request_id))


def unknown(draft: Draft) -> None:
    """Name a request that was never sent."""
    name = f"{NOBODY}{draft.number}"
    draft.tell(draft.request.ts, draft.value, alone=True, name=name)
    draft.letters.append(("unknown_or_forgotten", name))
    on_time(draft)


def malformed_request(draft: Draft) -> None:
    """Send a request that nobody can read, then the good one."""
    _broken(draft, "requests")
    on_time(draft)


def malformed_outcome(draft: Draft) -> None:
    """Send an outcome that nobody can read, then a good one."""
    draft.ask()
    _broken(draft, "outcomes")
    draft.step("labelled", draft.tell(draft.in_time(), draft.value, alone=True))


def _broken(draft: Draft, side: Literal["requests", "outcomes"]) -> None:
    data, reason = draft.random.choice(BROKEN)
    name, ts = draft.request.request_id, draft.request.ts
    draft.sendings.append(Sending(side, name, ts, data))
    draft.letters.append((reason, name))


class Fate(Protocol):
    """Fills a draft in."""

    __name__: str

    def __call__(self, draft: Draft) -> None:
        """Say what is sent, and what must come of it."""


FATES: Final[dict[Fate, int]] = {
    on_time: 44,
    at_the_deadline: 2,
    before_the_prediction: 5,
    asked_twice: 3,
    same_bytes: 4,
    same_value: 3,
    revised: 6,
    numbered: 3,
    unavailable: 2,
    withdrawn: 2,
    just_late: 2,
    after_expiry: 5,
    never: 12,
    forgotten: 2,
    impossible: 1,
    unknown: 2,
    malformed_request: 1,
    malformed_outcome: 1,
}
"""How often each is drawn, of a hundred."""
