"""Freeze, resume, retire, restore: what a model knows follows from the log, however that is cut and restarted."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import CommandRejected
from schemas.records import Command, Entry, Features, Prediction, Request
from streams.commands import decide
from streams.driver import MemoryDriver
from streams.model import ModelFold
from streams.model_state import ModelState
from streams.snapshot import dump
from streams.snapshot.digest import state_digest
from tests.properties.test_folds import ASKED, TASK, history

FIRST, SECOND = (model.name for model in TASK.models[:2])


@cache
def facts() -> tuple[Entry, ...]:
    return tuple(entry for entry in history() if entry.command is None)


def opened() -> list[Entry]:
    return [entry for entry in history() if entry.command is not None]


def command(name: Any, number: int, **arguments: str) -> Command:
    return Command(name, FIRST, arguments, "ada", "a test", f"c-{number}")


class Log:
    """A log that grows, and the first model's fold of it, with others to compare."""

    def __init__(self, fold: ModelFold | None = None) -> None:
        self.fold = fold or ModelFold(TASK, TASK.models[0])
        self.entries: list[Entry] = []
        for entry in opened():
            self.add(entry)

    def add(self, entry: Entry) -> None:
        self.fold.apply(len(self.entries), entry)
        self.entries.append(entry)

    def do(self, name: str, number: int, **arguments: str) -> None:
        folds = {model.name: ModelFold(TASK, model) for model in TASK.models} | {FIRST: self.fold}
        decided = decide(command(name, number, **arguments), self.fold.roles, folds)
        self.add(Entry(f"t/command/c-{number}", "command", 5, command=decided))


def restarted(fold: ModelFold) -> ModelFold:
    """The fold of a process that has nothing but the snapshot."""
    fresh = ModelFold(TASK, fold.model)
    fresh.restore(ModelState.load(dump(fold.snapshot().values()), fresh.model))
    return fresh


def answers(fold: ModelFold, asked: Sequence[Features] = ASKED) -> list[tuple[bytes, Any, str]]:
    scores = [fold.predict(features) for features in asked]
    assert all(isinstance(score.score, float) for score in scores)
    return [(struct.pack("<d", score.score), score.label, score.version) for score in scores]


def knowledge(fold: ModelFold) -> tuple[Any, ...]:
    roles = state_digest(fold.roles.snapshot())
    state = (fold.learned_digest, str(fold.learned_version), fold.learner.snapshot(), fold.left_out)
    return (roles, *state, fold.digest, str(fold.version), fold.active, answers(fold))


def test_a_frozen_model_answers_bit_for_bit_and_resumes_as_if_it_had_never_been_frozen() -> None:
    log, never = Log(), Log()
    for entry in facts()[:60]:
        log.add(entry)
        never.add(entry)
    before, version, digest = answers(log.fold), log.fold.version, log.fold.digest
    assert log.fold.learned > 10
    log.do("freeze", 1)
    never.add(Entry("t/idle#0", "time", 5, partition=0))
    for number, entry in enumerate(facts()[60:120]):
        log.add(entry)
        never.add(entry)
        assert answers(log.fold) == before
        assert (log.fold.version, log.fold.digest) == (version, digest)
        if number == 30:
            log.fold = restarted(log.fold)
    assert never.fold.digest != digest
    log.do("resume", 2, mode="catch-up")
    assert log.fold.digest == never.fold.digest
    assert log.fold.version == never.fold.version
    assert answers(log.fold) == answers(never.fold)
    assert log.fold.left_out == ()


def test_a_model_that_skips_an_interval_is_one_that_never_saw_it_and_says_so() -> None:
    log, without = Log(), Log()
    for entry in facts()[:60]:
        log.add(entry)
        without.add(entry)
    frozen_at = len(log.entries)
    log.do("freeze", 1)
    for entry in facts()[60:90]:
        log.add(entry)
    log.do("resume", 2, mode="skip")
    resumed_at = len(log.entries) - 1
    assert log.fold.digest == without.fold.digest
    assert str(log.fold.version) == f"{FIRST}.2@{resumed_at}", (
        "another name than the state that goes on learning"
    )
    assert log.fold.active
    assert log.fold.left_out_text == f"{frozen_at + 1}..{resumed_at - 1}"
    for entry in facts()[90:120]:
        log.add(entry)
        without.add(entry)
    assert log.fold.digest == without.fold.digest
    assert restarted(log.fold).left_out == log.fold.left_out
    # A model of a changed specification, folded from the beginning, leaves out the same.
    anew = ModelFold(TASK, TASK.models[0], "another runtime")
    for offset, entry in enumerate(log.entries):
        anew.apply(offset, entry)
    assert anew.left_out == log.fold.left_out
    assert anew.digest == log.fold.digest


def test_a_retired_model_keeps_its_state_and_is_restored_without_what_it_missed() -> None:
    log = Log()
    log.add(Entry("t/command/p", "command", 5, command=Command("promote", SECOND, id="p", reason="better")))
    for entry in facts()[:60]:
        log.add(entry)
    digest = log.fold.digest
    log.do("freeze", 1)
    for entry in facts()[60:80]:
        log.add(entry)
    log.do("retire", 2)
    assert log.fold.retired
    for entry in facts()[80:100]:
        log.add(entry)
    assert log.fold.digest == log.fold.learned_digest == digest, (
        "what it learned aside while frozen is dropped"
    )
    log.do("restore", 3)
    assert not log.fold.retired
    assert len(log.fold.left_out) == 2
    assert log.fold.version.revision == 2
    for entry in facts()[100:120]:
        log.add(entry)
    assert log.fold.digest != digest


STEPS = st.lists(
    st.one_of(
        st.integers(1, 25),
        st.sampled_from(
            ("freeze", "catch-up", "skip", "retire", "restore", "promote", "restart", "revision")
        ),
    ),
    max_size=20,
)


def play(steps: Sequence[int | str], restarts: bool) -> Iterator[ModelFold]:
    log, left, number = Log(), list(facts()), 0
    for step in steps:
        number += 1
        if isinstance(step, int):
            for entry in left[:step]:
                log.add(entry)
            del left[:step]
        elif step == "restart":
            if restarts and log.fold.is_named:
                log.fold = restarted(log.fold)
            yield log.fold
        elif step == "revision":
            log.add(Entry(f"t/revision/{number}", "command", 5, command=log.fold.opening()))
        else:
            name, mode = ("resume", step) if step in {"catch-up", "skip"} else (step, "")
            try:
                log.do(name, number, **({"mode": mode} if mode else {}))
            except CommandRejected:
                continue
    yield log.fold


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_restarts_at_any_place_change_nothing_and_no_name_is_given_to_two_states(
    steps: list[int | str],
) -> None:
    once, again = play(steps, restarts=False), play(steps, restarts=True)
    for one, other in zip(once, again, strict=True):
        assert knowledge(one) == knowledge(other)
    names: dict[str, str] = {}
    for fold in play([each for step in steps for each in (step, "restart")], restarts=False):
        named = [(str(fold.version), fold.digest)]
        named += [(str(fold.learned_version), fold.learned_digest)] if fold.is_named else []
        for name, digest in named:
            assert names.setdefault(name, digest) == digest


def test_the_driver_serves_by_roles_and_does_commands() -> None:
    driver = MemoryDriver(TASK)
    served: list[Prediction] = []

    def ask(number: int) -> Prediction:
        request = Request(f"r{number}", number, dict(ASKED[number % 3]), entity_key=f"e{number % 50}")
        served.append(driver.ask(request))
        return served[-1]

    assert {ask(number).scores[0].model for number in range(20)} == {FIRST}
    shares = {f"share.{FIRST}": "0.5", f"share.{SECOND}": "0.5"}
    driver.command(Command("share", "", shares, "ada", "a test", "c-1"))
    models = {f"e{n % 50}": ask(n).scores[0].model for n in range(20, 120)}
    assert set(models.values()) == {FIRST, SECOND}
    assert all(ask(n).scores[0].model == models[f"e{n % 50}"] for n in range(120, 220)), "sticky"
    assert {each.propensity for each in served[20:]} == {0.5}
    driver.command(Command("promote", SECOND, {}, "ada", "a test", "c-2"))
    driver.command(Command("retire", FIRST, {}, "ada", "a test", "c-3"))
    last = ask(300)
    assert [score.model for score in last.scores] == [
        model.name for model in TASK.models if model.name != FIRST
    ]
    assert (last.scores[0].model, last.propensity, last.log_offset) == (SECOND, 1.0, len(driver.log) - 1)
    with pytest.raises(CommandRejected, match="is retired: run riverloop models restore first"):
        driver.command(Command("promote", FIRST, {}, "ada", "a test", "c-4"))
