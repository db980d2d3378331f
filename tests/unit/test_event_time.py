"""Times in another unit than ms are rejected wherever they come in, with the unit that they seem to have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.decoding import Decoder
from schemas.codec import Codec
from schemas.codec.checks import check_ts
from schemas.dictionary import Dictionary, Number
from schemas.errors import BadRecord
from schemas.event_time import TimeBounds
from schemas.records import Outcome, Request
from tests.joining import CODEC, RULES, Bench
from tests.properties.test_foreign_bytes import Foreign

NOW = 1_700_000_000_000
BOUNDS = TimeBounds(946_684_800_000, 300_000)


@pytest.mark.parametrize(
    ("ts", "said"),
    [
        ('"2024-03-01"', "ts must be a whole number of ms since 1970-01-01 UTC, not text"),
        ("1709280000.5", "ts must be a whole number of ms since 1970-01-01 UTC, not 1709280000.5"),
        ("true", "ts must be a whole number of ms since 1970-01-01 UTC, not a boolean"),
        ("1e300", "ts must be a 64-bit whole number of ms since 1970-01-01 UTC"),
        ("-5", "ts must be ms since 1970-01-01 UTC, 0 to 2^53 - 1, not -5"),
        (
            "1709280000000000000",
            "ts must be ms since 1970-01-01 UTC, 0 to 2^53 - 1, not 1709280000000000000; send milliseconds "
            "instead of nanoseconds",
        ),
    ],
)
def test_a_time_of_another_form_is_rejected_with_the_form_that_is_meant(ts: str, said: str) -> None:
    codec = Codec("t", "binary", Dictionary(Number(name="price")))
    sent = f'{{"request_id": "a", "ts": {ts}, "features": {{"price": 1}}}}'
    with pytest.raises(BadRecord) as caught:
        codec.decode_request(sent.encode())
    assert (caught.value.message, caught.value.field) == (said, "ts")


@pytest.mark.parametrize(
    ("ts", "unit"),
    [(NOW // 1000, "seconds"), (NOW * 1000, "microseconds"), (946_684_799_999, ""), (NOW + 300_001, "")],
)
def test_a_time_that_cannot_be_meant_is_rejected_with_its_unit(ts: int, unit: str) -> None:
    with pytest.raises(BadRecord) as caught:
        BOUNDS.check(ts, NOW)
    assert (caught.value.reason, caught.value.field) == ("impossible_time", "ts")
    assert str(ts) in caught.value.message
    assert caught.value.message.endswith(f"; send milliseconds instead of {unit}") == bool(unit)


def test_nanoseconds_are_beyond_every_time_and_named() -> None:
    with pytest.raises(BadRecord, match="instead of nanoseconds"):
        check_ts(NOW * 1_000_000)


@pytest.mark.parametrize("ts", [946_684_800_000, NOW, NOW + 300_000])
def test_both_bounds_are_still_taken(ts: int) -> None:
    BOUNDS.check(ts, NOW)


def test_an_outcome_in_seconds_is_rejected_where_it_is_read() -> None:
    value = CODEC.encode(Outcome("a", NOW // 1000, True))
    item = Decoder(CODEC.decode_outcome, times=BOUNDS)(Foreign(b"a", value, None))
    assert item.bad is not None
    assert item.bad.reason == "impossible_time"
    assert item.bad.message.endswith("send milliseconds instead of seconds")


def test_a_request_in_seconds_is_rejected_where_it_is_read_and_has_no_place_in_time() -> None:
    """With a time it would hold back the outcomes of all later requests."""
    codec = Codec("shop", "binary", Dictionary(Number(name="price", unit="EUR")))
    value = codec.encode(Request("a", NOW // 1000, {"price": 1.0}))
    item = Decoder(codec.decode_request, times=BOUNDS)(Foreign(b"a", value, None))
    assert item.bad is not None
    assert (item.bad.reason, item.ts) == ("impossible_time", None)


def test_the_join_rejects_a_prediction_from_outside_and_an_outcome_in_seconds() -> None:
    bench = Bench(replace(RULES, earliest_ms=BOUNDS.earliest_ms))
    bench.ask("a", NOW // 1000)
    bench.ask("b", NOW, arrived=NOW)
    bench.report("b", NOW // 1000, True)
    bench.commit()
    assert [(each.reason, each.message.rpartition("; ")[2]) for each in bench.rejected] == [
        ("impossible_time", "send milliseconds instead of seconds")
    ] * 2
    assert bench.join.waiting == 1
    assert bench.join.stream_time == NOW
