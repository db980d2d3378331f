"""Proposals, approvals, pauses and break-glass: what the log then has, and what a person may not do."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from infra.snapshots.models import LogPlace
from infra.verify.gate import GateProof
from infra.verify.report import Report
from schemas.errors import CommandRejected
from schemas.records import Command, Entry
from streams.gate.fold import GateFold
from streams.gate.lines import gate_lines
from streams.gate.rules import Gate
from streams.rollout import BREAK_GLASS, GATE, Proposal
from streams.rollout_checks import VALID_MS
from streams.rollout_status import CODES, gate_row, rollout_status
from tests.gate_task import Loop, events, make_task, quick

GOOD, BAD = (0.5, 0.3), (0.3, 0.5)
"""Scores of both models where half of the requests are positive: 0.5 has the lower loss."""
Step = Callable[[Loop, int], None]


def played(gate: Gate, step: Step, n: int = 1500, turn: int | None = None) -> Loop:
    """Play requests on which the challenger is better, up to one of them; after each, act."""
    loop = Loop(make_task(gate), obey=False)

    def scores(number: int, draw: random.Random) -> tuple[float, float]:
        return BAD if turn is None or number < turn else GOOD

    for number, _ in enumerate(loop.driver.run(events(n, scores))):
        loop.own()
        step(loop, number)
    loop.driver.complete(loop.driver.join.stream_time + 1)
    while loop.own() is not None:
        pass
    return loop


def once(act: Callable[[Loop, Proposal], Any]) -> Step:
    """Act on the first proposal that waits, once."""
    done = list[str]()

    def step(loop: Loop, number: int) -> None:
        for proposal in [*loop.rollout.proposals.values()][: 0 if done else 1]:
            done.append(proposal.id)
            act(loop, proposal)

    return step


def approve(loop: Loop, proposal: Proposal, **more: Any) -> Command:
    return loop.ask("approve", proposal=proposal.id, digest=proposal.digest, **more)


def commands(loop: Loop) -> list[tuple[str, str]]:
    """Name and author of all commands of the log but revisions and verdicts."""
    found = [each.command for each in loop.driver.log if each.command is not None]
    return [(each.name, each.author) for each in found if each.name not in ("revision", "verdict")]


def assert_proven(loop: Loop) -> None:
    """Fold the log again: each decision of the gate comes out, once, and so does the state."""
    report = Report("scripted")
    proof = GateProof(loop.driver.task, LogPlace("scripted.log", "id"), None, [], 0, report)
    for offset, entry in enumerate(loop.driver.log):
        proof.apply(offset, entry)
    assert report.failures == []
    ids = [each.command.id for each in loop.driver.log if each.command and each.command.author == GATE]
    assert len(set(ids)) == len(ids)
    decided = [each for each in ids if each.startswith("gate-") and not each.endswith("-done")]
    assert report.counts["decisions"] == len(decided) > 0


PROPOSING = quick(decide="propose")
WAITING = replace(PROPOSING, hold=timedelta(days=300))


def test_a_gate_that_proposes_changes_nothing_until_another_person_approves() -> None:
    loop = played(WAITING, lambda loop, number: None)
    (proposal,) = loop.rollout.proposals.values()
    assert (proposal.action, proposal.model, proposal.shares) == ("share", "b", "a=0.900000 b=0.100000")
    assert proposal.revisions == "a.1 b.1"
    assert '"n":' in proposal.evidence
    assert commands(loop) == [("propose", GATE)]
    assert loop.driver.server.roles.answering == {"a": 1_000_000}
    assert gate_lines(loop.gate, loop.driver.server.roles)[0]["waits_for"] == f"an approval of {proposal.id}"
    assert rollout_status(loop.driver.server.roles)["models"][1]["state"] == "waits for approval"
    approve(loop, proposal)
    assert commands(loop)[1:] == [("approve", "ada"), ("share", GATE)]
    share = loop.driver.log[-1].command
    assert share is not None
    assert (share.arguments["approver"], share.evidence) == ("ada", proposal.evidence)
    assert loop.driver.server.roles.answering == {"a": 900_000, "b": 100_000}
    assert not loop.rollout.proposals
    assert_proven(loop)


def test_each_step_is_proposed_and_the_last_one_promotes() -> None:
    def step(loop: Loop, number: int) -> None:
        for proposal in [*loop.rollout.proposals.values()]:
            approve(loop, proposal)

    loop = played(PROPOSING, step, 2500)
    assert [each[0] for each in commands(loop)] == [
        "propose",
        "approve",
        "share",
        "propose",
        "approve",
        "promote",
    ]
    assert loop.driver.server.roles.answering == {"b": 1_000_000}
    assert rollout_status(loop.driver.server.roles)["models"][1]["state"] == "promoted"
    assert_proven(loop)


def test_a_gate_that_decides_itself_has_each_step_in_the_log_once() -> None:
    loop = played(quick(), lambda loop, number: None, 2500)
    assert commands(loop) == [("share", GATE), ("promote", GATE)]
    assert_proven(loop)


def test_verification_finds_a_decision_that_the_log_does_not_give() -> None:
    loop = played(quick(), lambda loop, number: None, 2500)
    report = Report("scripted")
    proof = GateProof(loop.driver.task, LogPlace("scripted.log", "id"), None, [], 0, report)
    for offset, entry in enumerate(loop.driver.log):
        command = entry.command
        if command is not None and command.name == "share":
            forged = replace(command, evidence=command.evidence.replace('"n":', '"n":1'))
            proof.apply(offset, replace(entry, command=forged))
        else:
            proof.apply(offset, entry)
    assert [each.what for each in report.failures] == [
        f"the gate's decision {loop.gate.decisions()[1].id} is not what the log gives"
    ]


# ---------------------------------------------------------------------- what is not approved


def test_an_approval_is_of_what_was_seen_in_time_and_by_another_person() -> None:
    loop = played(WAITING, lambda loop, number: None)
    (proposal,) = loop.rollout.proposals.values()
    for about, why in (
        ({"proposal": "other"}, "no proposal 'other' waits"),
        ({"digest": "0" * 16}, "read it again"),
        ({"now": proposal.expires + 1}, "has expired"),
        ({"author": GATE}, "only the log's owner"),
    ):
        with pytest.raises(CommandRejected, match=why):
            loop.ask("approve", **({"proposal": proposal.id, "digest": proposal.digest} | about))
    assert [*loop.rollout.proposals] == [proposal.id]
    loop.gate.gate = replace(loop.gate.gate, margin=0.1)
    with pytest.raises(CommandRejected, match="configuration has changed"):
        approve(loop, proposal)


def test_a_person_proposes_and_another_one_approves() -> None:
    loop = played(WAITING, lambda loop, number: None, 300)
    loop.ask("propose", "b")
    (proposal,) = loop.rollout.proposals.values()
    assert (proposal.action, proposal.author, proposal.expires) == ("promote", "ada", VALID_MS)
    with pytest.raises(CommandRejected, match="a proposal about b waits"):
        loop.ask("propose", "b", author="eve")
    with pytest.raises(CommandRejected, match="another person must approve"):
        approve(loop, proposal)
    with pytest.raises(CommandRejected, match="another person must approve"):
        approve(loop, proposal, authentication="os_user")
    approve(loop, proposal, author="eve")
    assert loop.driver.server.roles.answering == {"b": 1_000_000}


def test_without_tokens_names_prove_nothing_and_one_person_may_do_both() -> None:
    loop = played(WAITING, lambda loop, number: None, 300)
    loop.ask("propose", "b", authentication="os_user")
    (proposal,) = loop.rollout.proposals.values()
    approve(loop, proposal, authentication="os_user")
    assert loop.driver.server.roles.answering == {"b": 1_000_000}


@pytest.mark.parametrize("name", ["revision", "retire", "promote", "rollback"])
def test_what_changes_a_model_or_who_answers_drops_the_proposal(name: Any) -> None:
    loop = played(WAITING, lambda loop, number: None)
    assert loop.rollout.proposals
    arguments = {
        "revision": {"revision": "2", "spec": "s", "runtime": "r", "dictionary": "d"},
        "rollback": {"mode": "catch-up"},
    }
    entry = Entry("e", "command", 0, command=Command(name, "b", arguments.get(name, {}), "ada", "x", "c"))
    loop.driver.server.roles.apply(10_000_000, entry)
    assert not loop.rollout.proposals


def test_a_proposal_that_the_evidence_no_longer_supports_is_withdrawn_and_cannot_be_approved() -> None:
    seen = list[Proposal]()
    loop = played(WAITING, once(lambda loop, proposal: seen.append(proposal)), 3000, turn=1000)
    assert not loop.rollout.proposals
    with pytest.raises(CommandRejected, match="no proposal"):
        approve(loop, seen[0])
    assert loop.driver.server.roles.answering == {"a": 1_000_000}
    assert_proven(loop)


def test_an_expired_proposal_is_withdrawn_and_made_again_with_newer_evidence() -> None:
    seen = list[Proposal]()

    def expire(loop: Loop, proposal: Proposal) -> None:
        seen.append(proposal)
        withdraw = Command("withdraw", "b", {"proposal": proposal.id}, GATE, "expired", "w")
        loop.driver.command(withdraw)
        assert not loop.rollout.proposals

    loop = played(WAITING, once(expire))
    (proposal,) = loop.rollout.proposals.values()
    assert proposal.id != seen[0].id
    assert proposal.digest != seen[0].digest
    assert_proven(loop)


# ---------------------------------------------------------------------- people


def test_a_rejection_ends_the_test_and_nothing_is_proposed_again() -> None:
    loop = played(WAITING, once(lambda loop, proposal: loop.ask("reject", proposal=proposal.id)))
    assert commands(loop) == [("propose", GATE), ("reject", "ada")]
    test = loop.gate.promotion.tests["b"]
    assert (test.closed, test.why) == (True, "rejected by ada")
    assert rollout_status(loop.driver.server.roles)["models"][1]["state"] == "ended"
    assert_proven(loop)


def test_a_rejected_step_takes_the_share_back() -> None:
    def step(loop: Loop, number: int) -> None:
        for proposal in [*loop.rollout.proposals.values()]:
            if proposal.action == "share":
                approve(loop, proposal)
            else:
                loop.ask("reject", proposal=proposal.id)

    loop = played(PROPOSING, step, 2500)
    assert [each[0] for each in commands(loop)] == [
        "propose",
        "approve",
        "share",
        "propose",
        "reject",
        "promote",
    ]
    assert loop.driver.server.roles.answering == {"a": 1_000_000}
    assert rollout_status(loop.driver.server.roles)["models"][1]["state"] == "ended"
    assert_proven(loop)


def test_a_pause_holds_the_steps_and_its_end_lets_them_go_on() -> None:
    def step(loop: Loop, number: int) -> None:
        if number == 700:
            loop.ask("pause")
            with pytest.raises(CommandRejected, match="paused already, by ada"):
                loop.ask("pause")
        if number == 1400:
            assert loop.gate.promotion.tests["b"].verdict == "better"
            assert commands(loop) == [("pause", "ada")]
            assert rollout_status(loop.driver.server.roles)["models"][1]["state"] == "paused"
            loop.ask("pause", end="true")

    loop = played(quick(), step, 2500)
    assert commands(loop) == [("pause", "ada"), ("pause", "ada"), ("share", GATE), ("promote", GATE)]
    holds = [each for each in loop.gate.decisions() if each.action == "hold"]
    assert [each.reason for each in holds] == ["paused by ada: a test"]
    assert_proven(loop)


def test_a_paused_challenger_that_harms_is_rolled_back_nevertheless() -> None:
    paused = list[int]()

    def step(loop: Loop, number: int) -> None:
        if not paused and "b" in loop.driver.server.roles.answering:
            paused.append(number)
            loop.ask("pause", "b")

    loop = played(quick(hold=timedelta(days=300)), step, 4000, turn=1000)
    assert paused
    assert commands(loop) == [("share", GATE), ("pause", "ada"), ("promote", GATE)]
    assert loop.driver.server.roles.answering == {"a": 1_000_000}
    assert_proven(loop)


def test_an_aborted_rollout_gives_the_share_back_and_is_not_begun_again() -> None:
    done = list[int]()

    def step(loop: Loop, number: int) -> None:
        if not done and "b" in loop.driver.server.roles.answering:
            done.append(number)
            with pytest.raises(CommandRejected, match="a is the model"):
                loop.ask("abort", "a")
            loop.ask("abort", "b")

    loop = played(quick(), step, 2500)
    assert commands(loop) == [("share", GATE), ("abort", "ada")]
    assert loop.driver.server.roles.answering == {"a": 1_000_000}
    assert_proven(loop)


# ---------------------------------------------------------------------- break-glass


def test_who_promotes_while_something_stands_against_it_breaks_the_glass_and_it_counts() -> None:
    loop = played(WAITING, lambda loop, number: None)
    (proposal,) = loop.rollout.proposals.values()
    with pytest.raises(CommandRejected, match=rf"proposal {proposal.id} of gate waits .* --break-glass"):
        loop.ask("promote", "b")
    with pytest.raises(CommandRejected, match="--break-glass"):
        loop.ask("share", **{"share.a": "0.5", "share.b": "0.5"})
    done = loop.ask("promote", "b", **{BREAK_GLASS: "true"})
    assert done.arguments[BREAK_GLASS] == "true"
    assert proposal.id in done.arguments["against"]
    assert loop.rollout.broken_glass == 1
    assert not loop.rollout.proposals


def test_the_way_back_needs_no_glass_to_be_broken() -> None:
    loop = played(quick(hold=timedelta(days=300)), lambda loop, number: None, 1200)
    assert loop.driver.server.roles.answering == {"a": 900_000, "b": 100_000}
    loop.ask("pause")
    loop.ask("promote", "a")
    assert loop.driver.server.roles.answering == {"a": 1_000_000}


def test_a_promotion_waits_for_a_label_outage_too() -> None:
    loop = played(quick(), lambda loop, number: None, 100)
    loop.gate.outages.live = False
    with pytest.raises(CommandRejected, match="label outage"):
        loop.ask("promote", "b")


# ---------------------------------------------------------------------- state


def cuts() -> Iterator[tuple[int, int]]:
    draw = random.Random(5)
    return ((draw.randrange(1, 400), draw.randrange(30)) for _ in itertools.count())


def test_a_restart_between_any_two_entries_changes_no_decision_and_no_pending_one() -> None:
    def step(loop: Loop, number: int) -> None:
        for proposal in [*loop.rollout.proposals.values()]:
            approve(loop, proposal)

    loop = played(PROPOSING, step, 2500)
    log, task = loop.driver.log, loop.driver.task
    alone, cut, at = GateFold(task), GateFold(task), 0
    for count, again in cuts():
        for offset in range(max(0, at - again), min(len(log), at + count)):
            cut.apply(offset, log[offset])
        for offset in range(at, min(len(log), at + count)):
            alone.apply(offset, log[offset])
        at += count
        assert [each.id for each in cut.unlogged()] == [each.id for each in alone.unlogged()]
        state, cut = cut.snapshot(), GateFold(task)
        cut.restore(state)
        if at >= len(log):
            break
    assert cut.decisions() == alone.decisions()
    assert cut.unlogged() == []


def test_every_state_of_a_rollout_has_an_exit_code_of_its_own() -> None:
    assert sorted(CODES.values()) == [0, 3, 4, 5, 6]


def test_the_card_and_the_status_show_the_gate_s_newest_decision_with_its_gain() -> None:
    roles = played(WAITING, lambda loop, number: None).driver.server.roles
    row = gate_row("b", roles)
    assert row is not None
    assert (row["gate"], row["state"], row["decision"]["action"]) == (
        "better",
        "waits for approval",
        "propose",
    )
    assert row["matured"] == json.loads(next(iter(roles.rollout.proposals.values())).evidence)["n"]
    assert row["gain"].startswith("+0.0")
    assert gate_row("a", roles) is None
