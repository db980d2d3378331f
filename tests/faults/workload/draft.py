"""A plan while a scenario fills it in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from schemas.records import Kind, Outcome, Request, Value
from streams.examples import CLASSES
from streams.join.join_rules import JoinRules
from tests.faults.workload.plan import Input, Plan, SentRecord, Step


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
        The event time at which the requests end: nothing is drawn that would be decided only after the run.
    """

    number: int
    request: Request
    value: Value
    rules: JoinRules
    random: random.Random
    last_ts: int
    sent_records: list[SentRecord] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    dead_letters: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def deadline(self) -> int:
        """The last event time that is in time (ms UTC)."""
        return self.request.ts + self.rules.horizon_ms

    def send_request(self) -> None:
        """Send the request."""
        name, ts = self.request.request_id, self.request.ts
        self.sent_records.append(SentRecord("requests", name, ts, self.request, self.random.random() < 0.05))

    def send_outcome(
        self, ts: int, value: Value, revision: int | None = None, *, alone: bool = False, name: str = ""
    ) -> Outcome:
        """Send an outcome; `alone` says that no other has its id."""
        name = name or self.request.request_id
        outcome = Outcome(name, ts, value, revision, None if value is not None else "the truth was lost")
        json = self.random.random() < 0.05
        self.sent_records.append(SentRecord("outcomes", name, ts, outcome, json, movable=alone))
        return outcome

    def send_bytes(self, topic: Input, data: bytes, reason: str) -> None:
        """Send malformed bytes, and expect their dead letter."""
        name, ts = self.request.request_id, self.request.ts
        self.sent_records.append(SentRecord(topic, name, ts, data))
        self.dead_letters.append((reason, name))

    def expect(self, kind: Kind, outcome: Outcome | None = None, late: bool = False) -> None:
        """Expect an entry."""
        if outcome is None:
            self.steps.append(Step(kind, self.deadline))
        else:
            by: Literal["event_time"] | None = "event_time" if late else None
            self.steps.append(Step(kind, outcome.ts, outcome.value, outcome.revision, by))

    def expect_count(self, name: str) -> None:
        """Expect the join to count something once."""
        self.counts[name] = self.counts.get(name, 0) + 1

    def between(self, low: int, high: int) -> int:
        """Draw a time in [low, high]."""
        return self.random.randint(low, max(low, high))

    def in_time(self) -> int:
        """Draw a time within the horizon, early ones more often."""
        share = self.random.random() ** 2
        return self.request.ts + int(share * self.rules.horizon_ms)

    def other(self, value: Value) -> Value:
        """Return another value of the same kind."""
        if isinstance(value, bool):
            return not value
        if isinstance(value, str):
            return CLASSES[(CLASSES.index(value) + 1) % len(CLASSES)]
        assert value is not None
        return value + 1.0

    def plan(self, scenario: str) -> Plan:
        """Complete the plan."""
        return Plan(
            self.number,
            scenario,
            self.request,
            tuple(self.sent_records),
            tuple(self.steps),
            tuple(self.dead_letters),
            dict(self.counts),
        )
