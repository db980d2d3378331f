"""Whatever is written is read back, bit for bit; whatever the bytes, a reader answers or rejects."""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import fastavro
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schemas.codec import Codec, Record
from schemas.codec.compatibility import EXAMPLE
from schemas.codec.json_form import plain
from schemas.dictionary import Boolean, Category, Dictionary, Feature, Integer, Number
from schemas.errors import BadRecord
from schemas.examples import examples
from schemas.reasons import REASONS
from schemas.records import Command, Entry, Outcome, Position, Prediction, Request, Score
from schemas.state import JoinRecord
from schemas.written import Written

CODEC = Codec("hotel", "binary", EXAMPLE, b"a key")
REAL: dict[str, Callable[[bytes], Record]] = {
    "Request": CODEC.decode_request,
    "Prediction": CODEC.decode_prediction,
    "Outcome": CODEC.decode_outcome,
    "Punctuation": CODEC.decode_outcome,
    "Entry": CODEC.decode_entry,
    "JoinRecord": CODEC.decode_state,
    "JoinPosition": CODEC.decode_state,
    "Resolution": CODEC.decode_state,
    "DeadLetter": CODEC.decode_dead_letter,
    "Manifest": CODEC.decode_manifest,
    "Control": CODEC.decode_control,
    "Applied": CODEC.decode_from_control,
    "AuditLink": CODEC.decode_audit,
    "Metric": CODEC.decode_metric,
    "Alert": CODEC.decode_alert,
    "Tally": CODEC.decode_tally,
}

texts = st.text(max_size=200)
ids = st.text(min_size=1, max_size=200).filter(lambda each: each[0] != "\0")
times = st.integers(0, 2**53 - 1)
longs = st.integers(-(2**63), 2**63 - 1)
doubles = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS: dict[str, int | None] = {
    "hotel.requests": 0,
    "hotel.predictions": 1,
    "hotel.outcomes": 2,
    "hotel.outcomes~2": 5,
}
NUMBERS |= {
    "hotel.requests~1000": 2997,
    "hotel.log": None,
    "hotel.outcomes~1": None,
    "hotel.outcomes~02": None,
}
topics = texts | st.sampled_from(sorted(NUMBERS))
positions = st.builds(Position, topics, st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))


@st.composite
def dictionaries(draw: st.DrawFn) -> Dictionary:
    made: list[Feature] = []
    for index in range(draw(st.integers(1, 9))):
        common: dict[str, Any] = {"name": f"f{index}", "optional": draw(st.booleans())}
        kind = draw(st.sampled_from((Number, Integer, Boolean, Category)))
        if draw(st.booleans()):
            default: dict[Any, Any] = {Number: 0.5, Integer: -1, Boolean: False, Category: "none"}
            common["missing"] = default[kind]
        made.append(kind(**common))
    return Dictionary(*made)


def raw_values(feature: Feature) -> st.SearchStrategy[Any]:
    """What a service may send for a feature."""
    kinds: dict[type[Feature], st.SearchStrategy[Any]] = {
        Number: doubles | longs | (st.just(math.nan) if feature.optional else st.nothing()),
        Integer: longs | st.integers(-(2**53), 2**53).map(float),
        Boolean: st.booleans(),
        Category: texts,
    }
    given_one = kinds[type(feature)]
    return given_one | st.none() if feature.optional or feature.missing is not None else given_one


def bits(features: Any) -> list[tuple[str, type, bytes | str]]:
    """Features in their order, numbers by their bits."""
    return [
        (name, type(each), struct.pack("<d", each) if isinstance(each, float) else str(each))
        for name, each in features.items()
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_features_have_one_canonical_form_whatever_the_encoding(data: st.DataObject) -> None:
    dictionary = data.draw(dictionaries())
    codec = Codec("t", "binary", dictionary)
    raw = {each.name: data.draw(raw_values(each), label=each.name) for each in dictionary}
    sent = {"request_id": "a", "ts": 5, "features": raw}
    canonical = dictionary.canonical(raw)
    request = Request("a", 5, canonical)
    as_json = codec.decode_request(json.dumps(sent).encode())
    assert bits(as_json.features) == bits(canonical)
    for read_back in (
        codec.decode_request(codec.encode(request)),
        codec.decode_request(codec.encode(request, json=True)),
        codec.decode_prediction(codec.encode(Prediction("a", 5, canonical, ()))),
        codec.decode_prediction(codec.encode(Prediction("a", 5, canonical, ()), json=True)),
    ):
        assert bits(read_back.features) == bits(canonical)
    assert bits(dictionary.canonical(canonical)) == bits(canonical)


stored = st.fixed_dictionaries(
    {
        "price": doubles.map(lambda each: each + 0.0),
        "items": longs,
        "returning": st.booleans(),
        "channel": texts,
        "voucher": texts,
    },
    optional={"distance": doubles.map(lambda each: each + 0.0), "customer": texts},
).map(lambda each: {name: each[name] for name in EXAMPLE.names if name in each})
scores = st.builds(
    Score,
    texts,
    longs,
    longs,
    st.none() | doubles | st.dictionaries(texts, doubles, max_size=3),
    st.none() | st.booleans() | texts,
)
predictions = st.builds(
    Prediction,
    ids,
    times,
    stored,
    st.lists(scores, max_size=3).map(tuple),
    st.none() | positions,
    st.none() | texts,
    st.lists(texts, max_size=3).map(tuple),
    st.none() | st.floats(0, 1, exclude_min=True),
)
outcomes = st.builds(
    Outcome, ids, times, st.booleans(), st.none() | longs, st.none() | texts, st.none() | texts
)
made_entries = st.builds(
    Entry,
    entry_id=texts,
    kind=st.sampled_from(("opened", "labelled", "expired", "late", "revised", "unavailable", "time")),
    ts=times,
    trigger=st.none() | positions,
    arrived=st.none() | times,
    prediction_at=st.none() | positions,
    outcome_at=st.none() | positions,
    prediction=st.none() | predictions,
    outcome=st.none() | outcomes,
    corrects=st.none() | texts,
    previous=st.none() | st.booleans() | doubles | texts,
    previous_kind=st.none() | st.sampled_from(("labelled", "expired")),
    late_by=st.none() | st.sampled_from(("event_time", "arrival")),
    command=st.none() | st.builds(Command, st.just("freeze"), texts, st.dictionaries(texts, texts)),
    partition=st.none() | st.integers(0, 2**31 - 1),
)


def agreeing(entry: Entry) -> Entry:
    """An outcome is of its entry's request and time, and lies where the trigger does if nothing else is said."""
    outcome, prediction = entry.outcome, entry.prediction
    if outcome is None or prediction is None:
        return replace(entry, outcome=None, outcome_at=None)
    outcome = replace(outcome, request_id=prediction.request_id, ts=entry.ts, reason=outcome.reason or None)
    return replace(entry, outcome=outcome, outcome_at=entry.outcome_at or entry.trigger)


made_entries = made_entries.map(agreeing)
# Most have the id of their trigger.
entries = made_entries | made_entries.map(lambda each: replace(each, entry_id=f"{each.trigger}#0"))


@settings(max_examples=150, deadline=None)
@given(entries)
def test_an_entry_is_read_back_as_it_was_written(entry: Entry) -> None:
    assert CODEC.decode_entry(CODEC.encode(entry)) == entry
    assert CODEC.decode_entry(CODEC.encode(entry, json=True)) == entry


@settings(max_examples=150, deadline=None)
@given(entries)
def test_the_bytes_are_those_of_any_other_avro_implementation(entry: Entry) -> None:
    schema = fastavro.parse_schema(CODEC.schemas["Entry"])
    data = CODEC.encode(entry)
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, _for_fastavro(entry))
    assert data[10:] == out.getvalue()
    found = fastavro.schemaless_reader(io.BytesIO(data[10:]), schema, None)
    assert found == _for_fastavro(entry)


def _for_fastavro(entry: Entry) -> dict[str, Any]:
    """An entry as a general implementation holds it: every field, null when missing, topics as numbers."""
    found = plain(entry)
    if entry.trigger and entry.entry_id == f"{entry.trigger}#0":
        found["entry_id"] = None
    if found["outcome_at"] == found["trigger"]:
        found["outcome_at"] = None
    for name in ("request_id", "ts") if found["outcome"] else ():
        del found["outcome"][name]
    places = [found[name] for name in ("trigger", "prediction_at", "outcome_at")]
    places += [found["prediction"]["source"]] if found["prediction"] else []
    for place in filter(None, places):
        number = NUMBERS.get(place["topic"])
        place["topic"] = place["topic"] if number is None else number
    if found["prediction"] is not None:
        features = found["prediction"]["features"]
        found["prediction"]["features"] = {name: features.get(name) for name in EXAMPLE.names}
    return found


@settings(max_examples=100, deadline=None)
@given(predictions, st.text(max_size=20))
def test_an_entry_embeds_the_bytes_of_its_prediction_unchanged(prediction: Prediction, entry_id: str) -> None:
    body = CODEC.encode(prediction)[10:]
    assert body in CODEC.encode(Entry(entry_id, "labelled", 5, prediction=prediction))


@settings(max_examples=100, deadline=None)
@given(entries)
def test_an_entry_takes_over_a_prediction_s_bytes_to_the_same_bytes(entry: Entry) -> None:
    assume(entry.prediction is not None)
    assert entry.prediction is not None
    name = entry.prediction.request_id
    written = CODEC.held.to_write(name, CODEC.held.take(name, CODEC.encode(entry.prediction)))
    assert type(written) is Written
    assert CODEC.encode(replace(entry, prediction=written)) == CODEC.encode(entry)
    other = CODEC.held.to_write(name, CODEC.held.take(name, CODEC.encode(entry.prediction, json=True)))
    assert CODEC.encode(replace(entry, prediction=other)) == CODEC.encode(entry)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(REAL)), st.booleans(), st.data())
def test_damaged_bytes_are_rejected_or_read_and_nothing_else(record: str, as_json: bool, data: Any) -> None:
    whole = CODEC.encode(examples(CODEC)[record], json=as_json)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        first = 0 if as_json else 10  # with another fingerprint nothing would be read at all
        at = data.draw(st.integers(first, max(len(damaged), first)))
        action = data.draw(st.sampled_from(("set", "cut", "insert")))
        if action == "set" and at < len(damaged):
            damaged[at] = data.draw(st.integers(0, 255))
        elif action == "cut":
            del damaged[at : at + data.draw(st.integers(1, 30))]
        else:
            damaged[at:at] = data.draw(st.binary(max_size=12))
    _read_or_reject(record, bytes(damaged))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(REAL)), st.binary(max_size=300))
def test_random_bytes_are_rejected_or_read_and_nothing_else(record: str, data: bytes) -> None:
    _read_or_reject(record, data)
    _read_or_reject(record, bytes.fromhex("c301" + CODEC.fingerprints[record]) + data)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(REAL)), st.data())
def test_json_of_any_shape_is_rejected_or_read_and_nothing_else(record: str, data: st.DataObject) -> None:
    found = plain(examples(CODEC)[record])
    for name in data.draw(st.sets(st.sampled_from(sorted(found)), min_size=1)):
        found[name] = data.draw(anything)
    _read_or_reject(record, json.dumps(found).encode())


def _read_or_reject(record: str, data: bytes) -> None:
    """What is read can be written and read again; what is rejected says why."""
    read: Callable[[bytes], Record] = REAL[record]
    result: Record | BadRecord
    try:
        result = read(data)
    except BadRecord as error:
        result = error
    if isinstance(result, BadRecord):
        assert result.reason in REASONS
        assert result.message
    elif type(result) is not Request:  # whose tokens are made in reading
        again = read(CODEC.encode(result))
        assert repr(again) == repr(result)


@pytest.mark.parametrize("record", sorted(REAL))
def test_every_cut_of_a_record_is_rejected(record: str) -> None:
    whole = CODEC.encode(examples(CODEC)[record])
    for length in range(len(whole)):
        with pytest.raises(BadRecord):
            read_whole(record, whole[:length])


def read_whole(record: str, data: bytes) -> None:
    found = REAL[record](data)
    # What the join holds goes to the end of its record, and is checked where it is read.
    if isinstance(found, JoinRecord) and found.prediction is not None:
        CODEC.held.read("r-0001", found.prediction)
