"""`verify` judges validations again: true ones hold, and one that says anything else is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.kafka.transaction import OutRecord
from infra.verify import Report, verify
from schemas.records import Command, Entry
from streams import BeatsEarlier, Loss, Replay, ScoreRange, Validation
from streams.commands import command_entry_id
from streams.model import ModelFold
from streams.rollout import AT, CONFIGURATION, VERDICT, VERSION
from streams.validation.verdict import Earlier, validate
from tests import history as histories
from tests.history import History, MemorySource, ordinary

EVERY = 20
CHECKS = (Loss(limit=0.9, least=5), ScoreRange(missing=0.9), BeatsEarlier(ago=1, least=1), Replay())
RULES = Validation(checks=CHECKS, every=EVERY, window=15)
Change = Callable[[Command], Command]


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> History:
    """A history whose task has a validation."""
    made = histories.make_task

    def with_validation(name: str) -> Any:
        loaded = made(name)
        return replace(loaded, task=replace(loaded.task, validation=RULES))

    monkeypatch.setattr(histories, "make_task", with_validation)
    return ordinary("validated")


def command(history: History, at: int) -> Command:
    """Judge the first model at an offset, from nothing but the log."""
    task, entries = history.loaded.task, history.entries()

    def folded(until: int) -> ModelFold:
        fold = ModelFold(task, task.models[0], history.runtime)
        for offset, entry in enumerate(entries[:until]):
            fold.apply(offset, entry)
        return fold

    earlier = Earlier(at - EVERY, folded(at - EVERY)) if at > EVERY else None
    found = validate(RULES, task, at, folded(at), entries[max(0, at - 15) : at], earlier=earlier)
    return found.command("ada", "os_user", 0)


def write(history: History, made: Command) -> None:
    name = history.loaded.task.name
    entry = Entry(command_entry_id(name, made), "command", 0, command=made)
    history.write([OutRecord(history.topics.log, name.encode(), history.codec.encode(entry, json=True), 0)])


def check(history: History) -> Report:
    return verify(history.loaded, history.codec, MemorySource(history), "runtime", None)


def test_true_verdicts_hold(history: History) -> None:
    for at in (EVERY, 2 * EVERY):
        write(history, command(history, at))
    report = check(history)
    assert report.failures == []
    assert report.counts["validations"] == 2
    assert any(each["judged"] for each in json.loads(command(history, 2 * EVERY).evidence)["checks"])


def _evidence(made: Command, **changes: Any) -> str:
    found = json.loads(made.evidence)
    found["checks"][0] |= changes
    return json.dumps(found)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda made: replace(made, evidence=_evidence(made, value=0.5)), "results"),
        (lambda made: replace(made, evidence=_evidence(made, passed=False)), "results"),
        (lambda made: replace(made, evidence='{"checks":[]}'), "results"),
        (lambda made: replace(made, evidence="no json"), "results"),
        (lambda made: replace(made, arguments={**made.arguments, VERDICT: "failed"}), "verdict"),
        (lambda made: replace(made, arguments={**made.arguments, VERSION: "lr.1@1"}), "version lr.1@1"),
        (lambda made: replace(made, arguments={**made.arguments, AT: str(EVERY)}), "does not lead|results"),
        (lambda made: replace(made, arguments={**made.arguments, AT: "900"}), "behind it"),
    ],
)
def test_a_verdict_that_the_log_does_not_give_is_found(history: History, change: Change, what: str) -> None:
    write(history, change(command(history, 2 * EVERY)))
    report = check(history)
    assert report.failed == 1
    assert any(each in report.failures[0].what for each in what.split("|")), report.failures


def test_a_verdict_of_another_configuration_is_counted(history: History) -> None:
    made = command(history, 2 * EVERY)
    write(history, replace(made, arguments={**made.arguments, CONFIGURATION: "0123456789abcdef"}))
    report = check(history)
    assert report.ok
    assert (report.counts["validations"], report.counts["other_validations"]) == (0, 1)
