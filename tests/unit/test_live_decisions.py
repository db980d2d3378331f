"""What the page shows of decisions: a fold of `T.control`, the same after each restart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from infra.past import SPEC_TEXT
from infra.web.decisions import MOST, Decisions
from schemas.applied import Applied
from schemas.records import Command, Control
from streams.rollout import VALIDATION

SPEC = {"spec": "s-1", "runtime": "r-1", "dictionary": "d-1"}


def opening(model: str, number: int = 1, /, **arguments: str) -> Control:
    given = {"revision": str(number)} | SPEC | {"schema.Entry": "{}"} | arguments
    command = Command("revision", model, given, reason="first revision")
    return Control("audit", command, 100 + number, f"stay/{model}/revision/{number}")


def asked(name: Any, command_id: str, model: str = "") -> Control:
    command = Command(name, model, {}, "ada", "a <b>reason</b>", command_id, "token", 900)
    return Control("request", command, 900)


def done(request: Control, at: int = 1000) -> Control:
    return replace(request, kind="audit", ts=at, entry_id=f"stay/command/{request.command.id}")


def shown(
    *records: Control | Applied, live: Any = None, here: Any = None, texts: Any = None
) -> dict[str, Any]:
    decisions = Decisions("stay")
    for offset, record in enumerate(records):
        decisions.take(offset, record)
    found = decisions.as_data(live, here or {}, texts or {})
    assert json.loads(json.dumps(found)) == found
    return found


PROMOTE = asked("promote", "c-1", "ht")
BEGUN = (opening("lr"), opening("ht"))


def test_a_decision_has_its_time_author_reason_and_who_answered_before_and_after() -> None:
    newest, *openings = shown(*BEGUN, PROMOTE, done(PROMOTE))["rows"]
    assert (newest["state"], newest["command"], newest["model"], newest["at"]) == (
        "done",
        "promote",
        "ht",
        1000,
    )
    assert (newest["author"], newest["reason"], newest["asked"]) == ("ada", "a <b>reason</b>", 900)
    assert (newest["before"], newest["after"]) == ({"lr": 1.0}, {"ht": 1.0})
    assert [(each["model"], each["author"], each["arguments"]) for each in openings] == [
        ("ht", "", {"revision": "1"}),
        ("lr", "", {"revision": "1"}),
    ], "what is written for workers is not for people"
    # The first model's revision makes it the champion; the second one joins as a shadow.
    assert [each["after"] for each in openings] == [None, {"lr": 1.0}]


def test_each_model_names_the_decision_by_which_it_does_what_it_does() -> None:
    freeze = asked("freeze", "c-2", "lr")
    since = shown(*BEGUN, done(PROMOTE), done(freeze, 2000))["since"]
    assert {name: (each["command"], each["at"]) for name, each in since.items()} == {
        "ht": ("promote", 1000),
        "lr": ("freeze", 2000),
    }


def test_a_request_waits_until_it_is_done_or_rejected_and_is_shown_once() -> None:
    rejected = replace(done(PROMOTE), entry_id="", rejected="ht answers all requests already")
    for records, state, why in (
        ((PROMOTE,), "asked", ""),
        ((PROMOTE, PROMOTE, rejected), "rejected", "ht answers all requests already"),
        ((PROMOTE, done(PROMOTE), PROMOTE), "done", ""),
        ((PROMOTE, done(PROMOTE), done(PROMOTE, 5000)), "done", ""),
    ):
        row, *rest = shown(*BEGUN, *records)["rows"]
        assert (row["id"], row["state"], row["why"], len(rest)) == ("c-1", state, why, 2)
        assert row["at"] == (900 if state == "asked" else 1000)


def test_a_decision_names_the_live_workers_that_have_not_applied_it() -> None:
    entry = done(PROMOTE).entry_id
    reports = (Applied("a", 40, 0, {entry: 40}), Applied("b", 39, 0), Applied("gone", 12, 0))
    for live, workers in (
        (None, None),
        (["a", "b"], {"active": ["a"], "waiting": ["b"]}),
        (["a"], {"active": ["a"], "waiting": []}),
    ):
        row = shown(*BEGUN, done(PROMOTE), *reports, live=live)["rows"][0]
        assert (row["offset"], row["workers"]) == (40, workers)
    late = shown(*BEGUN, done(PROMOTE), *reports, Applied("b", 41, 0, {entry: 40}), live=["a", "b"])["rows"][
        0
    ]
    assert late["workers"] == {"active": ["a", "b"], "waiting": []}


def test_before_a_worker_reports_it_the_own_log_knows_the_offset() -> None:
    entry = done(PROMOTE).entry_id
    assert shown(*BEGUN, done(PROMOTE))["rows"][0]["offset"] is None
    assert shown(*BEGUN, done(PROMOTE), here={entry: 40})["rows"][0]["offset"] == 40


def test_a_revision_shows_the_lines_of_its_specification_that_changed() -> None:
    first, second = "SGD(\n  lr=0.01\n  l2=0.\n)", "SGD(\n  lr=0.05\n  l2=0.\n)"
    records = (
        opening("lr", **{SPEC_TEXT: first}),
        opening("lr", 2, spec="s-2", **{SPEC_TEXT: second}),
        opening("lr", 3, spec="s-2", runtime="r-2"),
    )
    runtime, changed, begun = shown(*records)["revisions"]["lr"]
    assert (begun["revision"], begun["lines"], begun["changed"]) == ("1", [], [])
    assert changed["lines"] == [" SGD(", "-  lr=0.01", "+  lr=0.05", "   l2=0."]
    assert (changed["changed"], runtime["changed"], runtime["lines"]) == (["spec"], ["runtime"], [])
    assert (runtime["text"], changed["text"]) == (second, None), "the newest one is shown whole"
    dashes = shown(opening("lr", **{SPEC_TEXT: "-- a"}), opening("lr", 2, spec="s-2", **{SPEC_TEXT: "++ b"}))
    assert dashes["revisions"]["lr"][0]["lines"] == ["--- a", "+++ b"], "no line is lost"
    # What the log does not have, snapshots may.
    older = shown(opening("lr"), *records[1:], texts={"s-1": first})["revisions"]["lr"][1]
    assert older["lines"] == changed["lines"]


def test_audits_of_other_things_are_no_decisions_about_models() -> None:
    other = Control("audit", Command("forget", "", {}, id="f-1"), 5)
    assert shown(*BEGUN, other)["rows"] == shown(*BEGUN)["rows"]


def test_the_newest_decisions_are_kept_also_when_the_beginning_was_not_read() -> None:
    many = [done(asked("freeze", f"c-{number}", "lr"), 1000 + number) for number in range(MOST + 5)]
    found = shown(*BEGUN, *many)["rows"]
    assert len(found) == MOST
    assert found[0]["id"] == f"c-{MOST + 4}"
    row = shown(done(PROMOTE))["rows"][0]
    assert (row["state"], row["before"], row["after"]) == ("done", None, None)
    assert shown(done(PROMOTE))["since"] == {}


def test_validations_are_left_out_of_the_timeline_and_a_new_one_changes_nobody_s_share() -> None:
    about = {"version": "ht.1@1", "at": "2", "configuration": "c", "verdict": "failed"}
    validation = Command(VALIDATION, "ht", about, "ada", "loss: too high", "v-1", "os_user", 900)
    records = [Control("request", validation, 900), Control("audit", validation, 901, "stay/command/v-1")]
    found = shown(*BEGUN, *records, PROMOTE, done(PROMOTE))
    assert [each["command"] for each in found["rows"]] == ["promote", "revision", "revision"]
    assert found["since"]["ht"]["command"] == "promote"
