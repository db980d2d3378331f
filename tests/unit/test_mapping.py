"""Outcomes from topics of other systems: each recorded change gives what its declaration says."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from river.dummy import NoChangeClassifier

from schemas.dictionary import Dictionary, Number
from schemas.errors import BadRecord, TaskError
from schemas.records import Outcome
from streams import Model, OutcomeMapping, Task

CHANGES = sorted((Path(__file__).parents[1] / "changes").glob("*.json"))
VALUES = {"paid": True, "refused": False}
DEBEZIUM = OutcomeMapping(
    topic="shop.public.orders",
    format="debezium",
    request_id="after.request_id",
    value="after.status",
    values=VALUES,
    delete="unavailable",
)
CONNECT = OutcomeMapping(
    topic="shop.public.orders",
    format="connect",
    request_id="request_id",
    value="status",
    values=VALUES,
    ts="__source_ts_ms",
    delete="unavailable",
)
ROW = {"request_id": 7, "status": "paid", "paid_at": "2024-01-01T12:00:00Z", "version": 3, "amount": "12.50"}
SOURCE = {"ts_ms": 1_704_106_800_000, "lsn": 99}


def change(op: str = "u", **more: Any) -> dict[str, Any]:
    row = ROW | more
    before, after = (row, None) if op == "d" else (None, row)
    return {"op": op, "before": before, "after": after, "source": SOURCE, "ts_ms": 1_704_106_800_300}


def mapping(**more: Any) -> OutcomeMapping:
    declared: dict[str, Any] = {
        "topic": "orders",
        "format": "debezium",
        "request_id": "after.request_id",
        "value": "after.status",
        "values": VALUES,
    }
    return OutcomeMapping(**(declared | more))


def test_there_are_ten_changes_and_more() -> None:
    assert len(CHANGES) >= 10


@pytest.mark.parametrize("path", CHANGES, ids=lambda path: path.stem)
def test_a_recorded_change_gives_its_outcome(path: Path) -> None:
    case = json.loads(path.read_text())
    declared = {"debezium": DEBEZIUM, "connect": CONNECT}[case["format"]]
    if "rejected" in case:
        with pytest.raises(BadRecord) as caught:
            declared.outcome(case["value"], "binary")
        assert [caught.value.reason, caught.value.field] == case["rejected"]
        return
    found = declared.outcome(case["value"], "binary")
    expected = case["outcome"]
    assert found == (None if expected is None else Outcome(**expected))


def test_time_and_revision_are_where_they_are_declared() -> None:
    declared = mapping(ts="after.paid_at", time="iso8601", revision="source.lsn")
    assert declared.outcome(change(), "binary") == Outcome("7", 1_704_110_400_000, True, 99)


def test_a_deletion_has_the_time_of_the_database() -> None:
    declared = mapping(ts="after.paid_at", time="iso8601", delete="unavailable", revision="after.version")
    expected = Outcome("7", SOURCE["ts_ms"], None, 3, "deleted")
    assert declared.outcome(change("d"), "binary") == expected
    assert mapping().outcome(change("d"), "binary") is None


def test_a_number_as_text_needs_its_declaration() -> None:
    with pytest.raises(BadRecord, match=r"after\.amount: value must be a number"):
        mapping(value="after.amount", values={}).outcome(change(), "regression")
    found = mapping(value="after.amount", values={}, numbers="text").outcome(change(), "regression")
    assert found is not None
    assert found.value == 12.5
    classes = mapping(value="after.amount", values={}, numbers="text").outcome(change(), "multiclass")
    assert classes is not None
    assert classes.value == "12.50"


def test_where_ignores_what_is_not_meant() -> None:
    declared = mapping(where={"after.status": ("paid", "refused"), "source.lsn": 99})
    assert declared.outcome(change(status="packed"), "binary") is None
    assert declared.outcome(change(), "binary") is not None
    deleting = mapping(where={"after.status": "paid"}, delete="unavailable")
    assert deleting.outcome(change("d", status=None), "binary") is not None  # a deleted row says no status
    with pytest.raises(BadRecord, match=r"after\.country is missing"):
        mapping(where={"after.country": "DE"}).outcome(change(), "binary")


def test_values_are_compared_with_their_types() -> None:
    declared = mapping(values={1: True, 0: False})
    assert declared.outcome(change(status=1), "binary") is not None
    for wrong in (True, "1", 1.0):
        with pytest.raises(BadRecord, match="which values= does not list"):
            declared.outcome(change(status=wrong), "binary")


def test_a_value_may_say_that_no_truth_will_come() -> None:
    found = mapping(values=VALUES | {"lost": None}).outcome(change(status="lost"), "binary")
    assert found == Outcome("7", SOURCE["ts_ms"], None, None, "after.status is lost")


@pytest.mark.parametrize(
    ("more", "record", "reason", "field"),
    [
        ({}, {"request_id": "x", "status": "paid"}, "wrong_record", "op"),
        ({}, change(request_id=None), "missing_field", "after.request_id"),
        ({}, change(request_id=1.5), "wrong_type", "after.request_id"),
        ({}, change(request_id=""), "out_of_range", "after.request_id"),
        ({}, change() | {"source": None}, "missing_field", "source.ts_ms"),
        ({}, change() | {"after": "{}"}, "missing_field", "after.status"),
        ({}, {"schema": None, "payload": None}, "wrong_record", "payload"),
        ({"revision": "after.status"}, change(), "wrong_type", "after.status"),
        ({"ts": "after.paid_at", "time": "us"}, change(), "wrong_type", "after.paid_at"),
        ({"ts": "after.paid_at", "time": "us"}, change(paid_at=None), "missing_field", "after.paid_at"),
    ],
)
def test_a_bad_change_names_its_field(more: Any, record: Any, reason: str, field: str) -> None:
    with pytest.raises(BadRecord) as caught:
        mapping(**more).outcome(record, "binary")
    assert (caught.value.reason, caught.value.field) == (reason, field)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"topic": "a b"}, "name of a topic"),
        ({"format": "avro"}, "must be one of debezium, connect, json"),
        ({"delete": "drop"}, "must be one of ignore, unavailable"),
        ({"value": "status"}, "is not in a Debezium envelope"),
        ({"value": ""}, "must be a path"),
        ({"value": "after..x"}, "must be a path"),
        ({"format": "connect"}, "ts= must name the field"),
        ({"format": "json", "ts": "ts", "delete": "unavailable"}, "needs format="),
        ({"time": "days"}, "time="),
        ({"values": {"a": ("b",)}}, "values= must map"),
    ],
)
def test_a_wrong_declaration_says_what_to_do(more: Any, text: str) -> None:
    with pytest.raises(TaskError, match=text):
        mapping(**more)


def task(*mappings: OutcomeMapping) -> Task:
    return Task(
        name="shop",
        question="?",
        horizon=timedelta(days=1),
        features=Dictionary(Number(name="x")),
        models=(Model("none", NoChangeClassifier),),
        outcomes_from=mappings,
    )


@pytest.mark.parametrize(
    ("mappings", "text"),
    [
        ((mapping(), mapping()), "has two mappings"),
        ((mapping(topic="shop.outcomes"),), "is a topic of the task"),
        ((mapping(values={"paid": "yes"}),), "values= has 'yes'"),
    ],
)
def test_a_task_checks_its_mappings(mappings: Any, text: str) -> None:
    with pytest.raises(TaskError, match=text):
        task(*mappings)
    assert task(mapping()).outcomes_from == (mapping(),)
