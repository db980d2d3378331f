"""Remarks name what is odd, near names that may be meant, and nothing personal; they cost a bounded time."""

from __future__ import annotations

from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
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


def test_the_owner_shows_no_text_of_a_sender_whatever_a_tally_says() -> None:
    monitor = QualityMonitor("t", DICTIONARY)
    told = {"unknown_field Ada Lovelace": 2, "Ada": 1, "unknown_field features.price": 3}
    monitor.apply(0, Tally("w", "http", 0, 60_000, 6, warned=told))
    again = QualityMonitor("t", DICTIONARY)
    again.restore(monitor.snapshot())
    for each in (monitor, again):
        warned = {one.segment: one.value for one in each.measurements() if one.name == "warned"}
        assert warned == {"unknown_field other": 2, "other": 1, "unknown_field features.price": 3}
