"""What must be found after a run, summed over the plans: counts, dead letters, what is still remembered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.records import Outcome
from streams.ledger.plan import Plan, Step
from streams.ledger.workload import Workload


@dataclass(slots=True)
class Expected:
    """What the plans taken so far demand; memory does not grow with what needs no remembering.

    Parameters
    ----------
    workload
        Whose plans are taken.
    """

    workload: Workload
    taken: int = 0
    """Plans taken."""
    counts: Counter[str] = field(default_factory=Counter)
    """What the joins must have counted, over all partitions."""
    letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Dead letters by reason and key."""
    remembered: dict[str, Step] = field(default_factory=dict)
    """What the joins must hold at the end, by request id: the last entry about it."""
    asked: bytearray = field(default_factory=bytearray)
    """By number: how often the request is sent, and so answered."""
    fates: Counter[str] = field(default_factory=Counter)
    _plans: Iterator[Plan] = field(init=False)

    def __post_init__(self) -> None:
        self._plans = self.workload.plans()
        self.counts["predictions"] = len(self.workload.closing)

    def take(self) -> Plan | None:
        """Take the next plan; None after the last one."""
        plan = next(self._plans, None)
        if plan is None:
            return None
        self.taken += 1
        self.asked.append(plan.asked)
        self.fates[plan.fate] += 1
        self.letters.update(plan.letters)
        counts = self.counts
        counts["predictions"] += 1
        counts["outcomes"] += sum(isinstance(sending.record, Outcome) for sending in plan.sendings)
        for step in plan.steps:
            counts[step.kind] += 1
        for name, count in plan.counts.items():
            counts[name] += count
        for reason, _ in plan.letters:
            if reason in {"unknown_or_forgotten", "outcome_before_request"}:  # the others never reach a join
                counts[reason] += 1
        if self.workload.remembers(plan):
            self.remembered[plan.request.request_id] = plan.steps[-1]
        else:
            counts["forgotten"] += 1
        return plan

    def finish(self) -> None:
        """Take all plans that are left."""
        while self.take() is not None:
            pass
