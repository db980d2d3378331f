"""Records as bytes: the scanner takes what the generated readers take, and finds each field where they do."""

from __future__ import annotations

import itertools
import struct
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.codec.readers import Reader
from schemas.codec.record_reader import DAMAGE
from schemas.codec.topic_numbers import TopicNumbers
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.errors import BadRecord
from schemas.examples import examples
from schemas.formats import HEADER_BYTES
from streams import native
from streams.native.plan import NotFused
from streams.native.records import plan_of

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")

CODEC = Codec(
    "shop",
    "binary",
    Dictionary(
        Number(name="price"),
        Number(name="weight", optional=True),
        Integer(name="items", low=0, high=9),
        Boolean(name="new", optional=True),
        Category(name="channel", optional=True),
        Category(name="country", missing="?"),
        Category(name="guest", optional=True, personal_data="tokenised"),
        Category(name="name", personal_data="left_out"),
    ),
    b"a key of a test",
)
TOPICS = TopicNumbers("shop")
EXAMPLES = {name: CODEC.encode(record) for name, record in examples(CODEC).items()}


@cache
def scanner(record: str) -> Any:
    return native.record_module().Records(plan_of(CODEC.schemas[record]))


@cache
def readers(record: str) -> list[Reader]:
    """A reader of the first field, of the first two, and so on: where each ends is where the next begins."""
    schema = CODEC.schemas[record]
    return [
        Reader(schema | {"fields": schema["fields"][:n]}, TOPICS) for n in range(1, len(schema["fields"]) + 1)
    ]


def by_the_readers(record: str, data: bytes) -> list[tuple[int, int]] | None:
    ends = [HEADER_BYTES]
    try:
        for each in readers(record):
            ends.append(each.read(data, HEADER_BYTES, len(data))[1])
    except DAMAGE:
        return None
    return list(itertools.pairwise(ends)) if ends[-1] == len(data) else None


def record_of(data: bytes) -> str:
    mark = data[2:HEADER_BYTES].hex()
    return next(name for name, fingerprint in CODEC.fingerprints.items() if fingerprint == mark)


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes of which some are changed, cut out or put in, behind the header."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(HEADER_BYTES, max(HEADER_BYTES, len(data) - 1)))
        piece = draw(st.binary(max_size=4) | st.sampled_from(TRICKY))
        cut = draw(st.integers(0, 4) | st.just(len(piece)))
        data[at : at + cut] = piece
    return bytes(data)


TRICKY = (
    *(
        b"\xff" * 9 + b"\x01",
        b"\xff" * 9 + b"\x02",
        b"\xff" * 10,
        b"\x80\x00",
        b"\x80" * 9 + b"\x00",
        b"\x01",
        b"\x02",
    ),
    *(
        "é名\U0001f600".encode(),
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe0\x80\x80",
        b"\xf0\x8f\xbf\xbf",
    ),
    *(struct.pack("<d", each) for each in (float("nan"), float("inf"), -0.0, 5e-324)),
)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_field_of_a_record_is_found_where_the_readers_find_it(name: str) -> None:
    data = EXAMPLES[name]
    record = record_of(data)
    found = scanner(record).fields(data, HEADER_BYTES)
    assert found == by_the_readers(record, data)
    assert found is not None
    for cut in range(len(data)):
        assert scanner(record).fields(data[:cut], HEADER_BYTES) is None
    assert scanner(record).fields(data + b"\0", HEADER_BYTES) is None


@pytest.mark.parametrize("name", EXAMPLES)
@settings(max_examples=300)
@given(data=st.data())
def test_damaged_bytes_are_refused_exactly_where_the_readers_refuse_them(
    name: str, data: st.DataObject
) -> None:
    whole = data.draw(damaged(EXAMPLES[name]))
    record = record_of(whole)
    found = scanner(record).fields(whole, HEADER_BYTES)
    assert found == by_the_readers(record, whole)
    assert scanner(record).accepted([whole, EXAMPLES[name]], HEADER_BYTES) == 1 + (found is not None)


@settings(max_examples=300)
@given(data=st.builds(bytes, st.lists(st.sampled_from([0, 1, 2, 3, 4, 127, 128, 255]), max_size=14)))
def test_a_position_is_read_as_the_readers_read_it(data: bytes) -> None:
    (source,) = [each for each in CODEC.schemas["Prediction"]["fields"] if each["name"] == "source"]
    schema = {"type": "record", "name": "One", "fields": [{"name": "at", "type": source["type"][1]}]}
    try:
        _, end = Reader(schema, TOPICS).read(data, 0, len(data))
    except DAMAGE:
        end = -1
    found = native.record_module().Records(plan_of(schema)).fields(data, 0)
    assert found == ([(0, end)] if end == len(data) else None)


@settings(max_examples=300)
@given(record=st.sampled_from(sorted(CODEC.schemas)), data=st.binary(max_size=80))
def test_random_bytes_too(record: str, data: bytes) -> None:
    data = b"\0" * HEADER_BYTES + data
    assert scanner(record).fields(data, HEADER_BYTES) == by_the_readers(record, data)


def bits(features: Any) -> list[tuple[str, type, Any]]:
    return [
        (name, type(value), struct.pack("<d", value) if isinstance(value, float) else value)
        for name, value in features.items()
    ]


def reference(data: bytes) -> Any:
    try:
        return CODEC.decode_prediction(data).features
    except BadRecord:
        return None


@settings(max_examples=500)
@given(data=damaged(EXAMPLES["Prediction"]))
def test_features_come_out_canonical_or_go_to_the_reference(data: bytes) -> None:
    found, expected = scanner("Prediction").features(data, HEADER_BYTES), reference(data)
    if found is not None and expected is not None:
        assert bits(found) == bits(expected)
    # What lies beyond the types, such as an empty request_id, the reference refuses alone.
    if found is None and expected is not None:
        unsettled = [each for each in by_hand(data) if not each[1]]
        assert unsettled


def by_hand(data: bytes) -> list[tuple[str, bool]]:
    """Features as they lie there, and whether each is canonical as it is."""
    plain = Reader(CODEC.schemas["Prediction"], TOPICS).read(data, HEADER_BYTES, len(data))[0]["features"]
    settled = []
    for name, value in plain.items():
        finite = not isinstance(value, float) or abs(value) < float("inf")
        short = not isinstance(value, str) or len(value.encode()) <= 10_000
        settled.append((name, finite and short))
    return settled


def test_a_schema_that_the_readers_refuse_has_no_plan() -> None:
    def of(typed: Any) -> dict[str, Any]:
        return {"type": "record", "name": "One", "fields": [{"name": "a", "type": typed}]}

    empty = {"type": "record", "name": "Empty", "fields": []}
    for typed in (
        {"type": "array", "items": "null"},
        {"type": "array", "items": empty},
        {"type": "fixed", "name": "F"},
        "X",
    ):
        with pytest.raises(NotFused, match="the schema has a"):
            plan_of(of(typed))
    assert plan_of(CODEC.schemas["Prediction"], {"items"}).features == -1
    assert plan_of(CODEC.schemas["Outcome"]).features == -1
