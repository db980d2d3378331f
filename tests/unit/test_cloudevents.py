"""CloudEvents in binary mode: what comes in is completed by its headers, and predictions have theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from infra.decoding import Decoder
from infra.inbound import FORWARDED, Inbound
from infra.task.forwarding import Forwarding
from infra.task.serve import Serve
from infra.task.statistics import Statistics
from schemas.cloudevents import EventHeaders
from schemas.codec import Codec
from schemas.dialect import JsonDialect
from schemas.records import FeatureValue, Outcome, Request
from tests.unit.http_worker import make_http_task, make_task

TS = 1_704_110_400_000
HEADERS = [
    ("ce_specversion", b"1.0"),
    ("ce_id", b"r-1"),
    ("ce_time", b"2024-01-01T12:00:00Z"),
    ("ce_source", b"/shop"),
    ("ce_type", b"shop.order.placed"),
    ("ce_subject", b"customer-7"),
]
FEATURES: dict[str, FeatureValue] = {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}


class Message:
    """A message with headers."""

    def __init__(self, value: bytes, headers: Sequence[tuple[str, bytes]] = ()) -> None:
        self._value, self._headers = value, [*headers]

    def value(self) -> bytes:
        return self._value

    def headers(self) -> Any:
        return self._headers

    def topic(self) -> str:
        return "stay.requests"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 5

    def key(self) -> bytes:
        return b"r-1"

    def timestamp(self) -> tuple[int, int]:
        return (1, TS)


def codec(dialect: JsonDialect) -> Codec:
    task = make_task("stay")
    return Codec(
        "stay", task.kind, task.features, b"a key", serving=True, request_json=dialect, outcome_json=dialect
    )


def read(own: Codec, record: type[Any], data: dict[str, Any], headers: Any = HEADERS) -> Inbound:
    decode = own.decode_request if record is Request else own.decode_outcome
    return Decoder(decode, fields=own.event_fields(record))(Message(json.dumps(data).encode(), headers))


@pytest.mark.parametrize("form", ["ms", "s", "us", "iso8601"])
def test_a_request_takes_what_it_lacks_from_its_headers(form: Any) -> None:
    own = codec(JsonDialect(time=form, cloudevents=True))
    found = read(own, Request, {"features": FEATURES}).record
    assert (found.request_id, found.ts) == ("r-1", TS)
    written = own.dialects[Request].written(TS + 1000)
    found = read(own, Request, {"request_id": "mine", "ts": written, "features": FEATURES}).record
    assert (found.request_id, found.ts) == ("mine", TS + 1000)  # what the value says is not replaced


def test_an_outcome_is_about_the_subject_of_its_event() -> None:
    headers = [*HEADERS[:5], ("ce_subject", b"r-9")]
    found = read(codec(JsonDialect(cloudevents=True)), Outcome, {"value": True}, headers).record
    assert found == Outcome("r-9", TS, True)  # the dictionary leaves the reporter out


@pytest.mark.parametrize(
    ("headers", "reason", "field"),
    [
        ([], "missing_field", "request_id"),
        ([("ce_id", b"\xff")], "malformed", "request_id"),
        ([("ce_id", b"r-1"), ("ce_time", b"noon")], "wrong_type", "ce_time"),
    ],
)
def test_wrong_headers_are_named(headers: Any, reason: str, field: str) -> None:
    bad = read(codec(JsonDialect(cloudevents=True)), Request, {"features": FEATURES}, headers).bad
    assert bad is not None
    assert (bad.reason, bad.field) == (reason, field)


def test_headers_say_nothing_where_that_is_not_declared() -> None:
    own = codec(JsonDialect())
    assert own.event_fields(Request) is None
    bad = read(own, Request, {"features": FEATURES}).bad
    assert bad is not None
    assert bad.reason == "missing_field"


def test_a_forwarded_outcome_keeps_its_attributes() -> None:
    task = make_http_task()
    own = codec(JsonDialect(cloudevents=True))
    headers = [*HEADERS[:5], ("ce_subject", b"r-9"), ("client.id", b"shop")]
    item = read(own, Outcome, {"value": True}, headers)
    record = Forwarding(task.context, task.current, Statistics()).from_further(item)
    assert record.headers is not None
    assert [name for name, _ in record.headers] == [FORWARDED, *(name for name, _ in HEADERS)]
    again = Decoder(own.decode_outcome, fields=own.event_fields(Outcome))
    assert again(Message(record.value or b"", record.headers)).record == item.record  # type: ignore[arg-type]


def test_predictions_have_the_attributes_of_an_event() -> None:
    task = make_http_task(slot="a")
    context = replace(task.context, events=EventHeaders("stay", json=False))
    serve = Serve(context, task.server, Statistics())
    decode = Decoder(context.codec.decode_request)
    sent = Message(context.codec.encode(Request("r-1", TS, FEATURES)))
    records = [each for step in serve.process([decode(sent)]) for each in step]
    [prediction] = [each for each in records if each.topic == "stay.predictions"]
    found = dict(prediction.headers or ())
    assert found["ce_id"] == found["ce_subject"] == "r-1"
    assert found["ce_time"] == "2024-01-01T12:00:00.000Z"
    assert found["ce_source"] == "/riverloop/stay"
    assert found["content-type"] == "application/avro"
    assert found["riverloop.served"] == b"a"
