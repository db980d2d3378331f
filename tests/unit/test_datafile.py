from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from schemas import Boolean, Category, Dictionary, Integer, Number
from schemas.errors import UsageError
from schemas.event_time import EARLIEST
from schemas.records import Outcome, Request
from streams.datafile import DataFile, Event, in_time_order, millis

FEATURES = Dictionary(
    Number(name="x", column="X value"),
    Integer(name="n", optional=True),
    Category(name="c", missing="NA"),
    Boolean(name="b", optional=True),
)
ROW = {"id": "a", "when": "1970-01-01T00:00:01", "X value": "1.5", "n": "", "c": "", "b": "true", "y": "1"}
Reported = Callable[[Mapping[str, str]], Any]


def outcome(row: Mapping[str, str]) -> Any:
    return (5000, row["y"] == "1") if row["y"] else None


def read(*rows: Mapping[str, str], reported: Reported = outcome, **more: Any) -> list[Event]:
    kind = more.pop("kind", None)
    named = {"request_id": "id", "ts": "when"} | more
    return list(DataFile(outcome=reported, **named).events(rows, FEATURES, kind))


def rejected(*rows: Mapping[str, str], **more: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(*rows, **more)
    return str(caught.value)


def test_a_row_becomes_a_request_and_what_became_of_it() -> None:
    assert read(ROW, ROW | {"id": "b", "y": ""}) == [
        Event(Request("a", 1000, {"x": 1.5, "c": "NA", "b": True}), (Outcome("a", 5000, True),)),
        Event(Request("b", 1000, {"x": 1.5, "c": "NA", "b": True}), ()),
    ]


def test_callables_may_make_id_and_time() -> None:
    (event,) = read(ROW, request_id=lambda row: row["id"] + "-1", ts=lambda row: 7)
    assert (event.request.request_id, event.request.ts) == ("a-1", 7)
    assert event.outcomes[0].request_id == "a-1"


def test_features_are_canonical_as_they_are_on_the_wire() -> None:
    (event,) = read(ROW | {"X value": "-0.0", "n": "3.0", "c": "new", "b": "0"})
    assert str(event.request.features) == "{'x': 0.0, 'n': 3, 'c': 'new', 'b': False}"
    (event,) = read(ROW | {"b": "TRUE"})
    assert event.request.features["b"] is True


def test_outcomes_may_be_one_several_or_none() -> None:
    pairs = [(5, True), (6, False)]
    for reported in (pairs, iter(pairs), (pair for pair in pairs)):
        (event,) = read(ROW, reported=lambda row, reported=reported: reported)  # type: ignore[misc]  # bound at once
        assert [(each.ts, each.value) for each in event.outcomes] == pairs
    assert read(ROW, reported=lambda row: [])[0].outcomes == ()


def test_a_null_outcome_has_a_reason_as_the_wire_demands() -> None:
    (event,) = read(ROW, reported=lambda row: (5, None))
    assert event.outcomes[0].reason == "no value in the data file"


@pytest.mark.parametrize(
    ("kind", "value", "canonical"),
    [("binary", 1, True), ("binary", 0.0, False), ("regression", 3, 3.0), ("multiclass", "a", "a")],
)
def test_values_take_the_form_that_they_have_on_the_wire(kind: str, value: Any, canonical: Any) -> None:
    (event,) = read(ROW, reported=lambda row: (5, value), kind=kind)
    found = event.outcomes[0].value
    assert (found, type(found)) == (canonical, type(canonical))


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("binary", "1", "value must be true, false, 0 or 1, not text"),
        ("binary", 2, "value must be true, false, 0 or 1, not 2"),
        ("multiclass", 1, "value must be a class as text, not 1"),
        ("regression", True, "value must be a number, not True"),
        ("regression", float("nan"), "value must be a finite number, not nan"),
    ],
)
def test_a_value_of_the_wrong_kind_is_rejected_with_its_row(kind: str, value: Any, reason: str) -> None:
    assert rejected(ROW, reported=lambda row: (5, value), kind=kind) == f"row 1: {reason}"


def without(column: str) -> dict[str, str]:
    return {name: cell for name, cell in ROW.items() if name != column}


@pytest.mark.parametrize("column", ["id", "when", "y", "X value", "n", "c"])
def test_a_missing_column_is_named_with_those_there_are(column: str) -> None:
    """Also one of an optional feature: it would be missing in every row."""
    row = without(column)
    assert rejected(row) == f"row 1: column {column!r} is missing; the columns are {', '.join(row)}"


def test_what_is_left_out_needs_no_column() -> None:
    features = Dictionary(Number(name="x"), Category(name="name", personal_data="left_out"))
    file = DataFile(request_id="id", ts=lambda row: 0, outcome=lambda row: None)
    (event,) = file.events([{"id": "a", "x": "1"}], features)
    assert event.request.features == {"x": 1.0}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"when": ""}, "Invalid isoformat string: ''"),
        ({"when": "01.07.2015"}, "Invalid isoformat string: '01.07.2015'"),
        ({"when": "1969-12-31"}, "ts must be ms since 1970-01-01 UTC, 0 to 2^53 - 1, not -86400000"),
        ({"X value": ""}, "feature x is required"),
        ({"X value": "much"}, "feature x must be a number, not 'much' (str)"),
        ({"n": "1.5"}, "feature n must be a whole number, not 1.5 (float)"),
        ({"b": "maybe"}, "feature b must be true or false, not 'maybe' (str)"),
        ({"id": ""}, "request_id must have 1 to 200 characters, not 0"),
        ({"id": "x" * 201}, "request_id must have 1 to 200 characters, not 201"),
    ],
)
def test_a_wrong_cell_is_rejected_with_its_row(change: dict[str, str], reason: str) -> None:
    assert rejected(ROW, ROW | change) == f"row 2: {reason}"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"ts": lambda row: 1.5},
            "TypeError: ts must be whole milliseconds, not 1.5; see streams.millis",
        ),
        (
            {"reported": lambda row: ("2020-01-01", True)},
            "TypeError: the outcome's time must be whole milliseconds, not '2020-01-01'; see streams.millis",
        ),
        ({"reported": lambda row: (-1, True)}, "ts must be ms since 1970-01-01 UTC, 0 to 2^53 - 1, not -1"),
        ({"reported": lambda row: (1, True, "lost")}, "too many values to unpack (expected 2)"),
        ({"reported": lambda row: [1, True]}, "TypeError: cannot unpack non-iterable int object"),
        ({"reported": lambda row: row["x"][5]}, "column 'x' is missing; the columns are " + ", ".join(ROW)),
        ({"reported": lambda row: row["id"][5]}, "IndexError: string index out of range"),
        ({"ts": lambda row: 1 // 0}, "ZeroDivisionError: integer division or modulo by zero"),
        ({"request_id": lambda row: row.none}, "AttributeError: 'dict' object has no attribute 'none'"),
    ],
)
def test_a_mistake_in_the_task_files_callables_is_reported_with_its_row(
    more: dict[str, Any], reason: str
) -> None:
    assert rejected(ROW, **more) == f"row 1: {reason}"


def test_rows_before_a_wrong_one_are_given() -> None:
    file = DataFile(request_id="id", ts="when", outcome=outcome)
    events = file.events(iter([ROW, ROW | {"when": "?"}]), FEATURES)
    assert next(events).request.request_id == "a"
    with pytest.raises(UsageError, match="row 2"):
        next(events)


def test_an_error_of_the_reader_is_its_own() -> None:
    def rows() -> Any:
        yield ROW
        raise UsageError("the file ends here")

    events = DataFile(request_id="id", ts="when", outcome=outcome).events(rows(), FEATURES)
    with pytest.raises(UsageError, match=r"^the file ends here$"):
        list(events)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01", 0),
        ("2015-07-01", 1_435_708_800_000),
        ("2015-07-01 00:00:00.001", 1_435_708_800_001),
        ("2015-07-01T00:00:00Z", 1_435_708_800_000),
        ("2015-07-01T02:00:00+02:00", 1_435_708_800_000),
        ("2015-10-25T02:30:00", 1_445_740_200_000),  # there is no summer time in UTC
        ("9999-12-31T23:59:59.999", 253_402_300_799_999),
    ],
)
def test_times_are_utc_to_the_millisecond_whatever_the_machines_zone(text: str, ms: int) -> None:
    assert millis(text) == ms


def test_events_are_ordered_by_request_time_and_else_stay_as_they_are() -> None:
    events = [Event(Request(name, ts, {}), ()) for name, ts in zip("abcd", (5, 3, 5, 3), strict=True)]
    assert [each.request.request_id for each in in_time_order(events)] == ["b", "d", "a", "c"]


def test_a_row_before_the_tasks_earliest_time_is_rejected_naming_the_way_out() -> None:
    features = Dictionary(Number(name="x"))
    data = DataFile(request_id="id", ts=lambda row: int(row["at"]), outcome=lambda row: None)
    rows = [{"id": "a", "at": "1700000000", "x": "1"}]
    assert [each.request.ts for each in data.events(rows, features)] == [1_700_000_000]
    with pytest.raises(
        UsageError, match=r"row 1: ts=1700000000 .*send milliseconds instead of seconds.* set earliest="
    ):
        list(data.events(rows, features, earliest=EARLIEST))
