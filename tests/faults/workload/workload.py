"""The seeded workload of a run, in the order in which it is sent."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from schemas.codec.checks import TaskKind
from schemas.dictionary import Dictionary
from schemas.records import Request
from streams.examples import synthetic_examples
from streams.join.join_rules import JoinRules
from tests.faults.workload.draft import Draft
from tests.faults.workload.plan import Plan, SentRecord
from tests.faults.workload.scenarios import SCENARIOS, Scenario

START_TS: Final = 1_704_067_200_000
"""Start of event time: 2024-01-01 UTC, so that the run ends before the wall clock."""
PER_GRACE: Final = 2400
"""Requests in one grace period: more than are ever in flight."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some requests, and every outcome due up to the last of them; the outcomes are sent and acknowledged first."""

    outcomes: tuple[SentRecord, ...]
    requests: tuple[SentRecord, ...]
    end: int
    """Planned requests sent with this block and those before it."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: the same seed gives the same records.

    Parameters
    ----------
    seed
        Of every choice.
    count
        Planned requests; the closing ones are extra.
    features, kind
        Of the task.
    rules
        The join's times; the interval between requests follows from them.
    closing
        Ids of the requests that end the run, one for each partition: at their time everything else is due.

    Examples
    --------
    >>> from schemas.dictionary import Boolean
    >>> rules = JoinRules(60_000, 60_000, 60_000, 60_000, 300_000)
    >>> workload = Workload(7, 3, Dictionary(Boolean(name="new")), "binary", rules, ("end",))
    >>> for plan in workload.plans():
    ...     print(plan.request.request_id, plan.scenario, [step.kind for step in plan.steps])
    r0 on_time ['labelled']
    r1 before_the_prediction ['labelled']
    r2 on_time ['labelled']
    """

    seed: int
    count: int
    features: Dictionary
    kind: TaskKind
    rules: JoinRules
    closing: Sequence[str]
    step_ms: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "step_ms", max(1, self.rules.grace_ms // PER_GRACE))

    @property
    def last_ts(self) -> int:
        """A time after the last planned request (ms UTC)."""
        return START_TS + self.count * self.step_ms

    @property
    def closing_ts(self) -> int:
        """The time of the closing requests (ms UTC): everything else has expired or been forgotten by then."""
        rules = self.rules
        return self.last_ts + max(rules.horizon_ms, rules.early_horizon_ms) + rules.grace_ms + 1

    def remembers(self, plan: Plan) -> bool:
        """Whether the join still remembers a request after the closing ones."""
        rules = self.rules
        until = plan.request.ts + rules.horizon_ms + rules.revision_horizon_ms
        return until >= self.closing_ts - rules.grace_ms

    def plans(self) -> Iterator[Plan]:
        """Generate the plan of every request, in the order of their times."""
        chance = random.Random(self.seed)
        scenarios, weights = [*SCENARIOS], [*SCENARIOS.values()]
        last_ts = self.last_ts
        examples = synthetic_examples(self.features, self.kind, self.count, self.seed)
        drawn: list[Scenario] = []
        for number, (features, value) in enumerate(examples):
            drawn = drawn or chance.choices(scenarios, weights, k=1000)
            scenario = drawn.pop()
            ts = START_TS + number * self.step_ms + chance.randrange(self.step_ms)
            request = Request(f"r{number}", ts, features)
            draft = Draft(number, request, value, self.rules, chance, last_ts)
            scenario(draft)
            yield draft.plan(scenario.__name__)

    def blocks(self, size: int) -> Iterator[Block]:
        """Generate all records, `size` requests at a time; the closing requests come last.

        The outcomes due within a block are sent before its requests. Only outcomes are early by that, and they
        never advance stream time.
        """
        due: list[tuple[int, int, int, SentRecord]] = []
        plans, end = self.plans(), 0
        while chunk := list(islice(plans, size)):
            requests: list[SentRecord] = []
            for plan in chunk:
                for index, record in enumerate(plan.sent_records):
                    if record.input == "requests":
                        requests.append(record)
                    else:
                        heapq.heappush(due, (record.ts, plan.number, index, record))
            end += len(chunk)
            yield Block(tuple(_due(due, chunk[-1].request.ts)), tuple(requests), end)
        yield Block(tuple(_due(due, None)), tuple(self._closing()), end)

    def _closing(self) -> Iterator[SentRecord]:
        examples = synthetic_examples(self.features, self.kind, len(self.closing), self.seed + 1)
        ts = self.closing_ts
        for name, (features, _) in zip(self.closing, examples, strict=True):
            yield SentRecord("requests", name, ts, Request(name, ts, features))


def _due(pending: list[tuple[int, int, int, SentRecord]], until: int | None) -> Iterator[SentRecord]:
    while pending and (until is None or pending[0][0] <= until):
        yield heapq.heappop(pending)[3]
