from __future__ import annotations

import builtins
import contextlib
import dataclasses
import json
import math
import struct
import time
from typing import Any

import pytest
from fastavro.schema import fingerprint

from schemas.codec import Codec
from schemas.codec.avro_form import PARTS, RECORDS, SHORTENED, assemble, load
from schemas.codec.checks import RECORD_TYPES, TaskKind
from schemas.codec.compatibility import EXAMPLE, undocumented
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.errors import BadRecord, TaskError
from schemas.examples import examples
from schemas.formats import AVRO_MARK
from schemas.reasons import REASONS
from schemas.records import (
    DeadLetter,
    Entry,
    FeatureValue,
    Metric,
    Outcome,
    Position,
    Prediction,
    Punctuation,
    Request,
)
from schemas.state import Held, JoinRecord
from schemas.subject_keys import SubjectKeys
from schemas.tokens import token

SMALL = Dictionary(
    Number(name="price"),
    Integer(name="items"),
    Category(name="channel", optional=True),
    entity_key="none",
    parents="none",
    reporter="none",
)
CODEC = Codec("shop", "binary", SMALL)
REQUEST = Request("r-1", 5, {"price": 1.5, "items": 2, "channel": "web"})
SENT: dict[str, Any] = {
    "request_id": "r-1",
    "ts": 5,
    "features": {"price": 1.5, "items": 2, "channel": "web"},
}


def rejection(data: bytes | None, codec: Codec = CODEC, *, of: str = "request") -> BadRecord:
    with pytest.raises(BadRecord) as error:
        getattr(codec, f"decode_{of}")(data)
    assert error.value.reason in REASONS
    assert error.value.message
    return error.value


def as_json(**changes: Any) -> bytes:
    return json.dumps(SENT | changes).encode()


@pytest.mark.parametrize("record", [*RECORDS, *PARTS])
def test_the_schema_and_the_code_have_the_same_fields_in_the_same_order(record: str) -> None:
    written = [each["name"] for each in load(record)["fields"]]
    written += ["interval"] if record == "Score" else []  # which is written in the place of its score
    assert written == [each.name for each in dataclasses.fields(RECORD_TYPES[record])]


@pytest.mark.parametrize("record", SHORTENED)
def test_a_shortened_record_has_what_is_not_known_around_it(record: str) -> None:
    origin, left_out, _ = SHORTENED[record]
    whole = [each["name"] for each in load(origin)["fields"]]
    assert [*left_out, *(each["name"] for each in load(record)["fields"])] == whole


@pytest.mark.parametrize("record", [*RECORDS, *PARTS, "Features"])
def test_every_record_and_field_says_what_it_is(record: str) -> None:
    schema = assemble(record, EXAMPLE)
    assert schema["doc"]
    assert all(each["doc"] for each in schema["fields"])


def test_the_docs_of_features_say_unit_range_owner_and_purpose() -> None:
    docs = {each["name"]: each["doc"] for each in assemble("Features", EXAMPLE)["fields"]}
    assert docs["price"] == "number; unit EUR; range 0..; owner sales; purpose: what is at stake"
    assert "levels web, shop" in docs["channel"]
    assert "personal data, tokenised" in docs["customer"]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("record", RECORDS)
def test_every_record_is_read_back_in_both_forms(record: str, kind: TaskKind) -> None:
    codec = Codec("shop", kind, SMALL)
    made = examples(codec)[record]
    word = {
        "Punctuation": "outcome",
        "JoinRecord": "state",
        "Resolution": "state",
        "JoinPosition": "state",
        "CountedRequest": "aggregates",
        "AggregatesPosition": "aggregates",
        "DeadLetter": "dead_letter",
        "Applied": "from_control",
        "AuditLink": "audit",
    }
    read = getattr(codec, f"decode_{word.get(record, record.lower())}")
    assert read(codec.encode(made)) == made
    assert read(codec.encode(made, json=True)) == made


def test_avro_is_single_object_encoding() -> None:
    data = CODEC.encode(REQUEST)
    assert data[:2] == AVRO_MARK
    assert data[2:10].hex() == CODEC.fingerprints["Request"]
    body = b"\x06r-1\x0a" + struct.pack("<d", 1.5) + b"\x04\x02\x06web\x00\x00"
    assert data[10:] == body


def test_the_fingerprint_is_that_of_the_avro_specification() -> None:
    # CRC-64-AVRO of the canonical form "int" is 7275d51a3f395c8f (Apache Avro, schema-tests.txt).
    assert fingerprint('"int"', "CRC-64-AVRO") == bytes.fromhex("7275d51a3f395c8f")[::-1].hex()


def test_the_join_finds_request_id_and_ts_first_in_a_prediction() -> None:
    assert [each["name"] for each in load("Prediction")["fields"]][:2] == ["request_id", "ts"]


def test_json_1_and_avro_1_0_are_one_value() -> None:
    from_json = CODEC.decode_request(as_json(features={"price": 1, "items": 2.0}, ts=5.0))
    from_avro = CODEC.decode_request(CODEC.encode(Request("r-1", 5, {"price": 1.0, "items": 2})))
    assert from_json == from_avro
    assert [type(each) for each in from_json.features.values()] == [float, int]
    assert type(from_json.ts) is int


def test_unknown_json_fields_are_skipped() -> None:
    data = as_json(more={"a": [1]}, features=SENT["features"] | {"new": {}}, record="not one of ours")
    assert CODEC.decode_request(data) == REQUEST


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"request_id": ""}, "out_of_range", "request_id"),
        ({"request_id": "a" * 201}, "out_of_range", "request_id"),
        ({"request_id": "\0position"}, "out_of_range", "request_id"),
        ({"request_id": 5}, "wrong_type", "request_id"),
        ({"request_id": None}, "wrong_type", "request_id"),
        ({"request_id": "\ud800"}, "wrong_type", "request_id"),
        ({"ts": -1}, "impossible_time", "ts"),
        ({"ts": 2**53}, "impossible_time", "ts"),
        ({"ts": 2**70}, "out_of_range", "ts"),
        ({"ts": 1.5}, "wrong_type", "ts"),
        ({"ts": True}, "wrong_type", "ts"),
        ({"ts": "5"}, "wrong_type", "ts"),
        ({"ts": math.nan}, "wrong_type", "ts"),
        ({"ts": math.inf}, "wrong_type", "ts"),
        ({"features": None}, "wrong_type", "features"),
        ({"features": [1]}, "wrong_type", "features"),
        ({"features": {}}, "missing_field", "features.price"),
        ({"features": {"price": "1", "items": 2}}, "wrong_type", "features.price"),
        ({"features": {"price": True, "items": 2}}, "wrong_type", "features.price"),
        ({"features": {"price": math.nan, "items": 2}}, "missing_field", "features.price"),
        ({"features": {"price": math.inf, "items": 2}}, "out_of_range", "features.price"),
        ({"features": {"price": 1, "items": 2**63}}, "out_of_range", "features.items"),
        ({"features": {"price": 1, "items": 1, "channel": 5}}, "wrong_type", "features.channel"),
        ({"entity_key": 5}, "wrong_type", "entity_key"),
        ({"parents": "r-0"}, "wrong_type", "parents"),
        ({"parents": [5]}, "wrong_type", "parents"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], reason: str, field: str) -> None:
    found = rejection(as_json(**changes))
    assert (found.reason, found.field) == (reason, field)
    assert field.removeprefix("features.") in found.message


@pytest.mark.parametrize("name", ["request_id", "ts", "features"])
def test_a_missing_field_is_named(name: str) -> None:
    found = rejection(json.dumps({key: each for key, each in SENT.items() if key != name}).encode())
    assert (found.reason, found.field) == ("missing_field", name)


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b'{"request_id": "a"} {}',
        b'{"request_id": "\xff"}',
        b"{" + b'"a":[' * 100_000,
        b'{"a":' * 100_000,
        b'{"ts": ' + b"9" * 5000 + b"}",
        b'{"request_id": "a", "request_id": "b", "ts": 5}',
        b'{"features": {"price": 1, "price": 2}}',
        b"{'request_id': 'a'}",
    ],
)
def test_json_that_breaks_its_form_is_rejected(data: bytes) -> None:
    assert rejection(data).reason == "malformed"


def test_json_of_any_depth_is_rejected() -> None:
    for depth in range(900, 1100):
        for nested in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            features = f'{{"price": 1, "items": 1, "channel": {nested}}}'
            sent = f'{{"request_id": "r-1", "ts": 5, "value": {nested}, "features": {features}}}'.encode()
            assert rejection(sent).reason in ("wrong_type", "malformed")
            assert rejection(sent, of="outcome").reason in ("wrong_type", "malformed")


@pytest.mark.parametrize(
    "pairs",
    [('"a": 1,' * 300_000), "".join(f'"{each}": 1,' for each in range(200_000))],
    ids=("same", "last"),
)
def test_a_key_given_twice_is_found_in_no_time_in_large_records(pairs: str) -> None:
    started = time.monotonic()
    assert rejection(f'{{{pairs}"199999": 1, "a": 1, "a": 1}}'.encode()).reason == "malformed"
    assert time.monotonic() - started < 10  # with a search per key it was minutes


def patched(at: int, byte: int) -> bytes:
    data = bytearray(CODEC.encode(REQUEST))
    data[10 + at] = byte
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "says", "field"),
    [
        (CODEC.encode(REQUEST)[:20], "ends early", "features.price"),
        (CODEC.encode(REQUEST)[:10], "ends early", "request_id"),
        (CODEC.encode(REQUEST) + b"\0", "after its end", ""),
        (patched(0, 0x05), "negative", "request_id"),
        (patched(0, 0x7E), "ends early", "request_id"),
        (patched(1, 0xFF), "UTF-8", "request_id"),
        (patched(14, 0x04), "branch", "features.channel"),
        (patched(14, 0x01), "branch", "features.channel"),
        (patched(19, 0x03), "branch", "entity_key"),
        (patched(20, 0x7E), "more items", "parents"),
        (CODEC.encode(REQUEST)[:-1] + b"\xfe" * 9 + b"\x01\0", "more items", "parents"),
        (CODEC.encode(REQUEST)[:-1] + b"\xff" * 30, "64 bits", "parents"),
        (CODEC.encode(REQUEST)[:10] + b"\xfe" * 9 + b"\x7f", "64 bits", "request_id"),
    ],
)
def test_damaged_avro_is_rejected_with_the_place(data: bytes, says: str, field: str) -> None:
    found = rejection(data)
    assert (found.reason, found.field) == ("malformed", field)
    assert says in found.message


def test_lists_in_several_or_sized_blocks_are_read() -> None:
    several = b"\x02\x02a" + b"\x01\x04\x02b" + b"\x00"  # one item; one item with the block's size; the end
    assert CODEC.decode_request(CODEC.encode(REQUEST)[:-1] + several).parents == ("a", "b")


@pytest.mark.parametrize(
    ("values", "reason", "field"),
    [
        ((math.inf, 2), "out_of_range", "features.price"),
        ((math.nan, 2), "missing_field", "features.price"),
    ],
)
def test_avro_features_pass_the_same_checks(values: tuple[float, int], reason: str, field: str) -> None:
    data = CODEC.encode(Request("r-1", 5, {"price": values[0], "items": values[1]}))
    found = rejection(data)
    assert (found.reason, found.field) == (reason, field)


def test_ranges_and_levels_that_reject_do_so_in_both_forms_but_not_for_what_was_stored() -> None:
    strict = Dictionary(
        Number(name="price", low=0, on_range="reject"),
        Integer(name="items", low=1, on_range="reject", optional=True),
        Category(name="channel", levels=("web",), on_new_level="reject"),
    )
    codec = Codec("shop", "binary", strict)
    rejected: tuple[tuple[dict[str, FeatureValue], str], ...] = (
        ({"price": -1.0, "channel": "web"}, "features.price"),
        ({"price": 1.0, "items": 0, "channel": "web"}, "features.items"),
        ({"price": 1.0, "channel": "fair"}, "features.channel"),
    )
    for features, field in rejected:
        request = Request("r-1", 5, features)
        for data in (codec.encode(request), codec.encode(request, json=True)):
            found = rejection(data, codec)
            assert (found.reason, found.field) == ("out_of_range", field)
        stored = Prediction("r-1", 5, features, ())
        for data in (codec.encode(stored), codec.encode(stored, json=True)):
            assert codec.decode_prediction(data) == stored


def test_nested_records_have_their_path_in_the_error() -> None:
    entry = Entry("e", "labelled", 5, prediction=Prediction("r-1", 5, {"price": math.inf, "items": 1}, ()))
    assert rejection(CODEC.encode(entry), of="entry").field == "prediction.features.price"
    prediction = Prediction("r-1", 5, REQUEST.features, ())
    wrong = Entry(
        "e", "labelled", 5, prediction=prediction, outcome=Outcome("r-1", 5, None, reason="x" * 9_000)
    )
    for data in (CODEC.encode(wrong), CODEC.encode(wrong, json=True)):
        assert rejection(data, of="entry").field == "outcome.reason"


@pytest.mark.parametrize("outcome", [Outcome("r-2", 5, True), Outcome("r-1", 6, True)])
def test_an_entry_with_the_outcome_of_another_request_or_time_is_not_written(outcome: Outcome) -> None:
    prediction = Prediction("r-1", 5, REQUEST.features, ())
    with pytest.raises(BadRecord, match="its outcome"):
        CODEC.encode(Entry("e", "labelled", 5, prediction=prediction, outcome=outcome))


@pytest.mark.parametrize("number", [0.5, 1e300, "5", 2**63])
def test_what_is_no_whole_number_is_refused_at_once(number: Any) -> None:
    with pytest.raises(BadRecord):
        CODEC.encode(Punctuation(number))


@pytest.mark.parametrize(
    ("kind", "sent", "value"),
    [
        ("binary", True, True),
        ("binary", 0, False),
        ("binary", 1.0, True),
        ("binary", -0.0, False),
        ("multiclass", "cheap", "cheap"),
        ("multiclass", "", ""),
        ("regression", 5, 5.0),
        ("regression", -0.0, 0.0),
        ("regression", 2**60, float(2**60)),
    ],
)
def test_an_outcomes_value_has_one_form_per_kind_of_task(kind: TaskKind, sent: Any, value: Any) -> None:
    codec = Codec("shop", kind, SMALL)
    data = json.dumps({"request_id": "r-1", "ts": 5, "value": sent}).encode()
    for each in (data, codec.encode(Outcome("r-1", 5, sent))):
        found = codec.decode_outcome(each)
        assert isinstance(found, Outcome)
        assert repr(found.value) == repr(value)


@pytest.mark.parametrize(
    ("kind", "sent", "reason"),
    [
        ("binary", "true", "wrong_type"),
        ("binary", 2, "out_of_range"),
        ("binary", 0.5, "out_of_range"),
        ("binary", math.nan, "out_of_range"),
        ("multiclass", 1, "wrong_type"),
        ("multiclass", True, "wrong_type"),
        ("regression", "5", "wrong_type"),
        ("regression", True, "wrong_type"),
        ("regression", math.nan, "out_of_range"),
        ("regression", math.inf, "out_of_range"),
        ("regression", 10**400, "out_of_range"),
        ("regression", [5], "wrong_type"),
        ("regression", {"a": 5}, "wrong_type"),
    ],
)
def test_an_outcome_of_another_kind_is_rejected(kind: TaskKind, sent: Any, reason: str) -> None:
    codec = Codec("shop", kind, SMALL)
    found = rejection(json.dumps({"request_id": "r-1", "ts": 5, "value": sent}).encode(), codec, of="outcome")
    assert (found.reason, found.field) == (reason, "value")


def test_an_outcome_without_a_value_needs_a_reason() -> None:
    sent: dict[str, Any] = {"request_id": "r-1", "ts": 5, "value": None}
    for reason in (None, ""):
        found = rejection(json.dumps(sent | {"reason": reason}).encode(), of="outcome")
        assert (found.reason, found.field) == ("missing_field", "reason")
    read = CODEC.decode_outcome(json.dumps(sent | {"reason": "deleted"}).encode())
    assert read == Outcome("r-1", 5, None, reason="deleted")
    assert rejection(b'{"request_id": "r-1", "ts": 5}', of="outcome").field == "value"


def test_a_punctuation_in_json_says_what_it_is() -> None:
    assert CODEC.decode_outcome(b'{"record": "punctuation", "ts": 5}') == Punctuation(5)
    assert rejection(b'{"ts": 5}', of="outcome").field == "request_id"


def test_a_record_of_another_type_is_rejected_in_both_forms() -> None:
    prediction = Prediction("r-1", 5, REQUEST.features, ())
    for data in (CODEC.encode(prediction), CODEC.encode(prediction, json=True)):
        assert rejection(data).reason == "wrong_record"
    assert rejection(CODEC.encode(Punctuation(5))).reason == "wrong_record"


def test_an_unknown_fingerprint_is_named() -> None:
    other = Codec("other", "binary", Dictionary(Number(name="x"))).encode(Request("r-1", 5, {"x": 1.0}))
    found = rejection(other)
    assert found.reason == "unknown_schema"
    assert other[2:10].hex() in found.message
    assert rejection(AVRO_MARK).reason == "unknown_schema"


def test_a_registered_schema_is_read_with_the_dictionary_of_today() -> None:
    old = Codec("shop", "binary", Dictionary(Integer(name="price"), Boolean(name="gone")))
    request = old.encode(Request("r-1", 5, {"price": 7, "gone": True}))
    today = Codec(
        "shop",
        "binary",
        Dictionary(
            Category(name="added", optional=True), Number(name="price"), Number(name="more", missing=-1.0)
        ),
    )
    assert rejection(request, today).reason == "unknown_schema"
    for record in ("Request", "Entry"):
        mark = today.reader.register(json.dumps(old.schemas[record]))
        assert mark == old.fingerprints[record]
    found = today.decode_request(request)
    assert list(found.features.items()) == [("price", 7.0), ("more", -1.0)]
    assert type(found.features["price"]) is float
    stored = Prediction("r-1", 5, {"price": 7, "gone": True}, ())
    entry = old.encode(Entry("e", "labelled", 6, Position("t", 0, 1), prediction=stored))
    read = today.decode_entry(entry)
    assert read.trigger == Position("t", 0, 1)
    assert read.prediction is not None
    assert dict(read.prediction.features) == {"price": 7.0}, "nothing is put in place of what was not seen"


def test_a_default_of_a_schema_never_becomes_a_feature() -> None:
    schema = json.loads(json.dumps(CODEC.schemas["Request"]))
    features = schema["fields"][2]["type"]
    features["fields"] = [each for each in features["fields"] if each["name"] != "items"]
    codec = Codec("shop", "binary", SMALL)
    codec.reader.register(json.dumps(schema))
    writer = Codec("shop", "binary", Dictionary(SMALL.by_name["price"], SMALL.by_name["channel"]))
    data = writer.encode(Request("r-1", 5, {"price": 1.0}))
    found = rejection(data, codec)
    assert (found.reason, found.field) == ("missing_field", "features.items")


NAMES_THAT_ARE_CODE = (
    'Z(b, i, e): return\n__import__("os")\ndef y',
    'Z(b=RAN("x"), i=0, e=0): return\ndef y',
    "Z\nRAN('x')\n",
    '\'"); RAN("x")',
)


@pytest.mark.parametrize("name", NAMES_THAT_ARE_CODE)
@pytest.mark.parametrize("place", ["record", "field", "symbol", "enum"])
def test_no_name_of_a_registered_schema_becomes_code(
    name: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(builtins, "RAN", ran.append, raising=False)
    schema = json.loads(json.dumps(CODEC.schemas["Request"]))
    inner: dict[str, Any] = {"type": "record", "name": "Z", "fields": [{"name": "a", "type": "long"}]}
    if place == "record":
        inner["name"] = name
    elif place == "field":
        inner["fields"][0]["name"] = name
    else:
        inner = {"type": "enum", "name": "Z", "symbols": ["A"]}
        inner |= {"symbols": [name]} if place == "symbol" else {"name": name}
    schema["fields"].append({"name": "z", "type": inner})
    codec = Codec("shop", "binary", SMALL)
    mark = ""
    with contextlib.suppress(BadRecord):  # rejected, or taken for what it is: a name
        mark = codec.reader.register(json.dumps(schema))
    if mark:
        data = AVRO_MARK + bytes.fromhex(mark) + codec.encode(REQUEST)[10:] + b"\x00"
        assert codec.decode_request(data) == REQUEST
    assert ran == []


@pytest.mark.parametrize("depth", [10, 30, 300, 5000])
def test_a_registered_schema_nested_without_end_is_rejected(depth: int) -> None:
    deep = '{"type": "array", "items": ' * depth + '"long"' + "}" * depth
    schema = json.dumps(CODEC.schemas["Request"])[:-2] + f', {{"name": "z", "type": {deep}}}]}}'
    codec = Codec("shop", "binary", SMALL)
    with pytest.raises(BadRecord) if depth > 10 else contextlib.nullcontext():
        codec.reader.register(schema)
    assert codec.decode_request(codec.encode(REQUEST)) == REQUEST


def test_a_damaged_record_of_a_registered_schema_is_rejected() -> None:
    old = Codec("shop", "binary", Dictionary(Integer(name="price")))
    codec = Codec("shop", "binary", SMALL)
    codec.reader.register(json.dumps(old.schemas["Request"]))
    assert rejection(old.encode(Request("r-1", 5, {"price": 7}))[:15], codec).reason == "malformed"


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "[]",
        '"long"',
        '{"type": "record"}',
        '{"type": "record", "name": "Other", "fields": []}',
        '{"type": "record", "name": "Position", "fields": []}',
        '{"type": "record", "name": "Request", "fields": [{"name": "a", "type": "nothing"}]}',
        '{"type": "record", "name": "Request", "fields": [{"name": "a", "type":'
        ' {"type": "array", "items": "null"}}]}',
        '{"type": "record", "name": "Request", "fields": [{"name": "a", "type": ["null", "Request"]}]}',
        '{"type": "record", "name": "Request", "fields": [{"name": "a", "type":'
        ' {"type": "fixed", "name": "f", "size": 2}}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_schema_of_a_record_is_not_registered(schema: str) -> None:
    with pytest.raises(BadRecord) as error:
        CODEC.reader.register(schema)
    assert error.value.reason == "unknown_schema"


def test_personal_data_is_left_out_or_tokenised_when_a_request_is_read() -> None:
    dictionary = Dictionary(
        Number(name="price"),
        Category(name="guest", personal_data="tokenised", optional=True),
        Category(name="phone", personal_data="left_out"),
    )
    codec = Codec("shop", "binary", dictionary, b"a key", serving=True)
    sent = {"request_id": "r-1", "ts": 5, "features": {"price": 1, "guest": "Ada", "phone": "123"}}
    from_json = codec.decode_request(json.dumps(sent).encode())
    from_avro = codec.decode_request(codec.encode(Request("r-1", 5, {"price": 1.0, "guest": "Ada"})))
    assert from_json == from_avro
    assert from_json.features == {
        "price": 1.0,
        "guest": token(SubjectKeys(b"a key").key("Ada"), "guest", "Ada"),
    }
    prediction = Prediction("r-1", 5, from_json.features, ())
    for data in (codec.encode(prediction), codec.encode(prediction, json=True)):
        assert codec.decode_prediction(data) == prediction
        assert b"Ada" not in data
        assert b"123" not in data
    assert "phone" not in json.dumps(codec.schemas["Request"])


def test_without_a_key_stored_tokens_can_be_read_but_no_request() -> None:
    dictionary = Dictionary(Category(name="guest", personal_data="tokenised"))
    with pytest.raises(TaskError, match="guest"):
        Codec("shop", "binary", dictionary, serving=True)
    codec = Codec("shop", "binary", dictionary)
    prediction = Prediction("r-1", 5, {"guest": "0123"}, ())
    assert codec.decode_prediction(codec.encode(prediction)) == prediction
    for as_json in (False, True):
        with pytest.raises(TaskError, match="guest"):
            codec.decode_request(codec.encode(Request("r-1", 5, {"guest": "Ada"}), json=as_json))


def test_the_join_holds_a_predictions_bytes_unchanged() -> None:
    prediction, at = Prediction("r-1", 5, REQUEST.features, ()), Position("shop.predictions", 0, 1)
    for as_json in (False, True):
        data = CODEC.encode(prediction, json=as_json)
        held = JoinRecord(at, 5, prediction=CODEC.held.take("r-1", data))
        found = CODEC.decode_state(CODEC.encode(held))
        assert isinstance(found, JoinRecord)
        assert found == held
        assert found.prediction is not None
        assert type(found.prediction) is (bytes if as_json else Held)
        assert CODEC.held.read("r-1", found.prediction) == prediction


@pytest.mark.parametrize("optional", [True, False])
def test_what_the_join_held_under_an_older_dictionary_is_read_and_written_again(optional: bool) -> None:
    prediction, at = (
        Prediction("r-1", 5, REQUEST.features, (), Position("shop.requests", 0, 3)),
        Position("shop.predictions", 0, 1),
    )
    held = JoinRecord(at, 5, prediction=CODEC.held.take("r-1", CODEC.encode(prediction)))
    later = Codec("shop", "binary", Dictionary(*SMALL, Number(name="weight", optional=optional)))
    data = CODEC.encode(held)
    assert rejection(data, later, of="state").reason == "unknown_schema"
    later.reader.register(json.dumps(undocumented(CODEC.schemas["Prediction"])))
    found = later.decode_state(data)
    again = later.decode_state(later.encode(found))
    assert again == found
    for each in (found, again):
        assert isinstance(each, JoinRecord)
        assert (each.request_ts, each.prediction_at) == (5, at)
        assert each.prediction is not None
        assert later.held.read("r-1", each.prediction) == prediction
        written = later.held.to_write("r-1", each.prediction)
        entry = later.decode_entry(later.encode(Entry("e", "expired", 5, prediction=written)))
        assert entry.prediction == prediction


def test_an_entry_carries_what_was_served_though_the_joining_worker_has_another_dictionary() -> None:
    """A feature that its own dictionary does not have is learned by the models of the one that served."""
    prediction = Prediction("r-1", 5, REQUEST.features, (), Position("shop.requests", 0, 3), propensity=0.5)
    there = Codec("shop", "binary", Dictionary(next(iter(SMALL)), Number(name="weight", optional=True)))
    there.reader.register(json.dumps(undocumented(CODEC.schemas["Prediction"])))
    on_topic = CODEC.encode(prediction)
    assert there.decode_prediction(on_topic).features != prediction.features
    held_there = there.held.take("r-1", on_topic)
    taken_over = CODEC.encode(
        JoinRecord(Position("shop.predictions", 0, 1), 5, prediction=CODEC.held.take("r-1", on_topic))
    )
    state = there.decode_state(there.encode(there.decode_state(taken_over)))
    assert isinstance(state, JoinRecord)
    for payload in (held_there, state.prediction):
        assert payload is not None
        assert there.held.read("r-1", payload) == there.decode_prediction(on_topic)
        data = there.encode(Entry("e", "expired", 5, prediction=there.held.to_write("r-1", payload)))
        assert CODEC.decode_entry(data).prediction == prediction
        seen = there.decode_entry(data).prediction
        assert seen == there.decode_prediction(on_topic)


def test_a_dead_letter_carries_any_bytes() -> None:
    dead_letter = DeadLetter("unreadable", "a sentence", "", None, b"\xff\x00", bytes(range(256)), 5)
    assert CODEC.decode_dead_letter(CODEC.encode(dead_letter)) == dead_letter
    assert CODEC.decode_dead_letter(CODEC.encode(dead_letter, json=True)) == dead_letter
    broken = CODEC.encode(dead_letter, json=True).replace(b'"key":"', b'"key":"!')
    found = rejection(broken, of="dead_letter")
    assert (found.reason, found.field) == ("malformed", "key")


def test_json_that_we_write_is_valid_for_everybody() -> None:
    metric = Metric("accuracy", math.nan, "ratio", "m", "v", "served", "all", 0, 0, 5)
    assert json.loads(CODEC.encode(metric, json=True))["value"] is None


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (Request("r-1", 5, {}), "without 'price'"),
        (Request("r-1", 5, {"price": "x", "items": 1}), "cannot be written"),
        (Request("r-1", 2**64, {"price": 1.0, "items": 1}), "64-bit"),
        (Request("\ud800", 5, {"price": 1.0, "items": 1}), "surrogates"),
        (JoinRecord(prediction=Prediction("r-1", 5, {"price": "x", "items": 1}, ())), "cannot be written"),
    ],
)
def test_a_record_that_does_not_follow_its_schema_is_not_written(record: Any, says: str) -> None:
    with pytest.raises(BadRecord, match=says):
        CODEC.encode(record)


def test_a_codec_says_what_it_is_for() -> None:
    assert repr(CODEC) == "Codec('shop', 'binary', 3 features)"
