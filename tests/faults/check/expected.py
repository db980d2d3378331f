"""What a run must leave, summed over the plans: counts, dead letters, and the join's state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from schemas.records import Outcome
from tests.faults.workload.plan import Plan, Step
from tests.faults.workload.workload import Workload


@dataclass(slots=True)
class Expected:
    """The expectations of the plans taken so far; plans that the joins forget leave no state here.

    Parameters
    ----------
    workload
        Whose plans are taken.
    """

    workload: Workload
    taken: int = 0
    """Plans taken."""
    counts: Counter[str] = field(default_factory=Counter)
    """Expected counters of the joins, summed over all partitions."""
    dead_letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Dead letters by reason and key."""
    remembered: dict[str, Step] = field(default_factory=dict)
    """Expected join state at the end, by request id: the last entry about it."""
    request_counts: bytearray = field(default_factory=bytearray)
    """By number: how often the request is sent, and so answered."""
    scenarios: Counter[str] = field(default_factory=Counter)
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
        self.request_counts.append(plan.request_count)
        self.scenarios[plan.scenario] += 1
        self.dead_letters.update(plan.dead_letters)
        counts = self.counts
        counts["predictions"] += 1
        counts["outcomes"] += sum(isinstance(each.record, Outcome) for each in plan.sent_records)
        for step in plan.steps:
            counts[step.kind] += 1
        for name, count in plan.counts.items():
            counts[name] += count
        for reason, _ in plan.dead_letters:
            if reason in {"unknown_or_forgotten", "outcome_before_request"}:  # the others never reach a join
                counts[reason] += 1
        if self.workload.remembers(plan):
            self.remembered[plan.request.request_id] = plan.steps[-1]
        else:
            counts["forgotten"] += 1
        return plan

    def finish(self) -> None:
        """Take all remaining plans."""
        while self.take() is not None:
            pass
