"""Who competes to answer, for a card: the line of each challenger in the gate, and the leaderboard of a race."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records import Control, Entry
from streams.gate.decision import Decision
from streams.gate.fold import GateFold
from streams.gate.lines import gate_lines
from streams.race.fold import RaceFold, gate_fold
from streams.race.lines import race_lines
from streams.roles import Roles
from streams.task import Task


@dataclass(frozen=True, slots=True)
class ContestFacts:
    """The gate of the task file, at the end of the log."""

    kind: str
    """`gate` or `race`."""
    digest: str
    """Of its configuration."""
    rule: str
    """What it compares, and how much it asks for, in words."""
    since: int
    """Log offset from which it is folded."""
    challengers: tuple[Mapping[str, Any], ...]
    """As `gate_lines` gives them."""
    decisions: tuple[Mapping[str, Any], ...]
    """The newest that follow from the log, whether they were carried out or not."""
    leaderboard: tuple[Mapping[str, Any], ...]
    """As `race_lines` gives them; empty where no race decides."""


def contest_fold(
    task: Task, first: int, audits: Iterable[Control], offsets: Mapping[str, int]
) -> GateFold | None:
    """Return a task's gate with nothing folded; None where there is none, or nothing to compare.

    Parameters
    ----------
    first
        The oldest offset of the log: where earlier ones are deleted, the gate begins there with the roles of then.
    audits, offsets
        Commands that were decided, and log offsets by entry id.
    """
    if task.gate is None or not task.models[1:]:
        return None
    fold = gate_fold(task)
    if first:
        roles = Roles(task.name)
        for audit in audits:
            at = offsets.get(audit.entry_id, first)
            if at < first:
                roles.apply(at, Entry(audit.entry_id, "command", audit.ts, command=audit.command))
        fold.begin(roles)
    return fold


def contest_facts(fold: GateFold, roles: Roles, since: int) -> ContestFacts:
    """Return what a gate says that was folded up to the end of the log.

    Parameters
    ----------
    roles
        There.
    since
        Log offset from which it was folded.
    """
    race = isinstance(fold, RaceFold)
    return ContestFacts(
        "race" if race else "gate",
        fold.gate.digest,
        _rule(fold),
        since,
        tuple(gate_lines(fold, roles)),
        tuple(map(_decision, fold.decisions())),
        tuple(race_lines(fold)) if isinstance(fold, RaceFold) else (),
    )


def _rule(fold: GateFold) -> str:
    gate = fold.gate
    loss = f"{gate.loss_text(fold.task.kind)}, on whole cohorts in request order"
    most = f"at least {gate.least:,} matured requests, not denied by the newest {gate.recent:,}"
    errors = f"errors at most {gate.alpha:g} over all models and times"
    if isinstance(fold, RaceFold):
        return f"{loss}; the lowest mean answers, {most}; {errors}, for dropping a model."
    after = "each step needs an approval" if gate.decide == "propose" else "no step needs an approval"
    margin = f"; within {gate.margin:g} two models are equivalent" if gate.margin else ""
    return (
        f"{loss}; {most}; {errors}{margin}; steps {', '.join(f'{each} %' for each in gate.steps)}; {after}."
    )


def _decision(each: Decision) -> dict[str, Any]:
    about = {"offset": each.offset, "ts": each.ts, "action": each.action, "share": each.share}
    evidence = each.evidence
    return about | {
        "challenger": each.challenger,
        "against": each.incumbent,
        "verdict": each.verdict,
        "reason": each.reason,
        "labelled": evidence.n,
        "unlabelled": evidence.unlabelled,
        "gain": evidence.estimate,
        "low": evidence.low,
        "high": evidence.high,
        "cohorts": list(evidence.cohorts),
    }
