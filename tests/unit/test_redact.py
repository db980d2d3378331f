"""What is shown of a dead letter: readable, bounded, harmless, and no personal data in plain."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.web.redact import MAX_FIELDS, redact
from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import BadRecord
from schemas.escaped import line
from schemas.records import DeadLetter, Outcome, Position, Request

PERSONAL = "Ada Lovelace"
OPEN = Codec("open", "binary", Dictionary(Number(name="x"), Category(name="Meal", optional=True)))
CAREFUL = Codec(
    "careful",
    "binary",
    Dictionary(
        Number(name="x"),
        Category(name="Meal", optional=True),
        Category(name="Guest", optional=True, personal_data="tokenised"),
        Category(name="Mail", optional=True, personal_data="left_out"),
        Integer(name="Born", optional=True, personal_data="left_out"),
    ),
    b"a key",
)
SENT: dict[str, Any] = {"request_id": "r-1", "ts": 5, "features": {"x": 1.5, "Meal": "BB"}}


def dead_letter(value: bytes | None, key: bytes | None = b"r-1", message: str = "a sentence") -> DeadLetter:
    return DeadLetter(
        "wrong_type", message, "features.x", Position("t.requests", 0, 7), key, value, 5, "shop"
    )


def shown(value: Any, codec: Codec = CAREFUL, **more: Any) -> dict[str, Any]:
    data = value if isinstance(value, bytes | None) else json.dumps(value).encode()
    return redact(dead_letter(data, **more), codec)


def test_a_record_is_shown_as_its_fields_in_either_form() -> None:
    fields = SENT | {"features": SENT["features"] | {"x": "soon"}}
    reported = shown(fields, OPEN)
    assert (reported["form"], reported["record"], reported["key"]) == ("json", fields, "r-1")
    avro = shown(OPEN.encode(Request("r-1", 5, SENT["features"])), OPEN)
    assert (avro["form"], avro["record"]["features"], avro["record"]["request_id"]) == (
        "avro",
        SENT["features"],
        "r-1",
    )
    outcome = shown(OPEN.encode(Outcome("r-1", 5, True)), OPEN)
    assert (outcome["form"], outcome["record"]["value"]) == ("avro", True)


def test_what_cannot_be_decoded_is_shown_as_text_or_as_hex() -> None:
    assert shown(b"no record\x1b[2J", OPEN)["record"] == "no record\\x1b[2J"
    assert shown(b"\xff\x00\x01", OPEN)["record"] == "ff 00 01"
    assert shown(None, OPEN)["record"] == "<null>"
    cut = OPEN.encode(Request("r-1", 5, SENT["features"]))[:-3]
    assert shown(cut, OPEN)["record"] == cut.hex(" ")


@pytest.mark.parametrize(
    "fields",
    [
        SENT | {"features": {"x": 1, "Guest": PERSONAL, "Mail": PERSONAL}},
        SENT | {"features": {"x": 1, "Guest": [PERSONAL], "Mail": {"a": {PERSONAL: 1}}}},
        SENT | {"features": {"x": [PERSONAL], "Meal": {"name": PERSONAL}}},
        SENT | {"features": {"x": 1, "guest": PERSONAL, "GUEST": PERSONAL}},
        SENT | {"features": PERSONAL},
        SENT | {"features": [PERSONAL, {"Guest": PERSONAL}]},
        SENT | {"Guest": PERSONAL, "entity_key": PERSONAL, "parents": [PERSONAL]},
        SENT | {"features": {"x": 1, "Guest": {"x": PERSONAL}}, "request_id": {"id": PERSONAL}},
        {"record": "outcome", "request_id": "r-1", "value": [PERSONAL], "Guest": PERSONAL},
    ],
)
def test_personal_data_is_never_in_plain_wherever_a_service_put_it(fields: dict[str, Any]) -> None:
    reported = shown(fields)
    assert reported["form"] == "json"
    assert "Ada" not in json.dumps(reported)
    # What is wrong with it can be seen all the same: names, types, sizes.
    assert reported["record"].keys() == fields.keys()


@pytest.mark.parametrize(
    "value", [PERSONAL.encode(), b'{"Guest": "' + PERSONAL.encode(), b"\xc3\x01" + PERSONAL.encode()]
)
def test_bytes_that_cannot_be_decoded_are_hidden_where_there_is_personal_data(value: bytes) -> None:
    reported = shown(value, key=PERSONAL.encode())
    assert reported["record"] == f"<{len(value)} bytes, hidden: undecodable, and the task has personal data>"
    assert reported["key"] == "<12 bytes>"
    text = json.dumps(reported)
    assert "Ada" not in text
    assert PERSONAL.encode().hex()[:8] not in text.replace(" ", "")


def test_the_personal_number_is_hidden_and_the_others_are_not() -> None:
    reported = shown(SENT | {"features": {"x": 1815, "Born": 1815, "Meal": "BB", "Guest": None}})
    assert reported["record"]["features"] == {"x": 1815, "Born": "<number>", "Meal": "BB", "Guest": "<null>"}


def test_what_is_shown_is_bounded() -> None:
    wide = {f"f{number}" * 50: "x" * 10_000 for number in range(5000)}
    huge = SENT | wide | {"features": wide | {"x": 10**4000, "Meal": [[]] * 10_000}}
    reported = shown(huge, OPEN, message="m" * 100_000, key=b"k" * 100_000)
    assert len(json.dumps(reported)) < 2 * MAX_FIELDS * 400
    assert "more" in reported["record"]["…"]
    assert len(json.dumps(shown(b"\xff" * 1_000_000, OPEN))) < 2000


def test_nothing_steers_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202e\r\n"
    reported = shown(SENT | {"request_id": evil, evil: evil}, OPEN, message=evil, key=evil.encode())
    assert all(character.isprintable() for character in str(reported))
    assert line("[bold]a[/] ü 漢") == "[bold]a[/] ü 漢"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=120)
    | st.binary(max_size=80).map(lambda rest: OPEN.encode(Outcome("r", 1, True))[:10] + rest)
)
def test_any_bytes_can_be_shown(value: bytes) -> None:
    for codec in (OPEN, CAREFUL):
        reported = redact(dead_letter(value, key=value), codec)
        json.dumps(reported)
        assert all(character.isprintable() for character in str(reported))


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.just(PERSONAL) | st.just([PERSONAL]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("Guest", "Mail", "Born", "features", "entity_key", "other", "record", "ts")),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    )
)
def test_no_message_of_a_rejection_repeats_personal_data(features: Any) -> None:
    for sent in (
        SENT | {"features": features},
        SENT | {"features": {"x": 1, "Guest": features, "Mail": features}},
    ):
        said = ""
        try:
            CAREFUL.decode_request(json.dumps(sent).encode())
        except BadRecord as bad:
            said = bad.message + bad.field
        assert "Ada" not in said


@pytest.mark.parametrize("field", ["entity_key", "parents", "reporter"])
def test_personal_fields_are_shown_only_where_the_dictionary_says_that_they_are_none(field: str) -> None:
    fields = SENT | {field: PERSONAL}
    assert "Ada" not in json.dumps(shown(fields, OPEN))
    plain = Codec("plain", "binary", Dictionary(Number(name="x"), **{field: "none"}))  # type: ignore[arg-type]
    assert shown(fields, plain)["record"][field] == PERSONAL
