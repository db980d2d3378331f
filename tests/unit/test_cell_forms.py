"""How a file writes times and numbers: declared, or found where it can be only one thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas import Category, Dictionary, Integer, Number
from schemas.errors import TaskError, UsageError
from streams.cells import millis, number
from streams.datafile import DataFile, Event

FEATURES = Dictionary(Number(name="x"), Integer(name="n", optional=True), Category(name="c", missing="NA"))
ROW = {"id": "a", "when": "2024-01-02T09:15:00", "x": "1", "n": "", "c": "", "done": ""}
DAY_MS = 86_400_000
JANUARY_2 = 1_704_153_600_000


def outcome(row: Mapping[str, str]) -> Any:
    return (millis(row["done"]), True) if row["done"] else None


def read(*changes: dict[str, str], notes: list[str] | None = None, **declared: Any) -> list[Event]:
    common: dict[str, Any] = {"request_id": "id", "ts": "when", "outcome": outcome, "timezone": "UTC"}
    file = DataFile(**(common | declared))
    rows = [ROW | change for change in changes]
    return list(file.events(rows, FEATURES, note=(notes if notes is not None else []).append))


def rejected(*changes: dict[str, str], **declared: Any) -> str:
    with pytest.raises(UsageError) as caught:
        read(*changes, **declared)
    return str(caught.value)


# ---------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("dates", "cell", "ms"),
    [
        ((), "2024-01-02", JANUARY_2),
        ((), "20240102", JANUARY_2),
        ("iso", "2024-01-02T00:00:00.0004999", JANUARY_2),
        ("epoch_s", "1704153600", JANUARY_2),
        ("epoch_s", "1704153600.25", JANUARY_2 + 250),
        ("epoch_ms", "1704153600001", JANUARY_2 + 1),
        ("epoch_us", "1704153600000999", JANUARY_2 + 1),
        ("%d.%m.%Y", "02.01.2024", JANUARY_2),
        ("%d.%m.%Y", "02.01.2024 01:00", JANUARY_2 + 3_600_000),
        ("%m/%d/%y %I%p", "01/02/24 1AM", JANUARY_2 + 3_600_000),
        ("%Y-%m-%d %H:%M:%S %z", "2024-01-02 01:00:00 +0100", JANUARY_2),
        (("epoch_ms", "iso"), "2024-01-02", JANUARY_2),
        (("epoch_ms", "iso"), "1704153600000", JANUARY_2),
    ],
)
def test_the_declared_form_holds_for_the_ts_and_within_callables(dates: Any, cell: str, ms: int) -> None:
    (event,) = read({"when": cell, "done": cell}, dates=dates)
    assert (event.request.ts, event.outcomes[0].ts) == (ms, ms)


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (("02.01.2024", "03.01.2024 10:30"), "%d.%m.%Y"),
        (("02/01/2024 09:15", "25/01/2024 09:15:30"), "%d/%m/%Y"),
        (("01/02/2024 09:15 PM", "01/25/2024 09:15 AM"), "%m/%d/%Y"),
        (("02-01-2024", "13-01-2024"), "%d-%m-%Y"),
        (("2024/01/02", "2024/01/03"), "%Y/%m/%d"),
    ],
)
def test_a_form_that_can_be_only_one_is_found_and_said(cells: tuple[str, str], form: str) -> None:
    notes: list[str] = []
    events = read(*({"when": cell, "done": cell} for cell in cells), notes=notes)
    assert events[0].request.ts // DAY_MS * DAY_MS == JANUARY_2
    assert all(event.outcomes[0].ts == event.request.ts for event in events)
    assert notes == [f"times have the form {form}, with or without a time of day"]


def test_days_that_may_be_months_are_refused_with_both_forms() -> None:
    assert rejected({"when": "02/01/2024"}, {"when": "03/01/2024"}) == (
        "row 1, column 'when', cell '02/01/2024': and the following cells do not show which is the day; "
        "set dates='%d/%m/%Y' or dates='%m/%d/%Y' in DataFile(...)"
    )


@pytest.mark.parametrize(
    ("cell", "form"),
    [("1704186900", "epoch_s"), ("1704186900000", "epoch_ms"), ("1704186900000000", "epoch_us")],
)
def test_a_number_is_no_time_until_its_unit_is_declared(cell: str, form: str) -> None:
    message = rejected({"when": cell})
    assert message == (
        f"row 1, column 'when', cell '{cell}': is not an ISO date or time; for a number since 1970 set "
        f"dates='{form}' in DataFile(...)"
    )
    assert read({"when": cell}, dates=form)[0].request.ts == 1_704_186_900_000


def test_a_later_cell_of_another_form_is_refused_at_its_place() -> None:
    assert rejected({"when": "13.01.2024"}, {"when": "2024-01-14"}).startswith(
        "row 2, column 'when', cell '2024-01-14': is not a time of the form %d.%m.%Y or %d.%m.%Y %H:%M or "
    )


# ---------------------------------------------------------------------- zones


def test_a_time_without_an_offset_needs_a_zone() -> None:
    assert rejected({}, timezone="") == (
        "row 1, column 'when', cell '2024-01-02T09:15:00': has no time zone; set timezone= in DataFile(...), for "
        "example timezone='UTC' or 'Europe/Berlin'"
    )
    assert "column 'done', cell '2024-01-02': outcome= of the DataFile failed: has no time zone" in rejected(
        {"when": "2024-01-02T00:00Z", "done": "2024-01-02"}, timezone=""
    )
    with pytest.raises(ValueError, match="has no time zone"):
        millis("2024-01-02")


def test_the_zone_holds_for_times_without_an_offset_only() -> None:
    (event,) = read({"when": "2024-07-02T02:00", "done": "2024-07-02T02:00Z"}, timezone="Europe/Berlin")
    assert event.outcomes[0].ts - event.request.ts == 2 * 3_600_000


def test_the_hour_that_a_clock_shows_twice() -> None:
    cell = {"when": "2024-10-27T02:30:00"}
    zone: dict[str, Any] = {"timezone": "Europe/Berlin"}
    assert rejected(cell, **zone) == (
        "row 1, column 'when', cell '2024-10-27T02:30:00': occurs twice in Europe/Berlin, where clocks were set "
        "back; write the offset, for example 2024-10-27T02:30:00+02:00, or set repeated_hour='first' or "
        "'second' in DataFile(...)"
    )
    first = read(cell, repeated_hour="first", **zone)[0].request.ts
    assert first == millis("2024-10-27T02:30:00+02:00")
    assert read(cell, repeated_hour="second", **zone)[0].request.ts == first + 3_600_000


def test_the_hour_that_a_clock_leaves_out() -> None:
    assert (
        "cell '2024-03-31T02:30': does not exist in Europe/Berlin, where clocks were set forward"
        in rejected({"when": "2024-03-31T02:30"}, timezone="Europe/Berlin", repeated_hour="first")
    )


# ---------------------------------------------------------------------- numbers


def test_a_decimal_comma_is_found_and_said() -> None:
    notes: list[str] = []
    events = read({"x": "120,5"}, {"x": "-18"}, {"x": ",5"}, notes=notes)
    assert [event.request.features["x"] for event in events] == [120.5, -18.0, 0.5]
    assert notes == ["numbers have a decimal comma"]


@pytest.mark.parametrize("cells", [("1,234",), ("1,234", "12,345,678"), ("120,5", "1.5"), ("1.234,5",)])
def test_what_may_be_a_thousands_separator_is_rejected(cells: tuple[str, ...]) -> None:
    message = rejected(*({"x": cell} for cell in cells))
    assert message.startswith(f"row 1, column 'x', cell '{cells[0]}': feature x must be a number")
    assert "separator" in message


def test_a_declared_comma_takes_no_point() -> None:
    assert read({"x": "1,234", "n": "5,0"}, decimal=",")[0].request.features == {
        "x": 1.234,
        "n": 5,
        "c": "NA",
    }
    assert rejected({"x": "1.234,5"}, decimal=",") == (
        "row 1, column 'x', cell '1.234,5': has a point in a file with decimal commas; remove thousands "
        "separators, or set decimal='.'"
    )


def test_callables_read_numbers_as_the_file_writes_them() -> None:
    def price(row: Mapping[str, str]) -> Any:
        return (0, number(row["done"]))

    assert read({"x": "1,5", "done": "2,25"}, outcome=price)[0].outcomes[0].value == 2.25
    assert read({"x": "1.5", "done": "2.25"}, outcome=price)[0].outcomes[0].value == 2.25
    message = rejected({"x": "1.5", "done": "2_0"}, outcome=price)
    assert message == (
        "row 1, column 'done', cell '2_0': outcome= of the DataFile failed: is not a number; remove the underscores"
    )


def test_declared_words_are_missing_values_everywhere() -> None:
    (event,) = read({"n": "NULL", "c": "NULL", "done": "NULL"}, missing=("NULL", "-"))
    assert event == Event(event.request, ())
    assert event.request.features == {"x": 1.0, "c": "NA"}
    (event,) = read({"c": "NULL"})
    assert event.request.features["c"] == "NULL"


# ---------------------------------------------------------------------- declarations


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"delimiter": "||"}, "delimiter='||' must be one character, such as ';'"),
        (
            {"encoding": "latin-99"},
            "encoding='latin-99' is unknown to Python; it knows 'cp1252' and 'latin-1'",
        ),
        ({"decimal": ";"}, "decimal=';' must be '.' or ','"),
        (
            {"dates": "unix"},
            "dates='unix' is none of iso, epoch_s, epoch_ms, epoch_us, and no format such as",
        ),
        (
            {"timezone": "Berlin"},
            "timezone='Berlin' is not in the IANA database, which has names such as 'UTC'",
        ),
        ({"repeated_hour": "both"}, "repeated_hour='both' must be 'reject', 'first' or 'second'"),
        ({"missing": "NA"}, "missing='NA' must be a tuple of texts, such as ('NA',)"),
    ],
)
def test_a_declaration_that_cannot_be_is_rejected(declared: dict[str, Any], reason: str) -> None:
    with pytest.raises(TaskError) as caught:
        DataFile(request_id="id", ts="when", outcome=outcome, **declared)
    assert str(caught.value).startswith(f"DataFile(...): {reason}")
