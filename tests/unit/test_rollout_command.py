"""`riverloop models rollout status`: exit codes for CI, and what a watch ends at."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from agents.cli import rollout as module
from agents.cli.rollout import rollout
from infra.taskfile import LoadedTask
from schemas.records import Command, Entry
from streams.roles import Roles
from streams.rollout import ACTION, CHALLENGER, DIGEST, EXPIRES, GATE
from streams.shares import SALT
from tests.gate_task import make_task

EVIDENCE = json.dumps({"n": 500, "estimate": 0.04, "low": 0.03, "high": 0.05, "cohorts": [0, 1]})
OPENED = [Command("revision", name, {"revision": "1", "spec": "s", "runtime": "r"}) for name in "ab"]
STAMPS = {CHALLENGER: "b.1", "incumbent": "a.1", "gate": "g", "verdict": "better", "decided_at": "7"}
PROPOSE = {**STAMPS, ACTION: "promote", "revisions": "a.1 b.1", DIGEST: "d1", EXPIRES: "99"}
BETTER = Command("propose", "b", PROPOSE, GATE, "better", "p-1", evidence=EVIDENCE)
APPROVED = [
    BETTER,
    Command("approve", "b", {"proposal": "p-1"}, "ada", "yes", "c-1"),
    Command("promote", "b"),
]
SHARES = {"share.a": "0.9", "share.b": "0.1", SALT: "x"}
STEP = Command("share", "", {**SHARES, **STAMPS, ACTION: "share"}, GATE, "better", "s-1", evidence=EVIDENCE)
WORSE = Command("verdict", "b", {**STAMPS, ACTION: "verdict", "verdict": "worse"}, GATE, "worse", "v-1")
HOLD = Command("verdict", "b", {**STAMPS, ACTION: "hold"}, GATE, "label outage", "h-1")


def roles_of(*commands: Command) -> Roles:
    roles = Roles("scripted")
    for offset, command in enumerate([*OPENED, *commands]):
        roles.apply(offset, Entry(f"e{offset}", "command", 5, command=command))
    return roles


def run(monkeypatch: pytest.MonkeyPatch, histories: list[Roles], *options: str) -> tuple[int, dict[str, Any]]:
    """Run the command; each read of the control topic gives the next history, the last one for good."""
    loaded = LoadedTask(make_task(), "scripted.py:task", Path(), ())
    left = list(histories)
    commands = SimpleNamespace(history=lambda: (left.pop(0) if len(left) > 1 else left[0], [], {}))
    monkeypatch.setattr(module, "load_task", lambda task: loaded)
    monkeypatch.setattr(module, "commands_of", lambda *about: commands)
    monkeypatch.setattr(module, "POLL_S", 0.01)
    done = CliRunner().invoke(rollout, ["status", "scripted.py", *options, "--json"])
    return done.exit_code, json.loads(done.stdout) if done.stdout.startswith("{") else {"error": done.output}


@pytest.mark.parametrize(
    ("commands", "code", "state", "waits"),
    [
        ((), 3, "under way", "the gate"),
        ((BETTER,), 4, "waits for approval", "an approval of p-1"),
        (APPROVED, 0, "promoted", ""),
        ((STEP,), 3, "under way", "better"),
        ((HOLD,), 5, "paused", "label outage"),
        ((Command("pause", "", {}, "ada", "holidays"),), 5, "paused", "paused by ada: holidays"),
        ((WORSE,), 6, "ended", "nothing: worse"),
        (
            (BETTER, Command("reject", "b", {"proposal": "p-1"}, "ada", "no", "c-1")),
            6,
            "ended",
            "nothing: reject by ada, no",
        ),
        (
            (STEP, Command("abort", "b", {"share.a": "1"}, "ada", "odd", "c-1")),
            6,
            "ended",
            "nothing: abort by ada, odd",
        ),
    ],
)
def test_the_exit_code_says_how_far_the_rollout_is(
    commands: tuple[Command, ...], code: int, state: str, waits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_code, found = run(monkeypatch, [roles_of(*commands)], "b")
    (row,) = found["models"]
    assert (found_code, row["state"], row["waits for"]) == (code, state, waits)
    assert run(monkeypatch, [roles_of(*commands)])[0] == 0, "without a model it only shows"


def test_a_watch_ends_at_an_approval_a_promotion_or_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = [roles_of(), roles_of(STEP), roles_of(BETTER), roles_of(*APPROVED)]
    assert run(monkeypatch, histories, "b", "--watch")[0] == 4
    assert run(monkeypatch, histories, "b", "--watch", "--past-approval")[0] == 0
    assert run(monkeypatch, [roles_of(STEP), roles_of(WORSE)], "b", "--watch")[0] == 6
    assert run(monkeypatch, [roles_of(STEP)], "b", "--watch", "--timeout", "1")[0] == 3


def test_a_watch_needs_a_model_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, [roles_of()], "--watch")[0] != 0
    assert run(monkeypatch, [roles_of()], "no-such")[0] != 0


def test_the_gate_s_line_and_the_proposal_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    _, found = run(monkeypatch, [roles_of(BETTER)], "b")
    (row,), (proposal,) = found["models"], found["proposals"]
    assert (row["gate"], row["gain"], row["matured"]) == ("better", "+0.0400 (+0.0300 to +0.0500)", 500)
    assert (proposal["id"], proposal["digest"], proposal["change"]) == ("p-1", "d1", "promote b")
