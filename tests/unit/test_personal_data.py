"""What is personal is stored as the dictionary says, and a person's key can be destroyed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Number, PersonalData
from schemas.errors import BadRecord, TaskError
from schemas.records import Outcome, Prediction, Request
from schemas.subject_keys import BEGIN, END, SALT_BYTES, SubjectKeys
from schemas.tokens import FIELD_TOKEN, TOKEN_LENGTH, Protection, token

FEATURES = (
    Number(name="price", low=0, on_range="reject"),
    Category(name="guest", personal_data="tokenised", missing="unknown"),
    Category(name="email", personal_data="tokenised", optional=True),
    Category(name="phone", personal_data="left_out"),
)
KEPT: dict[str, PersonalData] = dict.fromkeys(("entity_key", "parents", "reporter"), "tokenised")
SENT = Request("r-1", 5, {"price": 1.0, "guest": "Ada", "email": "Ada"}, "customer-7", ("r-0", "r-00"))


def salts(start: int = 0) -> Callable[[], bytes]:
    numbers = itertools.count(start)
    return lambda: next(numbers).to_bytes(SALT_BYTES, "big")


def keys(start: int = 0) -> SubjectKeys:
    return SubjectKeys(b"a key", salts(start))


def test_a_requests_tokens_are_made_with_its_entitys_key() -> None:
    made = keys()
    found = Protection(Dictionary(*FEATURES, **KEPT), made).asked(SENT)
    key = made.key("customer-7")
    assert found.features == {
        "price": 1.0,
        "guest": token(key, "guest", "Ada"),
        "email": token(key, "email", "Ada"),
    }
    assert len(str(found.features["guest"])) == TOKEN_LENGTH
    assert found.entity_key == FIELD_TOKEN + token(key, "entity_key", "customer-7")
    assert found.parents == tuple(FIELD_TOKEN + token(key, "parents", each) for each in ("r-0", "r-00"))
    assert len(made.unwritten()) == 1  # nothing else has a key: it could not be forgotten with the entity


def test_tokens_of_two_entities_differ_and_those_of_one_are_equal() -> None:
    protection = Protection(Dictionary(*FEATURES, **KEPT), keys())
    one, again, other = (
        protection.asked(replace(SENT, entity_key=entity)) for entity in ("c-7", "c-7", "c-8")
    )
    assert one == again
    assert not {one.features["guest"], one.entity_key} & {other.features["guest"], other.entity_key}


def test_without_an_entity_a_value_is_its_own_subject() -> None:
    made = keys()
    protection = Protection(Dictionary(*FEATURES, **KEPT), made)
    found = protection.asked(replace(SENT, entity_key=None, parents=()))
    assert found.features["guest"] == token(made.key("Ada"), "guest", "Ada")
    assert found.features["guest"] == protection.asked(replace(SENT, entity_key=None)).features["guest"]


def test_a_missing_value_gets_no_token() -> None:
    found = Protection(Dictionary(*FEATURES), keys()).asked(
        Request("r", 5, {"price": 1.0, "guest": "unknown"})
    )
    assert found.features == {"price": 1.0, "guest": "unknown"}


def test_entity_lineage_and_reporter_are_left_out_unless_the_dictionary_says_otherwise() -> None:
    protection = Protection(Dictionary(*FEATURES), keys())
    found = protection.asked(SENT)
    assert (found.entity_key, found.parents) == (None, ())
    assert protection.outcome(Outcome("r-1", 5, True, reporter="clerk")).reporter is None
    plain = Dictionary(Number(name="price"), entity_key="none", parents="none", reporter="none")
    kept = Protection(plain).asked(SENT)
    assert (kept.entity_key, kept.parents) == ("customer-7", ("r-0", "r-00"))
    assert Protection(plain).outcome(Outcome("r-1", 5, True, reporter="clerk")).reporter == "clerk"


def test_what_is_a_fields_token_already_stays_one() -> None:
    protection = Protection(Dictionary(*FEATURES, **KEPT), keys())
    outcome = protection.outcome(Outcome("r-1", 5, True, reporter="clerk"))
    assert outcome.reporter is not None
    assert outcome.reporter.startswith(FIELD_TOKEN)
    assert protection.outcome(outcome) == outcome


@pytest.mark.parametrize("field", ["guest", "entity_key", "parents", "reporter"])
def test_tokens_need_a_key(field: str) -> None:
    dictionary = Dictionary(
        Category(name="guest", personal_data="tokenised" if field == "guest" else "none"),
        **({} if field == "guest" else {field: "tokenised"}),  # type: ignore[arg-type]
    )
    with pytest.raises(TaskError, match=rf"{field}.*key"):
        Protection(dictionary, serving=True)
    protection = Protection(dictionary)
    outcome = Outcome("r", 5, True, reporter="clerk")
    ask = (lambda: protection.outcome(outcome)) if field == "reporter" else (lambda: protection.asked(SENT))
    with pytest.raises(TaskError, match=rf"{field}.*key"):
        ask()


# ---------------------------------------------------------------------- predictions from outside


def test_a_prediction_from_outside_is_stored_like_a_request() -> None:
    codec = Codec("shop", "binary", Dictionary(*FEATURES, **KEPT), keys())
    sent: dict[str, Any] = {
        "request_id": "r-1",
        "ts": 5,
        "features": {"price": 1, "guest": "Ada", "email": "Ada", "phone": "555", "other": "Ada"},
        "scores": [],
        "entity_key": "customer-7",
        "parents": ["r-0", "r-00"],
    }
    prediction = codec.protection.served(codec.decode_prediction(json.dumps(sent).encode()))
    request = codec.protection.asked(SENT)
    assert prediction == Prediction(
        "r-1", 5, request.features, (), entity_key=request.entity_key, parents=request.parents
    )
    for data in (codec.encode(prediction), codec.encode(prediction, json=True)):
        assert not [each for each in (b"Ada", b"555", b"customer-7", b"r-0") if each in data]


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"price": -1.0, "guest": "Ada"}, "out_of_range"),
        ({"guest": "Ada"}, "missing_field"),
        ({"price": "dear", "guest": "Ada"}, "wrong_type"),
    ],
)
def test_a_prediction_from_outside_is_rejected_like_a_request(features: dict[str, Any], reason: str) -> None:
    codec = Codec("shop", "binary", Dictionary(*FEATURES), keys())
    sent = {"request_id": "r-1", "ts": 5, "features": features, "scores": []}
    with pytest.raises(BadRecord) as rejected:
        codec.protection.served(codec.decode_prediction(json.dumps(sent).encode()))
    assert rejected.value.reason == reason
    with pytest.raises(BadRecord) as rejected:
        codec.decode_request(json.dumps(sent).encode())
    assert rejected.value.reason == reason


def test_masked_records_of_two_keys_are_equal() -> None:
    dictionary = Dictionary(*FEATURES, **KEPT)
    one, other = (Protection(dictionary, keys(start)) for start in (0, 9))
    assert one.asked(SENT) != other.asked(SENT)
    assert one.masked(one.asked(SENT)) == other.masked(other.asked(SENT)) == one.masked(SENT)
    assert one.masked(replace(SENT, features={**SENT.features, "price": 2.0})) != one.masked(SENT)


# ---------------------------------------------------------------------- keys


def test_keys_need_the_token_key_and_the_salt() -> None:
    made = keys()
    assert made.key("Ada") == made.key("Ada") != made.key("Bea")
    assert keys(1).key("Ada") != made.key("Ada")
    assert SubjectKeys(b"another key", salts()).key("Ada") != made.key("Ada")
    assert SubjectKeys(b"another key").lookup("Ada") != made.lookup("Ada")


def test_another_process_reads_the_same_keys() -> None:
    one, other = keys(), keys(100)
    key = one.key("Ada")
    for record in one.unwritten():
        other.read(*record)
    assert other.key("Ada") == key
    assert other.unwritten() == []


def test_a_salt_is_unwritten_until_it_is_known_to_be_on_the_topic() -> None:
    one = keys()
    one.key("Ada")
    [record] = one.unwritten()
    one.written([(record[0], b"x" * SALT_BYTES)])  # another one's
    assert one.unwritten() == [record]
    one.written([record])
    assert one.unwritten() == []
    one.key("Bea")
    [record] = one.unwritten()
    one.read(*record)
    assert one.unwritten() == []


def test_the_later_salt_on_the_topic_counts_for_all() -> None:
    one, other = keys(), keys(100)
    one.key("Ada"), other.key("Ada")
    topic = one.unwritten() + other.unwritten()
    for process in (one, other):
        for record in topic:
            process.read(*record)
    assert one.key("Ada") == other.key("Ada")
    assert one.unwritten() == other.unwritten() == []


def test_a_rewriting_forgets_who_is_not_in_it_and_nobody_else() -> None:
    one = keys()
    before = {name: one.key(name) for name in ("Ada", "Bea")}
    one.written(one.unwritten())
    kept = one.without("Ada")
    one.read(BEGIN, b"")
    for record in kept.items():
        one.read(*record)
    assert one.key("Ada") == before["Ada"]  # half of a rewriting changes nothing
    new = keys(50)
    new.key("Cleo")
    for record in new.unwritten():
        one.read(*record)
    fresh = one.key("Dora")
    one.read(END, b"")
    assert one.key("Bea") == before["Bea"]
    assert one.key("Cleo") == new.key("Cleo")
    assert one.key("Dora") == fresh
    assert not one.knows("Ada")
    assert one.key("Ada") != before["Ada"]


@pytest.mark.parametrize(
    "record", [(None, b"x" * 32), (b"x" * 16, None), (b"x" * 16, b"x"), (b"x", b"x" * 32)]
)
def test_what_is_no_salt_is_rejected(record: tuple[bytes | None, bytes | None]) -> None:
    made = keys()
    with pytest.raises(BadRecord):
        made.read(*record)
    assert len(made) == 0
