"""Remarks name what is odd, near names that may be meant, and nothing personal; they cost a bounded time."""

from __future__ import annotations

import json
from collections import Counter
from json import JSONDecoder
from typing import Any

import pytest

from infra.decoding import Decoder
from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.errors import BadRecord
from schemas.records import FeatureValue
from schemas.remarks import MOST, Remarks
from schemas.tally import Tally
from streams.quality.monitor import QualityMonitor

DICTIONARY = Dictionary(
    Number(name="price", low=0, high=10),
    Integer(name="age", low=0, missing=-1),
    Category(name="country", levels=("PT", "ES")),
    Category(name="guest", personal_data="left_out"),
    Category(name="card", levels=("gold",), personal_data="tokenised"),
    Boolean(name="new"),
)
REMARKS = Remarks(DICTIONARY)
PLAIN = Dictionary(Number(name="price"), Category(name="country"), Boolean(name="new"))


class Sent:
    """A client's message, as far as a decoder looks at it."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def value(self) -> bytes:
        return self._value

    def topic(self) -> str:
        return "t.requests"

    def partition(self) -> int:
        return 0

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return 2, 1_700_000_000_000


def test_known_fields_and_values_inside_give_no_remark() -> None:
    features: dict[str, FeatureValue] = {
        "price": 10.0,
        "age": 5,
        "country": "PT",
        "card": "a token",
        "new": True,
    }
    assert REMARKS.outside(features) == []
    sent = {"record": "request", "request_id": "a", "ts": 1, "entity_key": "c", "parents": []}
    assert REMARKS.unknown(sent | {"features": features | {"guest": "Ada"}}) == []


def test_values_outside_are_named_and_what_stands_for_missing_is_not() -> None:
    found = REMARKS.outside({"price": 10.5, "age": -1, "country": "PTT"})
    assert [each.kind for each in found] == ["outside features.price", "outside features.country"]
    assert found[1].detail == "country is 'PTT', none of the levels; did you mean 'PT'?"


def test_unknown_names_are_cut_and_bounded_and_counted_under_known_ones() -> None:
    found = REMARKS.unknown({"features": {f"{number}" * 5_000: 1 for number in range(10)} | {"contry": 1}})
    assert len(found) == MOST
    assert all(len(each.field) <= len("features.") + 60 for each in found)
    assert {each.kind for each in found} == {"unknown_field other"}
    [one] = REMARKS.unknown({"features": {"contry": "PT"}})
    assert (one.near, one.kind) == ("features.country", "unknown_field features.country")


def test_what_is_no_object_has_no_fields() -> None:
    assert (
        REMARKS.unknown(17) == REMARKS.unknown({"features": 3}) == REMARKS.unknown_of_outcome(b"avro") == []
    )


def test_a_request_from_the_topic_is_parsed_once_for_its_record_and_its_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    codec, parsed = Codec("t", "binary", PLAIN), Counter[str]()
    features = {"price": 1, "country": "PT", "new": True}
    sent = {"request_id": "a", "ts": 1_700_000_000_000, "features": features}

    def loads(text: str, **how: Any) -> Any:
        parsed["json"] += 1
        return JSONDecoder(**how).decode(text)

    monkeypatch.setattr("schemas.codec.json_form.json.loads", loads)
    read: Any = Decoder(codec.decode_request, remarks=Remarks(PLAIN))
    for more, kinds in (({}, []), ({"contry": "PT"}, ["unknown_field features.country"])):
        parsed.clear()
        item = read(Sent(json.dumps(sent | {"features": features | more}).encode()))
        assert item.record is not None
        assert [each.kind for each in item.remarks] == kinds
        assert parsed["json"] == 1
    record = read(Sent(json.dumps(sent).encode())).record
    avro = read(Sent(codec.encode(record)))
    assert (avro.record, avro.remarks) == (record, [])
    plain: Any = Decoder(codec.decode_request)
    for bad in (b"", b"[1]", b"\0\0\0\0\1", b"{", b'{"request_id": 1}'):
        alone = plain(Sent(bad)).bad
        found = read(Sent(bad)).bad
        assert found is not None
        assert alone is not None
        assert (found.reason, found.message, found.field) == (alone.reason, alone.message, alone.field)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (
            {"features": {"prize": 3, "new": True, "country": "PT"}},
            "feature price is required; was it sent as 'prize'?",
        ),
        ({"features": {"new": True, "country": "PT"}}, "feature price is required"),
        ({"feature": {"price": 3}}, "features is required; was it sent as 'feature'?"),
        ({"features": {"price": 3, "new": True}}, "feature country is required"),
    ],
)
def test_what_is_missing_is_named_with_what_it_may_have_been_sent_as(sent: dict[str, Any], said: str) -> None:
    codec = Codec("t", "binary", PLAIN)
    with pytest.raises(BadRecord) as caught:
        codec.decode_request(json.dumps({"request_id": "a", "ts": 1} | sent).encode())
    assert caught.value.message == said


def test_the_owner_shows_no_text_of_a_sender_whatever_a_tally_says() -> None:
    monitor = QualityMonitor("t", DICTIONARY)
    reported = {"unknown_field Ada Lovelace": 2, "Ada": 1, "unknown_field features.price": 3}
    monitor.apply(0, Tally("w", "http", 0, 60_000, 6, warned=reported))
    again = QualityMonitor("t", DICTIONARY)
    again.restore(monitor.snapshot())
    for each in (monitor, again):
        warned = {one.segment: one.value for one in each.measurements() if one.name == "warned"}
        assert warned == {"unknown_field other": 2, "other": 1, "unknown_field features.price": 3}
