"""How a rollout stands: a line for each challenger, for pages and for metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from schemas.alert import Alert
from streams.fold import Measurement
from streams.gate.decision import PROPOSED
from streams.gate.fold import GateFold
from streams.gate.pair_test import PairTest
from streams.race.fold import RaceFold
from streams.race.rules import Race
from streams.roles import Roles
from streams.shares import UNIT
from streams.task import Task

MONITOR: Final = "gate"
"""Key of its metrics."""


class GateMonitor(GateFold):
    """The gate in a worker: its snapshots are those of a monitor."""

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`."""
        return measurements(self, self.promotion.roles)

    def alerts(self) -> Iterator[Alert]:
        """See `Monitor.alerts`: its decisions are commands."""
        return iter(())


class RaceMonitor(RaceFold, GateMonitor):
    """A race in a worker."""


def gate_monitor(task: Task) -> GateMonitor:
    """Return what decides which model of a task answers, with nothing folded."""
    return RaceMonitor(task) if isinstance(task.gate, Race) else GateMonitor(task)


def gate_lines(gate: GateFold, roles: Roles) -> list[dict[str, Any]]:
    """Return a line for each challenger that is tested: verdict, gain, and what it waits for."""
    promotion, found = gate.promotion, []
    for name, test in [*promotion.tests.items()]:
        evidence = test.evidence(gate.gate.digest, "", 0.5**gate.held.halvings)
        found.append(
            {
                "model": name,
                "challenger": f"{name}.{test.pair[1]}",
                "against": f"{promotion.incumbent}.{test.pair[0]}",
                "verdict": test.verdict,
                "test": test.number,
                "labelled": evidence.n,
                "unlabelled": evidence.unlabelled,
                "gain": evidence.estimate,
                "low": evidence.low,
                "high": evidence.high,
                "e_value": evidence.e_better,
                "e_needed": 1.0 / evidence.alpha,
                "cohorts": list(evidence.cohorts),
                "share": roles.role(name).share / UNIT,
                "waits_for": waits_for(gate, roles, name, test),
            }
        )
    return found


def waits_for(gate: GateFold, roles: Roles, name: str, test: PairTest) -> str:
    """Say what the next decision about a challenger waits for."""
    promotion, rollout = gate.promotion, roles.rollout
    if test.closed:
        return f"nothing: {test.why}"
    proposal = next((each for each in rollout.proposals.values() if each.model == name), None)
    if proposal is not None:
        return f"an approval of {proposal.id}"
    against = [rollout.paused(name), *promotion.blocks(name, gate.outages.live)]
    if reasons := "; ".join(each for each in against if each):
        return f"the end of: {reasons}"
    wish = promotion.wish
    if wish is not None and wish.challenger == name:
        return wish.reason if wish.action not in PROPOSED else "the log's owner"
    if isinstance(gate, RaceFold):
        n = gate.promotion.standings.n
        if n < gate.gate.least:
            return f"the burn-in: {gate.gate.least - n:,} more matured requests"
        return "a lower loss than the model that answers"
    if test.n < gate.gate.least:
        return f"{gate.gate.least - test.n:,} more labels of whole cohorts"
    if test.verdict == "better":
        return "the end of the hold" if roles.role(name).share else "another challenger's rollout"
    return f"evidence; at most {max(0, gate.gate.budget - test.n):,} more labels"


def measurements(gate: GateFold | None, roles: Roles) -> Iterator[Measurement]:
    """Give the current values of a task's rollouts."""
    rollout = roles.rollout
    yield Measurement("proposals", len(rollout.proposals), "count", 1, monitor=MONITOR)
    yield Measurement("break_glass", rollout.broken_glass, "count", 1, monitor=MONITOR)
    for line in gate_lines(gate, roles) if gate is not None else ():
        count = line["labelled"] + line["unlabelled"]
        about = {"count": count, "model": line["model"], "version": line["challenger"], "role": "shadow"}
        for name, key in (("estimate", "gain"), ("low", "low"), ("high", "high")):
            yield Measurement(f"gate_{name}", line[key], "ratio", monitor=MONITOR, **about)
        yield Measurement("gate_labels", line["labelled"], "count", monitor=MONITOR, **about)
