"""JSON dialects: a task declares how its services write times and numbers; nothing is guessed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.codec.checks import TaskKind
from schemas.dialect import JsonDialect, TimeForm
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import BadRecord, TaskError
from schemas.export import export
from schemas.records import Outcome, Request

DICTIONARY = Dictionary(
    Number(name="total", unit="EUR"), Integer(name="items", optional=True), Category(name="postcode")
)
TS = 1_704_106_800_250
WRITTEN: dict[TimeForm, Any] = {
    "s": 1_704_106_800.25,
    "ms": TS,
    "us": TS * 1_000 + 999,  # what is finer than a ms is cut
    "ns": TS * 1_000_000 + 999_999,
    "iso8601": "2024-01-01T12:00:00.250999+01:00",
}


def codec(dialect: JsonDialect, kind: TaskKind = "regression") -> Codec:
    return Codec("shop", kind, DICTIONARY, request_json=dialect, outcome_json=dialect)


def request(**more: Any) -> bytes:
    features = {"total": 12.5, "postcode": "0123"}
    return json.dumps({"request_id": "o-1", "ts": TS, "features": features} | more).encode()


@pytest.mark.parametrize("form", WRITTEN)
def test_a_time_is_read_as_it_is_declared(form: TimeForm) -> None:
    found = codec(JsonDialect(time=form))
    assert found.decode_request(request(ts=WRITTEN[form])).ts == TS
    outcome = json.dumps({"request_id": "o-1", "ts": WRITTEN[form], "value": 3}).encode()
    assert found.decode_outcome(outcome) == Outcome("o-1", TS, 3.0)


@given(ts=st.integers(1_000_000_000_000, 4_000_000_000_000), form=st.sampled_from([*WRITTEN]))
def test_what_is_written_in_a_dialect_is_read_alike(ts: int, form: TimeForm) -> None:
    own = codec(JsonDialect(time=form))
    record = Request("o-1", ts, {"total": 1.0, "postcode": "1"})
    assert own.decode_request(own.encode(record, json=True)) == record
    assert own.decode_request(own.encode(record)) == record  # Avro has one form


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ("s", TS),
        ("us", TS),
        ("ns", TS * 1_000),
        ("ms", "2024-01-01T12:00:00Z"),
        ("iso8601", TS),
        ("iso8601", "2024-01-01T12:00:00"),  # without an offset
        ("iso8601", "yesterday"),
        ("s", "1704106800"),  # text, which is not declared
        ("us", 1e300),
        ("us", True),
    ],
)
def test_a_time_in_another_form_is_rejected_with_the_declared_one(form: TimeForm, sent: Any) -> None:
    with pytest.raises(BadRecord) as caught:
        codec(JsonDialect(time=form)).decode_request(request(ts=sent))
    assert caught.value.field == "ts"
    assert caught.value.reason in {"wrong_type", "impossible_time"}
    if form != "ms" and sent != 1e300:
        assert f"time={form!r}" in caught.value.message


def test_numbers_are_text_where_that_is_declared() -> None:
    sent = request(ts=str(TS), features={"total": "1.25e1", "items": "-3", "postcode": "0123"})
    found = codec(JsonDialect(numbers="text")).decode_request(sent)
    assert found == Request("o-1", TS, {"total": 12.5, "items": -3, "postcode": "0123"})
    with pytest.raises(BadRecord, match="total"):
        codec(JsonDialect()).decode_request(request(features={"total": "12.5", "postcode": "1"}))
    outcome = json.dumps({"request_id": "o-1", "ts": TS, "value": "4", "revision": "7"}).encode()
    assert codec(JsonDialect(numbers="text")).decode_outcome(outcome) == Outcome("o-1", TS, 4.0, 7)
    classes = codec(JsonDialect(numbers="text"), "multiclass")
    assert classes.decode_outcome(outcome) == Outcome("o-1", TS, "4", 7)


@pytest.mark.parametrize("text", ["1,5", "1_000", " 1", "", "0x1", "NaN", "Infinity", "٣", "1" * 500])
def test_text_that_is_no_number_is_rejected_with_field_and_dialect(text: str) -> None:
    with pytest.raises(BadRecord, match=r"features\.total must be a number.*numbers='text'") as caught:
        codec(JsonDialect(numbers="text")).decode_request(request(features={"total": text, "postcode": "1"}))
    assert caught.value.field == "features.total"
    assert caught.value.reason == "wrong_type"


def test_what_is_parsed_is_not_changed() -> None:
    parsed = json.loads(request(features={"total": "1", "postcode": "1"}))
    before = json.dumps(parsed)
    codec(JsonDialect(numbers="text")).decode_request(parsed)
    assert json.dumps(parsed) == before


def test_a_wrong_declaration_is_a_task_error() -> None:
    with pytest.raises(TaskError, match=r"'min'.* must be one of s, ms, us, ns, iso8601"):
        JsonDialect(time="min")  # type: ignore[arg-type]  # what is to be rejected


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("numbers", ["json", "text"])
def test_the_exported_contract_says_the_dialect(form: TimeForm, numbers: Any, tmp_path: Path) -> None:
    own = codec(replace(JsonDialect(time=form), numbers=numbers))
    export(own, tmp_path)
    schema = json.loads((tmp_path / "json-schema/request.schema.json").read_text())
    example = json.loads((tmp_path / "examples/request.json").read_text())
    jsonschema.validate(example, schema)
    own.decode_request(example)
    example["features"]["total"] = "12.5"
    assert jsonschema.Draft202012Validator(schema).is_valid(example) == (numbers == "text")
