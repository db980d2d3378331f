"""A verdict is a function of the log up to its offset, and blocks promotions until another one passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model

from schemas.errors import CommandRejected
from schemas.records import Command, Entry
from streams import (
    BeatsBaseRate,
    BeatsEarlier,
    Invariant,
    Loss,
    MemoryDriver,
    Model,
    ScoreRange,
    Task,
    Validation,
)
from streams.commands import NAMES, decide
from streams.model import ModelFold
from streams.policies import DefaultAtHorizon
from streams.rollout import BREAK_GLASS, GATE, VALIDATION
from streams.rollout_checks import Situation
from streams.snapshot.digest import state_digest
from streams.validation.verdict import Earlier, Validated, validate
from tests.gate_task import Loop, events, make_task, quick

CHECKS = (
    Loss(limit=0.3, least=20),
    BeatsBaseRate(least=20),
    BeatsEarlier(ago=2, least=1),
    Invariant(feature="c"),
    ScoreRange(),
)
RULES = Validation(checks=CHECKS, every=50, window=200)


def learning_task() -> Task:
    """The task with a model that learns."""
    task = make_task()
    learner = Model("a", linear_model.PAClassifier, {}, DefaultAtHorizon(False))
    return replace(task, models=(learner, task.models[1]), validation=RULES)


def played(task: Task, count: int = 250) -> list[Entry]:
    driver = MemoryDriver(task)
    for _ in driver.run(events(count, lambda number, draw: (draw.random(), draw.random()))):
        pass
    return driver.log


LOG = played(learning_task())


def folded(task: Task, until: int, start: ModelFold | None = None) -> ModelFold:
    fold = ModelFold(task, task.models[0])
    if start is not None:
        fold.restore(start.snapshot())
    for offset in range(fold.next_offset, until):
        fold.apply(offset, LOG[offset])
    return fold


def verdict(task: Task, at: int, fold: ModelFold) -> Validated:
    earlier = Earlier(at - RULES.ago, folded(task, at - RULES.ago))
    return validate(RULES, task, at, fold, LOG[max(0, at - RULES.window) : at], earlier=earlier)


@settings(max_examples=20, deadline=None)
@given(point=st.integers(3, len(LOG) // 50), cut=st.floats(0.0, 1.0))
def test_the_same_offset_has_the_same_verdict_from_whatever_snapshot(point: int, cut: float) -> None:
    task, at = learning_task(), 50 * point
    whole = verdict(task, at, folded(task, at))
    again = verdict(task, at, folded(task, at, folded(task, int(cut * at))))
    assert again == whole
    assert whole.command("me", "os_user", 1).id == again.command("you", "os_user", 2).id


def test_a_validation_changes_no_state_and_judges_labels_of_its_window() -> None:
    task, at = learning_task(), 50 * (len(LOG) // 50)
    fold = folded(task, at)
    before = fold.digest
    found = verdict(task, at, fold)
    assert fold.digest == before
    by_name = {each.name: each for each in found.results}
    labels = [each for each in LOG[at - 200 : at] if each.kind in {"labelled", "expired"}]
    assert by_name["loss"].count == len(labels)
    assert by_name["score range"].count == len(labels)
    points = range(150, len(LOG), 50)
    earlier = [verdict(task, each, folded(task, each)).results[2] for each in points]
    assert any(each.judged for each in earlier)
    assert all(each.count < 100 for each in earlier), "only requests since then"


# ---------------------------------------------------------------------- what it blocks


def command(loop: Loop, *, passed: bool, model: str = "b", at: Any = None, **changes: Any) -> Command:
    fold = next(each for each in loop.driver.models if each.model.name == model)
    arguments = {
        "version": f"{fold.version}",
        "at": str(loop.gate.next_offset if at is None else at),
        "configuration": "c1",
        "verdict": "passed" if passed else "failed",
    }
    reason = "5 checks passed" if passed else "loss: too high"
    return Command(VALIDATION, model, arguments | changes, "val", reason, f"v-{loop.gate.next_offset}")


@pytest.fixture
def loop() -> Loop:
    loop = Loop(make_task(quick()), obey=False)
    for _ in loop.driver.run(events(40, lambda number, draw: (0.5, 0.5))):
        pass
    return loop


def test_a_model_that_fails_is_not_promoted_until_it_passes(loop: Loop) -> None:
    loop.ask("propose", "b", author="ada")
    assert len(loop.rollout.proposals) == 1
    loop.driver.command(command(loop, passed=False))
    assert not loop.rollout.proposals, "what was proposed is dropped"
    for name in ("promote", "propose"):
        with pytest.raises(CommandRejected, match=r"its validation at log offset \d+ failed: loss: too high"):
            loop.ask(name, "b")
    with pytest.raises(CommandRejected, match="validation"):
        loop.ask("share", **{"share.a": "0.9", "share.b": "0.1"})
    loop.driver.command(command(loop, passed=True))
    loop.ask("promote", "b")
    assert loop.driver.server.roles.champion == "b"


def test_the_other_model_is_free_and_broken_glass_is_noted(loop: Loop) -> None:
    loop.driver.command(command(loop, passed=False, model="a"))
    loop.ask("share", **{"share.a": "0.5", "share.b": "0.5"})
    loop.ask("promote", "a")  # the way back is open
    loop.driver.command(command(loop, passed=False))
    done = loop.ask("promote", "b", **{BREAK_GLASS: "true"})
    assert "its validation" in done.arguments["against"]
    assert loop.rollout.broken_glass == 1


def test_a_new_revision_is_not_judged_by_the_one_before(loop: Loop) -> None:
    loop.driver.command(command(loop, passed=False))
    loop.ask("retire", "b")
    loop.ask("restore", "b")
    assert "b" not in loop.rollout.validations
    loop.ask("promote", "b")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": "b.7@1"}, "newest revision"),
        ({"version": "a.1@1"}, "newest revision"),
        ({"version": "b"}, "not a version"),
        ({"at": "99999"}, "does not have offset"),
        ({"verdict": "maybe"}, "passed or failed"),
        ({"more": "1"}, "passed or failed"),
    ],
)
def test_a_validation_that_cannot_be_is_rejected(loop: Loop, changes: dict[str, str], words: str) -> None:
    with pytest.raises(CommandRejected, match=words):
        loop.driver.command(command(loop, passed=True, **changes))


def test_an_older_verdict_does_not_replace_a_newer_one(loop: Loop) -> None:
    end = loop.gate.next_offset
    loop.driver.command(command(loop, passed=False, at=end))
    with pytest.raises(CommandRejected, match=f"validated at log offset {end} already"):
        loop.driver.command(command(loop, passed=True, at=end - 1))


def test_the_gate_holds_a_model_that_fails(loop: Loop) -> None:
    failing = Loop(make_task(quick()), obey=False)
    made = list(events(900, lambda number, draw: (0.5, 0.5), delay_ms=2))
    started = False
    for number, _ in enumerate(failing.driver.run(made)):
        if number == 20:
            failing.driver.command(command(failing, passed=False))
        failing.own()
        started = started or failing.gate.proposal() is not None
    assert not started
    assert failing.rollout.paused("b")


def test_states_with_validations_restore_and_many_of_them_push_no_decision_out(loop: Loop) -> None:
    for _ in range(150):
        loop.driver.command(command(loop, passed=True))
        loop.driver._append(loop.driver.log[-1].__class__("t", "time", 0))
    roles = loop.driver.server.roles
    assert [each.name for each in roles.decisions].count(VALIDATION) == 1
    assert roles.decisions[0].name == "revision"
    fresh = type(roles)(roles.task)
    assert fresh.is_state(roles.snapshot())
    fresh.restore(roles.snapshot())
    assert state_digest(fresh.snapshot()) == state_digest(roles.snapshot())


def test_nobody_asks_for_a_validation_over_http(loop: Loop) -> None:
    assert VALIDATION not in NAMES
    folds = {each.model.name: each for each in loop.driver.models}
    with pytest.raises(CommandRejected, match="only the log's owner"):
        decide(
            replace(command(loop, passed=True), author=GATE), loop.driver.server.roles, folds, at=Situation()
        )
