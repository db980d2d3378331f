"""What the gate says: a decision with the evidence that it rests on, and the command that would carry it out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from schemas.records import Command
from streams.rollout import ACTION, CHALLENGER, GATE
from streams.shares import SHARE, UNIT

Verdict = Literal["better", "worse", "equivalent", "continue", "inconclusive"]
Action = Literal["promote", "share", "rollback", "hold", "withdraw", "verdict"]
PROPOSED: Final = frozenset({"promote", "share", "rollback"})
"""Actions that change which model answers."""


@dataclass(frozen=True, slots=True)
class Harm:
    """A guardrail as it stands."""

    name: str
    e_value: float
    """Of the hypothesis that the limit is kept."""
    threshold: float
    """The e-value from which on it is broken."""
    broken: bool
    at: str = ""
    """The worst level of a segment."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a decision rests on: whole cohorts of matured requests, in the order in which they were made."""

    gate: str
    """Digest of the gate's configuration."""
    loss: str
    cohorts: tuple[int, int]
    """Event times between which the requests were made, [start, end) in ms."""
    offsets: tuple[int, int]
    """First and last log offset of their entries."""
    n: int
    """Requests with a label."""
    unlabelled: int
    """Requests without one, which count as the label that speaks most against the verdict."""
    sampled: float
    """Drawn part of all requests."""
    estimate: float
    """Mean gain of those with a label."""
    low: float
    high: float
    """Bounds of the mean gain, empirical Bernstein, 1 - alpha at all times together."""
    e_better: float
    """E-value of the hypothesis that the challenger is not better."""
    e_worse: float
    """E-value of the hypothesis that it is not worse."""
    alpha: float
    """The part of the budget of errors that this test has."""
    test: int
    """Which test of this challenger it is, from 1."""
    recent: float
    """Mean gain of the newest requests with a label."""
    recent_n: int
    ratio: float
    """E-value of the hypothesis that requests were shared out as drawn."""
    harms: tuple[Harm, ...]

    def text(self) -> str:
        """Return it as JSON for a command, numbers to six digits, with the three guardrails nearest to breaking."""
        shown = sorted(self.harms, key=lambda harm: (not harm.broken, -harm.e_value / harm.threshold))
        found = asdict(self) | {"harms": {each.name[:60]: _short(each.e_value) for each in shown[:3]}}
        short = {name: _short(value) if isinstance(value, float) else value for name, value in found.items()}
        return json.dumps(short, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that the gate said, at one offset of the log."""

    id: str
    """The same for whoever folds the log; the id of its command."""
    offset: int
    """The entry at which it was decided."""
    ts: int
    """Event time up to which the log was complete then, ms."""
    action: Action
    """`promote`, `share` and `rollback` ask for a command. `hold`: what would be done waits. `withdraw`: what was
    asked for no longer is. `verdict`: the verdict about a challenger has changed, or its test has ended."""
    verdict: Verdict
    challenger: str
    """Its revision, as `model.revision`."""
    incumbent: str
    """The revision that it is compared with."""
    share: int
    """Percentage of the requests that the challenger answers from then on; 0 for what changes nothing."""
    approval: bool
    """Whether a person must approve it first."""
    reason: str
    evidence: Evidence

    def command(self) -> Command:
        """Return the command that carries it out.

        Raises
        ------
        ValueError
            It changes nothing.
        """
        if self.action not in PROPOSED:
            raise ValueError(f"a {self.action} has no command")
        new, old = self.challenger.rpartition(".")[0], self.incumbent.rpartition(".")[0]
        if self.action == "share":
            part = self.share * UNIT // 100
            shares = {f"{SHARE}{new}": f"{part / UNIT:.6f}", f"{SHARE}{old}": f"{1 - part / UNIT:.6f}"}
            command = Command("share", "", shares)
        else:
            command = Command("promote", new if self.action == "promote" else old)
        return self._signed(command)

    def logged(self) -> Command:
        """Return the command under which it lies in the log: what it proposes, does, or says."""
        if self.action not in PROPOSED:
            return self._signed(Command("verdict", self.challenger.rpartition(".")[0]))
        command = self.command()
        if not self.approval:
            return command
        model = self.challenger.rpartition(".")[0]
        return replace(command, name="propose", model=model)

    def _signed(self, command: Command) -> Command:
        stamps = {
            ACTION: self.action,
            CHALLENGER: self.challenger,
            "incumbent": self.incumbent,
            "gate": self.evidence.gate,
            "verdict": self.verdict,
            "decided_at": str(self.offset),
        }
        return replace(
            command,
            arguments=dict(command.arguments) | stamps,
            author=GATE,
            reason=self.reason,
            id=self.id,
            evidence=self.evidence.text(),
        )


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def restored(state: Any) -> Decision:
    """Return a decision that `dataclasses.asdict` took apart."""
    evidence = dict(state["evidence"])
    evidence["harms"] = tuple(Harm(**each) for each in evidence["harms"])
    for name in ("cohorts", "offsets"):
        evidence[name] = tuple(evidence[name])
    return Decision(**{**state, "evidence": Evidence(**evidence)})
