"""The seeded workload of a ledger, in the order in which the world sends it."""

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
from streams.join.rules import JoinRules
from streams.ledger.fates import FATES, Draft, Fate
from streams.ledger.plan import Plan, Sending

START_TS: Final = 1_704_067_200_000
"""Where event time begins: 2024-01-01 UTC, so that the run ends before the clock."""
PER_GRACE: Final = 2400
"""So many requests fall into one grace period: more than are ever under way at once."""


@dataclass(frozen=True, slots=True)
class Block:
    """Some requests, and every outcome that is due up to the last of them, which is sent and acknowledged first."""

    outcomes: tuple[Sending, ...]
    requests: tuple[Sending, ...]
    end: int
    """So many planned requests are sent with this block and those before it."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload: the same seed gives the same records.

    Parameters
    ----------
    seed
        Of every choice.
    count
        Requests, beside the closing ones.
    features, kind
        Of the task.
    rules
        The join's times; they say how far apart the requests are.
    closing
        Ids of the requests that end the run, one for each partition: their time makes everything else fall due.

    Examples
    --------
    >>> from schemas.dictionary import Boolean
    >>> rules = JoinRules(60_000, 60_000, 60_000, 60_000, 300_000)
    >>> workload = Workload(7, 3, Dictionary(Boolean(name="new")), "binary", rules, ("end",))
    >>> for plan in workload.plans():
    ...     print(plan.request.request_id, plan.fate, [step.kind for step in plan.steps])
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
        """A time after the last request but the closing ones."""
        return START_TS + self.count * self.step_ms

    @property
    def closing_ts(self) -> int:
        """The time of the closing requests: everything else has expired or been given up by then."""
        rules = self.rules
        return self.last_ts + max(rules.horizon_ms, rules.early_horizon_ms) + rules.grace_ms + 1

    def remembers(self, plan: Plan) -> bool:
        """Whether the join still remembers a request after the closing ones."""
        rules = self.rules
        until = plan.request.ts + rules.horizon_ms + rules.revision_horizon_ms
        return until >= self.closing_ts - rules.grace_ms

    def plans(self) -> Iterator[Plan]:
        """Give the plan of every request, in the order of their times."""
        chance = random.Random(self.seed)  # noqa: S311  repeatable, not secret
        fates, weights = [*FATES], [*FATES.values()]
        last_ts = self.last_ts
        examples = synthetic_examples(self.features, self.kind, self.count, self.seed)
        drawn: list[Fate] = []
        for number, (features, value) in enumerate(examples):
            drawn = drawn or chance.choices(fates, weights, k=1000)
            fate = drawn.pop()
            ts = START_TS + number * self.step_ms + chance.randrange(self.step_ms)
            request = Request(f"r{number}", ts, features)
            draft = Draft(number, request, value, self.rules, chance, last_ts)
            fate(draft)
            yield draft.plan(fate.__name__)

    def blocks(self, size: int) -> Iterator[Block]:
        """Give all that is sent, some requests at a time; the closing ones come last.

        What is due within a block is sent before its requests. Only outcomes get ahead by that, and those never
        move time.
        """
        due: list[tuple[int, int, int, Sending]] = []
        plans, end = self.plans(), 0
        while chunk := list(islice(plans, size)):
            requests: list[Sending] = []
            for plan in chunk:
                for index, sending in enumerate(plan.sendings):
                    if sending.side == "requests":
                        requests.append(sending)
                    else:
                        heapq.heappush(due, (sending.ts, plan.number, index, sending))
            end += len(chunk)
            yield Block(tuple(_due(due, chunk[-1].request.ts)), tuple(requests), end)
        yield Block(tuple(_due(due, None)), tuple(self._closing()), end)

    def _closing(self) -> Iterator[Sending]:
        examples = synthetic_examples(self.features, self.kind, len(self.closing), self.seed + 1)
        ts = self.closing_ts
        for name, (features, _) in zip(self.closing, examples, strict=True):
            yield Sending("requests", name, ts, Request(name, ts, features))


def _due(waiting: list[tuple[int, int, int, Sending]], until: int | None) -> Iterator[Sending]:
    while waiting and (until is None or waiting[0][0] <= until):
        yield heapq.heappop(waiting)[3]
