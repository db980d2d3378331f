"""What leaves the loop: the same record makes the same event, with what a person has to know, and no more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.alert import Alert, Evidence
from schemas.applied import Applied
from schemas.records import Command, Control, Position
from streams.audit import AuditChain
from streams.notify.events import Decided, Event, Place, of_alert
from streams.notify.runbooks import EPISODES, REQUESTS

TOPIC_ID = "Fk3xZ"
ALERT = Alert(
    "hotel/drift@7",
    "opened",
    "warning",
    "drift",
    "excess_log_loss",
    "up",
    "lr",
    "lr.1@7",
    "lead_time",
    Evidence("adwin", "difference of means", 0.25, 0.125),
    1,
    False,
    7,
    1,
    1,
    "The loss rose.",
    "r-1",
    "ValueError: guest 4711",
)


def place(offset: int, topic: str = "hotel.control") -> Place:
    return Place(Position(topic, 0, offset), TOPIC_ID, 1_700_000_000_000 + offset)


def audit(name: Any, model: str, entry: str = "", rejected: str = "", **arguments: str) -> Control:
    command = Command(name, model, arguments, "ann", "better", f"c-{name}-{model}", "token", 5, '{"n": 12}')
    return Control("audit", command, 6, entry, rejected)


def taken(*records: Control | Applied) -> list[Event | None]:
    decided, chain = Decided("hotel"), AuditChain()
    return [decided.take(place(offset), each, chain.take(each, None)) for offset, each in enumerate(records)]


def opened(model: str, number: int) -> Control:
    stamp = {"revision": "1", "spec": model, "runtime": "r", "dictionary": "d"}
    return audit("revision", model, f"e@{number}", **stamp, spec_text="x" * 5_000)


def test_a_decision_says_who_answered_before_and_after_and_its_place_in_the_chain() -> None:
    records: list[Control | Applied] = [
        opened("lr", 0),
        opened("ht", 1),
        audit("promote", "ht", "e@2"),
        Applied("0", 2, 7),
    ]
    first, _, promoted, nothing = taken(*records)
    assert nothing is None
    assert first is not None
    assert promoted is not None
    assert "spec_text" not in first.data["arguments"]
    chain = AuditChain()
    lines = [chain.take(each, None) for each in records]
    assert promoted.type == "decision.promote"
    said = {
        name: promoted.data[name] for name in ("from", "to", "actor", "authentication", "reason", "result")
    }
    assert said == {
        "from": {"lr": 1.0},
        "to": {"ht": 1.0},
        "actor": "ann",
        "authentication": "token",
        "reason": "better",
        "result": "done",
    }
    assert promoted.data["evidence"] == {"n": 12}
    assert (promoted.data["audit_number"], promoted.data["audit_hash"]) == (2, lines[2].hash)
    assert promoted.data["at"] == "hotel.control[0]@2"


def test_a_rejected_decision_changes_nothing_and_says_why() -> None:
    *_, refused = taken(opened("lr", 0), opened("ht", 1), audit("promote", "ht", rejected="it is frozen"))
    assert refused is not None
    assert refused.data["result"] == "rejected: it is frozen"
    assert refused.data["from"] == refused.data["to"] == {"lr": 1.0}


def test_a_validation_is_a_type_of_its_own_and_a_request_is_no_event() -> None:
    found = taken(
        opened("lr", 0),
        audit("validation", "lr", "e@1", at="100", verdict="failed"),
        Control("request", Command("promote", "lr"), 1),
    )
    assert [each and each.type for each in found] == ["decision.revision", "validation.failed", None]


def test_arguments_of_commands_that_concern_no_model_stay() -> None:
    (forgotten,) = taken(audit("forget", "", key="destroyed"))
    assert forgotten is not None
    assert forgotten.data["arguments"] == {}


def test_a_record_has_one_id_and_others_have_others() -> None:
    assert place(3).event_id == place(3).event_id == replace(place(3), arrived=1).event_id
    others = [place(4), place(3, "hotel.alerts"), replace(place(3), topic_id="other")]
    assert len({each.event_id for each in (place(3), *others)}) == 4


def test_an_alert_has_its_runbook_and_not_what_the_code_raised() -> None:
    event = of_alert("hotel", place(1, "hotel.alerts"), ALERT)
    assert (event.type, event.kind, event.feature) == ("alert.opened", "alert", "lead_time")
    assert event.data["runbook"] == "docs/operations/runbooks/drift-episode.md"
    assert event.data["evidence"]["value"] == 0.25
    assert b"4711" not in event.body
    assert json.loads(event.body)["data"]["text"] == "The loss rose."


@pytest.mark.parametrize("runbook", sorted({name for _, name in (*EPISODES.values(), REQUESTS)}))
def test_every_runbook_of_the_table_exists(runbook: str) -> None:
    assert (Path(__file__).parents[2] / "docs/operations/runbooks" / f"{runbook}.md").is_file()
