"""How far rollouts are, from the commands of the log alone: for the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from streams.roles import Roles
from streams.rollout import GateLine
from streams.shares import UNIT

CODES: Final = {
    "promoted": 0,
    "under way": 3,
    "waits for approval": 4,
    "paused": 5,
    "ended": 6,
}
"""Exit code by state."""
ENDS: Final = frozenset({"promoted", "waits for approval", "ended"})
"""States at which a watch ends."""
ENDED: Final = frozenset({"worse", "equivalent", "inconclusive"})
"""Verdicts after which nothing is promoted."""

RAISING: Final = frozenset({"propose", "share", "promote", "hold"})
"""Actions of the gate that go on with a rollout."""


def rollout_status(roles: Roles) -> dict[str, Any]:
    """Return the rollouts of a task as plain data."""
    rollout = roles.rollout
    proposals = [
        {
            "id": each.id,
            "model": each.model,
            "change": f"{each.action} {each.shares or each.model}",
            "by": each.author,
            "reason": each.reason,
            "digest": each.digest,
            "evidence": each.evidence,
            "expires": _when(each.expires),
        }
        for each in rollout.proposals.values()
    ]
    names = [name for name, each in roles.models.items() if each.retired_at < 0]
    pauses = [
        f"by {each.author}: {each.reason}" for each in (*rollout.pauses.values(), *rollout.blocks.values())
    ]
    models = [_row(name, roles) for name in names]
    return {"answering": roles.answering, "models": models, "proposals": proposals, "paused": pauses}


def gate_row(name: str, roles: Roles) -> dict[str, Any] | None:
    """Return how far a challenger's rollout is; None where the gate has decided nothing about it."""
    return _row(name, roles) if name in roles.rollout.lines else None


def _row(name: str, roles: Roles) -> dict[str, Any]:
    rollout, share = roles.rollout, roles.role(name).share
    line = rollout.lines.get(name)
    state, waits = _state(name, line, roles)
    shown = logged_line(line) if line is not None else {}
    gain, low, high = (shown.get(key) for key in ("gain", "low", "high"))
    return {
        "model": name,
        "state": state,
        "share": share / UNIT,
        "gate": "" if line is None else line.verdict,
        "gain": "" if gain is None else f"{gain:+.4f} ({low:+.4f} to {high:+.4f})",
        "matured": shown.get("labelled") or 0,
        "waits for": waits,
        "decision": shown,
    }


def _state(name: str, line: GateLine | None, roles: Roles) -> tuple[str, str]:
    rollout = roles.rollout
    if roles.role(name).share == UNIT:
        return "promoted", ""
    proposal = next((each for each in rollout.proposals.values() if each.model == name), None)
    if proposal is not None:
        return "waits for approval", f"an approval of {proposal.id}"
    if paused := rollout.paused(name):
        return "paused", paused
    since = line.offset if line is not None and line.action in RAISING else -1
    ended = next(
        (
            each
            for each in reversed(roles.decisions)
            if each.model == name and each.name in {"reject", "abort"} and each.offset > since
        ),
        None,
    )
    if ended is not None:
        return "ended", f"nothing: {ended.name} by {ended.author}, {ended.reason}"
    if line is not None and (line.action == "rollback" or line.verdict in ENDED):
        return "ended", f"nothing: {line.reason}"
    if line is not None and line.action == "hold":
        return "paused", line.reason
    return "under way", "the gate" if line is None else line.reason


def logged_line(line: GateLine) -> dict[str, Any]:
    """Return the newest decision of the gate about a challenger, as the log has it."""
    try:
        evidence = json.loads(line.evidence)
    except ValueError:
        evidence = {}
    return {
        "challenger": line.challenger,
        "action": line.action,
        "verdict": line.verdict,
        "reason": line.reason,
        "at": _when(line.ts),
        "labelled": evidence.get("n"),
        "gain": evidence.get("estimate"),
        "low": evidence.get("low"),
        "high": evidence.get("high"),
        "cohorts": evidence.get("cohorts"),
        "gate": evidence.get("gate"),
    }


def _when(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
