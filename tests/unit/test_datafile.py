from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from schemas import Boolean, Category, Dictionary, Integer, Number
from schemas.errors import UsageError
from schemas.event_time import EARLIEST
from schemas.records import Outcome, Request
from streams.cells import Cells, millis
from streams.datafile import DataFile, Event, in_time_order

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
    named = {"request_id": "id", "ts": "when", "timezone": "UTC"} | more
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
def test_a_value_of_the_wrong_kind_is_refused_with_its_row(kind: str, value: Any, reason: str) -> None:
    assert rejected(ROW, reported=lambda row: (5, value), kind=kind) == (
        f"row 1: outcome= of the DataFile failed: {reason}"
    )


def without(column: str) -> dict[str, str]:
    return {name: cell for name, cell in ROW.items() if name != column}


@pytest.mark.parametrize("column", ["id", "when", "y", "X value", "n", "c"])
def test_a_missing_column_is_named_with_those_there_are(column: str) -> None:
    """Also one of an optional feature: it would be missing in every row."""
    row = without(column)
    at = "outcome= of the DataFile failed: " if column == "y" else ""
    assert rejected(row) == (
        f"row 1: {at}column {column!r} is missing; the columns are {', '.join(row)}; "
        "correct the name in the task file"
    )


def test_what_is_left_out_needs_no_column() -> None:
    features = Dictionary(Number(name="x"), Category(name="name", personal_data="left_out"))
    file = DataFile(request_id="id", ts=lambda row: 0, outcome=lambda row: None)
    (event,) = file.events([{"id": "a", "x": "1"}], features)
    assert event.request.features == {"x": 1.0}


ISO = "set its format in DataFile(...), for example dates='%d.%m.%Y %H:%M'"
CELL = "; write digits with a decimal point, without units or separators"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"when": ""}, "column 'when', cell '': is empty; a time is required"),
        ({"when": "soon"}, f"column 'when', cell 'soon': is not an ISO date or time; {ISO}"),
        (
            {"when": "1969-12-31"},
            "column 'when', cell '1969-12-31': ts must be ms since 1970-01-01 UTC, 0 to 2^53 - 1, not -86400000",
        ),
        (
            {"X value": ""},
            "column 'X value', cell '': feature x is required; fill the cell, or give the feature optional=True or "
            "missing=",
        ),
        ({"X value": "much"}, "column 'X value', cell 'much': feature x must be a number, not 'much' (str)"),
        (
            {"X value": "1_000"},
            "column 'X value', cell '1_000': feature x must be a number, not '1_000' (str); remove the underscores",
        ),
        (
            {"X value": "5 EUR"},
            f"column 'X value', cell '5 EUR': feature x must be a number, not '5 EUR' (str){CELL}",
        ),
        (
            {"X value": "-inf"},
            "column 'X value', cell '-inf': feature x must be a finite number, not -inf; leave the cell empty if "
            "the value is not known",
        ),
        (
            {"X value": "N/A"},
            "column 'X value', cell 'N/A': feature x must be a number, not 'N/A' (str); if it stands for a missing "
            "value, set missing=('N/A',) in DataFile(...)",
        ),
        (
            {"n": "1.5"},
            "column 'n', cell '1.5': feature n must be a whole number, not 1.5 (float); declare it as a Number",
        ),
        (
            {"n": "2_0"},
            "column 'n', cell '2_0': feature n must be a whole number, not '2_0' (str); remove the underscores",
        ),
        ({"b": "maybe"}, "column 'b', cell 'maybe': feature b must be true or false, not 'maybe' (str)"),
        ({"id": ""}, "column 'id', cell '': request_id must have 1 to 200 characters, not 0"),
        (
            {"id": "x" * 201},
            f"column 'id', cell '{'x' * 59}: request_id must have 1 to 200 characters, not 201",
        ),
    ],
)
def test_a_wrong_cell_is_refused_with_row_column_cell_and_cure(change: dict[str, str], reason: str) -> None:
    assert rejected(ROW, ROW | change) == f"row 2, {reason}"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"ts": lambda row: 1.5}, "row 1: ts must be whole milliseconds, not 1.5; see streams.millis"),
        (
            {"reported": lambda row: ("2020-01-01", True)},
            "row 1: the outcome's time must be whole milliseconds, not '2020-01-01'; see streams.millis",
        ),
        (
            {"reported": lambda row: (-1, True)},
            "row 1: outcome= of the DataFile failed: ts must be ms since 1970-01-01 UTC, 0 to 2^53 - 1, not -1",
        ),
        (
            {"reported": lambda row: (1, True, "lost")},
            "row 1: outcome= of the DataFile failed: ValueError: too many values to unpack (expected 2)",
        ),
        (
            {"reported": lambda row: [1, True]},
            "row 1: outcome= of the DataFile failed: TypeError: cannot unpack non-iterable int object",
        ),
        (
            {"reported": lambda row: row["x"][5]},
            "row 1: outcome= of the DataFile failed: column 'x' is missing; the columns are "
            + ", ".join(ROW)
            + "; correct the name in the task file",
        ),
        (
            {"reported": lambda row: {"yes": 1}[row["y"]]},
            "row 1, column 'y', cell '1': outcome= of the DataFile failed: KeyError: '1'",
        ),
        (
            {"reported": lambda row: row["id"][5]},
            "row 1: outcome= of the DataFile failed: IndexError: string index out of range",
        ),
        (
            {"reported": lambda row: (int(row["b"]), True)},
            "row 1, column 'b', cell 'true': outcome= of the DataFile failed: ValueError: invalid literal for "
            "int() with base 10: 'true'",
        ),
        (
            {"reported": lambda row: (millis(row["c"] or row["b"]), True)},
            f"row 1, column 'b', cell 'true': outcome= of the DataFile failed: is not an ISO date or time; {ISO}",
        ),
        (
            {"ts": lambda row: 1 // 0},
            "row 1: ts= of the DataFile failed: ZeroDivisionError: integer division or modulo by zero",
        ),
        ({"request_id": lambda row: 7}, "row 1: request_id must be text, not 7"),
        (
            {"request_id": lambda row: row.none},
            "row 1: request_id= of the DataFile failed: AttributeError: 'Cells' object has no attribute 'none'",
        ),
    ],
)
def test_a_mistake_in_the_task_files_callables_is_reported_with_its_row(
    more: dict[str, Any], reason: str
) -> None:
    assert rejected(ROW, **more) == reason


def test_a_message_names_the_rows_place_and_never_a_personal_value() -> None:
    features = Dictionary(Number(name="x"), Category(name="name", personal_data="left_out"))
    file = DataFile(request_id="id", ts="when", outcome=lambda row: (millis(row["name"]), True))
    row = Cells({"id": "a", "when": "2024-01-02T00:00Z", "x": "1", "name": "Ada"}, "orders.csv, line 7")
    with pytest.raises(UsageError) as caught:
        list(file.events([row], features))
    assert str(caught.value).startswith(
        "orders.csv, line 7, column 'name': outcome= of the DataFile failed: is not"
    )
    assert "Ada" not in str(caught.value)


def test_rows_before_a_wrong_one_are_given() -> None:
    file = DataFile(request_id="id", ts="when", timezone="UTC", outcome=outcome)
    events = file.events(iter([ROW, ROW | {"when": "?"}]), FEATURES)
    assert next(events).request.request_id == "a"
    with pytest.raises(UsageError, match="row 2"):
        next(events)


def test_an_error_of_the_reader_is_its_own() -> None:
    def rows() -> Any:
        yield ROW
        raise UsageError("the file ends here")

    file = DataFile(request_id="id", ts="when", timezone="UTC", outcome=outcome)
    events = file.events(rows(), FEATURES)
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
    assert millis(text, "UTC") == ms


def test_events_are_ordered_by_request_time_and_else_stay_as_they_are() -> None:
    events = [Event(Request(name, ts, {}), ()) for name, ts in zip("abcd", (5, 3, 5, 3), strict=True)]
    assert [each.request.request_id for each in in_time_order(events)] == ["b", "d", "a", "c"]


def test_a_row_before_the_tasks_earliest_time_is_refused_naming_the_way_out() -> None:
    features = Dictionary(Number(name="x"))
    data = DataFile(request_id="id", ts=lambda row: int(row["at"]), outcome=lambda row: None)
    rows = [{"id": "a", "at": "1700000000", "x": "1"}]
    assert [each.request.ts for each in data.events(rows, features)] == [1_700_000_000]
    with pytest.raises(
        UsageError, match=r"row 1.*: ts=1700000000 .*send milliseconds instead of seconds.* set earliest="
    ):
        list(data.events(rows, features, earliest=EARLIEST))
