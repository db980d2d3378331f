"""`verify` recomputes from the log's commands which model answered each request, and with which propensity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.kafka.transaction import OutRecord
from infra.snapshots.models import LogPlace, pack
from infra.verify.report import Report
from schemas.records import Command, Control, Entry, Prediction
from streams.commands import command_entry_id, decide, decide_revision
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.revisions import ANCHORS, ROLLBACK
from tests.history import DAY, History
from tests.unit.test_verify import check, whats


def do(history: History, name: Any, model: str, **arguments: str) -> None:
    """Do a command as the log's owner does."""
    number = len(history.records[history.topics.control, 0])
    asked = Command(
        name, model, {key.replace("__", "."): value for key, value in arguments.items()}, "ada", "a test"
    )
    folds = {fold.model.name: fold for fold in history.models}
    asked = replace(asked, id=f"c-{number}")
    roles = history.models[0].roles
    command = decide_revision(asked, roles) if name == "revision" else decide(asked, roles, folds)
    entry = Entry(
        command_entry_id(history.loaded.task.name, command), "command", history.now, command=command
    )
    audit = Control("audit", command, history.now, entry.entry_id)
    key, codec = b"t", history.codec
    history.write([OutRecord(history.topics.log, key, codec.encode(entry, json=True), 0)])
    history.write([OutRecord(history.topics.control, key, codec.encode(audit), 0)])
    history.learn()


def ask(history: History, numbers: range) -> None:
    for number in numbers:
        history.ask(f"r-{number}", number * DAY, (number * 7 % 11) / 3, (number * 5 % 13) / 4)
        history.serve()
        if number % 4:
            history.report(f"r-{number}", (number + 1) * DAY, number % 3 == 0)
        history.resolve()


@pytest.fixture
def history() -> History:
    """Requests that are shared out, answered by a frozen model, by one that skips, and without a retired one."""
    made = History("answers", 2)
    for kept in list(made.records[made.topics.log, 0]):
        opening = made.codec.decode_entry(kept.value())
        assert opening.command is not None
        audit = made.codec.encode(Control("audit", opening.command, 0, opening.entry_id))
        made.write([OutRecord(made.topics.control, b"t", audit, 0)])
    ask(made, range(10))
    do(made, "share", "", share__lr="0.5", share__window="0.5")
    ask(made, range(10, 25))
    do(made, "freeze", "window")
    ask(made, range(25, 30))
    made.snapshot()
    ask(made, range(30, 35))
    do(made, "resume", "window", mode="catch-up")
    do(made, "freeze", "lr")
    ask(made, range(35, 42))
    do(made, "resume", "lr", mode="skip")
    ask(made, range(42, 46))
    do(made, "promote", "window")
    do(made, "retire", "lr")
    ask(made, range(46, 50))
    do(made, "restore", "lr")
    ask(made, range(50, 54))
    made.snapshot()
    return made


def predictions(history: History) -> list[tuple[int, int, Prediction]]:
    return [
        (number, kept.at, history.codec.decode_prediction(kept.value()))
        for number in range(2)
        for kept in history.records[history.topics.predictions, number]
    ]


def changed(history: History, number: int, at: int, prediction: Prediction) -> Report:
    topic = history.topics.predictions
    before = history.records[topic, number][at]
    history.change(topic, number, at, prediction)
    report = check(history)
    history.records[topic, number][at] = before
    return report


def test_a_history_of_commands_is_proved(history: History) -> None:
    report = check(history)
    assert report.failures == []
    assert report.counts["answers"] == report.counts["predictions"] == 54
    assert report.snapshots == 4
    answered = {prediction.scores[0].model for _, _, prediction in predictions(history)}
    assert answered == {"lr", "window"}
    assert report.reproduced == {"lr": 50, "window": 54}


def test_nobody_can_say_that_another_model_answered(history: History) -> None:
    for number, at, prediction in predictions(history):
        if len(prediction.scores) == 2:
            report = changed(history, number, at, replace(prediction, scores=prediction.scores[::-1]))
            assert "another model than the one that was drawn" in whats(report)


def test_nobody_can_change_a_propensity_or_the_offset_of_a_prediction(history: History) -> None:
    for number, at, prediction in predictions(history):
        share = 0.5 if prediction.propensity == 1.0 else 1.0
        assert "the propensity of the answer" in whats(
            changed(history, number, at, replace(prediction, propensity=share))
        )
        assert prediction.log_offset is not None
        for offset in (prediction.log_offset - 1, prediction.log_offset + 1, 10_000):
            report = changed(history, number, at, replace(prediction, log_offset=offset))
            assert not report.ok, f"{prediction.request_id} at {offset}"
        assert "a prediction has no log offset" in whats(
            changed(history, number, at, replace(prediction, log_offset=None))
        )


def test_no_command_can_be_changed_added_or_left_out(history: History) -> None:
    log = history.records[history.topics.log, 0]
    whole = list(log)
    for kept in whole:
        entry = history.codec.decode_entry(kept.value())
        if entry.command is None or not entry.command.id:
            continue
        others = {
            "share": {"share.lr": "0.1", "share.window": "0.9"},
            "resume": {"mode": "skip" if entry.command.arguments.get("mode") == "catch-up" else "catch-up"},
        }
        arguments = {**entry.command.arguments, **others.get(entry.command.name, {})}
        if arguments != entry.command.arguments:
            command = replace(entry.command, arguments=arguments)
            history.change(history.topics.log, 0, kept.at, replace(entry, command=command))
            assert not check(history).ok, entry.command
        idle = Entry(f"{history.loaded.task.name}[0]@0#0", "time", 0, partition=0)
        history.change(history.topics.log, 0, kept.at, idle)
        assert not check(history).ok, entry.command
        log[:] = whole


def test_an_audit_without_its_command_and_a_command_without_its_audit_are_found(history: History) -> None:
    control = history.records[history.topics.control, 0]
    whole = list(control)
    del control[2]
    assert "has no audit" in whats(check(history))
    control[:] = whole
    command = Command("freeze", "lr", {}, "ada", "never done", "c-99")
    audit = Control("audit", command, history.now, "answers/command/c-99")
    history.write([OutRecord(history.topics.control, b"t", history.codec.encode(audit), 0)])
    assert "command answers/command/c-99 has an audit and is not in the log" in whats(check(history))


def test_a_state_that_two_rollbacks_have_named_is_compared_under_both_names(history: History) -> None:
    before, left_out = check(history).snapshots, LeaveOut.parse(["5..9"])
    task, (model, *_) = history.loaded.task, history.loaded.task.models
    aside = ModelFold(task, model, history.runtime, leave_out=left_out)

    def prepared() -> str:
        for kept in history.records[history.topics.log, 0][aside.next_offset :]:
            aside.apply(kept.at, history.codec.decode_entry(kept.value()))
        place = LogPlace(history.topics.log, history.context.log_topic_id)
        made = pack(aside, place, "text", history.codec.fingerprints, {}, [], history.now).manifest
        history.send(history.topics.snapshots, made.version, made, 0)
        return made.version

    do(history, "rollback", "lr", mode="rebuild", left_out=left_out.text)
    first = prepared()
    do(history, "rollback", "lr", mode="abandon")
    do(history, "rollback", "lr", mode="rebuild", left_out=left_out.text)
    second = prepared()
    assert (first, second) == ("lr.4@60", "lr.5@60")
    found = history.models[0].roles.revisions.rollbacks["lr"]
    opening = aside.next_opening() | {ROLLBACK: found.id, ANCHORS: second}
    do(history, "revision", "lr", **opening)
    report = check(history)
    assert report.failures == []
    assert report.snapshots == before + 2
