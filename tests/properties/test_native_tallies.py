"""Tallies as the core reads and writes them: the bytes, the records and the refusals of the codec."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec, wire
from schemas.dictionary import Dictionary, Number
from schemas.errors import BadRecord
from schemas.formats import HEADER_BYTES
from schemas.tally import FeatureTally, Tally
from streams import native
from streams.native.tallies import TallyCodec
from tests.properties.test_native_records import damaged

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")

CODEC: Final = Codec("shop", "binary", Dictionary(Number(name="price")), b"a key of a test")
TALLIES: Final = TallyCodec(CODEC)
TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
LONGS: Final = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 300)
COUNTS: Final = st.dictionaries(TEXTS, LONGS, max_size=80)
FEATURES: Final = st.dictionaries(
    TEXTS, st.builds(FeatureTally, COUNTS, LONGS, LONGS, st.floats()), max_size=4
)
MADE: Final = st.builds(
    Tally,
    TEXTS,
    st.sampled_from(("topic", "http")),
    *[LONGS] * 5,
    *[st.dictionaries(TEXTS, LONGS, max_size=3)] * 3,
    FEATURES,
)


def read(decode: Any, data: Any) -> str:
    try:
        return repr(decode(data))
    except BadRecord as bad:
        return repr((bad.reason, bad.field, bad.message))


@given(MADE)
def test_a_tally_is_written_and_read_as_the_codec_does(tally: Tally) -> None:
    data = CODEC.encode(tally)
    assert TALLIES.encode(tally) == data
    assert repr(TALLIES.decode(data)) == repr(CODEC.decode_tally(data))
    assert [*TALLIES.decode(data).features] == [*tally.features]


@given(st.data())
def test_any_bytes_are_read_as_the_codec_reads_them(data: st.DataObject) -> None:
    sent = data.draw(damaged(CODEC.encode(data.draw(MADE))))
    assert read(TALLIES.decode, sent) == read(CODEC.decode_tally, sent)


@given(FEATURES, st.booleans())
def test_maps_in_several_blocks_are_read_as_the_codec_reads_them(
    features: dict[str, FeatureTally], sized: bool
) -> None:
    """Blocks of one, as another writer may write them; the same name in two."""

    def block(item: bytes) -> bytes:
        return (wire.LONGS[-1] + wire.LONGS[len(item)] if sized else wire.LONGS[1]) + item

    said = CODEC.encode(Tally("w", "topic", 60_000, 60_000, 1))[:-1]
    for name, each in [*features.items(), *features.items()]:
        item = wire.text(name)
        for key, count in [*each.bins.items(), *each.bins.items()][::-1]:
            item += block(wire.text(key) + wire.LONGS[count])
        item += b"\0" + wire.LONGS[each.missing] + wire.LONGS[each.outside] + b"\0" * 8
        said += block(item)
    said += b"\0"
    assert read(TALLIES.decode, said) == read(CODEC.decode_tally, said)
    records: Any = TALLIES._records
    assert records.tally(said, HEADER_BYTES) is not None  # the core has read it


def test_what_is_no_tally_is_the_codecs() -> None:
    for data in (
        None,
        b"",
        b"{}",
        CODEC.encode(Tally("w", "topic", 0, 60_000, 1), json=True),
        b"\xc3\x01" * 9,
    ):
        assert read(TALLIES.decode, data) == read(CODEC.decode_tally, data)


@pytest.mark.parametrize("bins", [{"\ud800": 1}, {"1.0": 2**63}, {"1.0": "1"}, {1: 1}])
def test_what_cannot_be_written_is_refused_in_the_codecs_words(bins: Any) -> None:
    tally = Tally("w", "topic", 0, 60_000, 1, features={"price": FeatureTally(bins, 0, 0, 0.0)})
    refused = read(CODEC.encode, tally)
    assert "wrong_type" in refused
    assert read(TALLIES.encode, tally) == refused
