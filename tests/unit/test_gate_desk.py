"""What the log's owner does of itself about rollouts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from infra.task import gate_desk
from infra.task.gate_desk import GateDesk
from schemas.alert import Alert, Evidence
from schemas.codec import Codec
from schemas.records import Command, Control
from streams.gate.lines import GateMonitor
from streams.rollout import EXPIRES, GATE, PROPOSAL
from streams.rollout_checks import TTL, Situation
from tests.gate_task import Loop, events, make_task, quick

WOKEN: list[int] = []
BAD = (0.3, 0.5)


class Message:
    """A record of `T.alerts`."""

    def __init__(self, key: bytes, value: bytes) -> None:
        self._key, self._value = key, value

    def key(self) -> bytes:
        return self._key

    def value(self) -> bytes:
        return self._value


class Owner:
    """A loop in memory whose owner is a real desk; its clock is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
        task = make_task(quick(**changes))
        self.loop = Loop(task, obey=False)
        self.monitor = GateMonitor(task)
        self.codec = Codec(task.name, task.kind, task.features)
        context: Any = SimpleNamespace(task=task, codec=self.codec)
        self.desk = GateDesk(context, lambda: WOKEN.append(1))
        self.desk._caught_up = True
        self.known: set[str] = set()
        self.now = 1_000
        monkeypatch.setattr(gate_desk, "now_ms", lambda: self.now)
        self._taken = 0

    def next(self) -> Control | None:
        """What the desk would do now."""
        for entry in self.loop.driver.log[self._taken :]:
            self.monitor.apply(self._taken, entry)
            self._taken += 1
        return self.desk.next(self.loop.driver.server.roles, self.monitor, self.known.__contains__)

    def do(self) -> Command | None:
        """Do it."""
        found = self.next()
        if found is None:
            return None
        self.known.add(found.command.id)
        return self.loop.driver.command(found.command, Situation(self.now, self.monitor, own=True))

    def play(self, n: int) -> None:
        for _ in self.loop.driver.run(events(n, lambda number, draw: BAD)):
            pass

    def alert(
        self,
        state: Any,
        severity: Any = "warning",
        episode: str = "scripted/rejected@7",
        key: bytes = b"quality",
    ) -> None:
        """Take an alert."""
        evidence = Evidence("d", "s")
        about = (
            episode,
            state,
            severity,
            "rejected",
            "rejected",
            "up",
            "",
            "",
            "",
            evidence,
            1,
            False,
            7,
            5,
            5,
        )
        self.desk.take(Message(key, self.codec.encode(Alert(*about, "many are rejected"))))  # type: ignore[arg-type]  # a record


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Owner:
    made = Owner(monkeypatch, decide="propose")
    made.play(1300)
    return made


def test_decisions_are_commands_once_in_their_order(owner: Owner) -> None:
    done = [owner.do(), owner.do(), owner.do()]
    assert [each and each.name for each in done] == ["verdict", "propose", None]
    assert all(each is None or each.author == GATE for each in done)


def test_what_was_rejected_is_not_tried_again(owner: Owner) -> None:
    first = owner.next()
    assert first is not None
    owner.known.add(first.command.id)
    second = owner.next()
    assert second is not None
    assert second.command.id != first.command.id


def test_a_proposal_is_valid_as_long_as_the_gate_says_and_then_withdrawn(owner: Owner) -> None:
    owner.do()
    proposal = owner.do()
    assert proposal is not None
    valid = 7 * 86_400_000
    assert proposal.arguments[EXPIRES] == str(owner.now + valid)
    assert TTL not in proposal.arguments
    owner.now += valid
    assert owner.do() is None
    owner.now += 1
    withdrawn = owner.do()
    assert withdrawn is not None
    assert (withdrawn.name, withdrawn.arguments[PROPOSAL]) == ("withdraw", proposal.id)
    assert withdrawn.reason == "the proposal has expired"


def test_another_configuration_of_the_gate_withdraws_its_proposals(owner: Owner) -> None:
    owner.do()
    owner.do()
    owner.monitor.gate = replace(owner.monitor.gate, margin=0.2)
    withdrawn = owner.do()
    assert withdrawn is not None
    assert withdrawn.reason == "the gate's configuration has changed"
    assert not owner.loop.rollout.proposals


@pytest.mark.parametrize("decide", ["propose", "promote"])
def test_an_open_quality_episode_is_a_block_in_the_log_before_any_decision(
    decide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = Owner(monkeypatch, decide=decide)
    owner.play(1300)
    owner.alert("opened", "info")
    owner.alert("opened", key=b"drift")
    first = owner.next()
    assert first is not None
    assert first.command.name == "verdict"
    owner.alert("opened")
    blocked = owner.do()
    assert blocked is not None
    assert (blocked.name, blocked.author, blocked.arguments) == ("pause", GATE, {"block": "quality"})
    assert "many are rejected" in blocked.reason
    verdict = owner.do()
    assert verdict is not None
    assert verdict.name == "verdict"
    assert owner.do() is None
    owner.alert("closed")
    end = owner.do()
    assert end is not None
    assert end.arguments == {"block": "quality", "end": "true"}
    assert not owner.loop.rollout.blocks
    assert owner.do() is None


def test_a_block_ends_when_the_task_file_has_no_gate_any_more(owner: Owner) -> None:
    owner.alert("opened")
    assert owner.do() is not None
    roles = owner.loop.driver.server.roles
    assert roles.rollout.blocks
    found = owner.desk.next(roles, None, owner.known.__contains__)
    assert found is not None
    owner.loop.driver.command(found.command, Situation(own=True))
    assert not roles.rollout.blocks
    assert owner.desk.next(roles, None, owner.known.__contains__) is None


def test_nothing_is_decided_before_the_alerts_are_read(owner: Owner) -> None:
    owner.desk._caught_up = False
    assert owner.next() is None
