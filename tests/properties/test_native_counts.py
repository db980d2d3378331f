"""Counts of scanned requests beside the reference: equal tallies, byte for byte, in any batches."""

from __future__ import annotations

import itertools
import math
import struct
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.event_time import TimeBounds
from schemas.records import Features, Request
from schemas.topics import MAX_RECORD_BYTES
from streams import native
from streams.native.serving import request_scan_of
from streams.quality import grid, recent_ids
from streams.quality.columns import FEW, Columns
from streams.quality.edge import EdgeCounter
from tests.history import Kept

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")

DICTIONARY: Final = Dictionary(
    Number(name="price", low=0, high=100, optional=True),
    Number(name="weight"),
    Number(name="depth", low=0, missing=-1.5),
    Integer(name="guests", missing=-1, low=0),
    Integer(name="code", optional=True, low=-(2**53) - 1, high=2**60 + 1),
    Category(name="channel", levels=("web", "é"), missing="NA"),
    Category(name="agent", optional=True),
    Boolean(name="member", optional=True),
    Category(name="name", personal_data="left_out", optional=True),
)
CODEC: Final = Codec("shop", "binary", DICTIONARY, b"a key of a test")
NUMBERS: Final = (
    st.floats(-1e149, 1e149, allow_nan=False)
    | st.floats(-20, 120)
    | st.sampled_from((0.0, -0.0, -1.5, 2.0**-20, -(2.0**40), 2.0**41, 5e-324, 1e16, 1.0, -1e16, 1e-3))
)
WHOLE: Final = st.sampled_from((-1, 0, 3, 2**53 + 1, -(2**53) - 1, -(2**53) - 2, 2**60 + 1, 2**62, -(2**63)))
FEATURES: Final = st.fixed_dictionaries(
    {
        "weight": NUMBERS,
        "depth": NUMBERS,
        "guests": WHOLE | st.integers(-1, 20),
        "channel": st.sampled_from(("web", "é", "fax", "NA")),
    },
    optional={
        "price": NUMBERS,
        "code": WHOLE,
        "agent": st.sampled_from(("", "a", "x" * 64 + "a", "x" * 64 + "b", "名", "no", "yes")),
        "member": st.booleans(),
    },
)
ROWS: Final = st.lists(
    st.tuples(st.sampled_from((0, 0, 1, 700, 40_000, 60_000, -1, -70_000)), st.integers(0, 30), FEATURES),
    min_size=1,
    max_size=40,
)


def requests(rows: list[tuple[int, int, Features]], ts: int = 180_000) -> list[Request]:
    made = []
    for gap, name, features in rows:
        ts = max(0, ts + gap)
        made.append(Request(f"é{name}", ts, DICTIONARY.stored().canonical(features)))
    return made


def scanned(asked: list[Request], codec: Codec = CODEC) -> list[Any]:
    """What the core makes of them: all of them."""
    values = [codec.encode(each) for each in asked]
    messages = [Kept(("shop.requests", 0), n, b"k", value, asked[n].ts) for n, value in enumerate(values)]
    scan = request_scan_of(codec)
    found: list[Any] = scan.requests(messages, values, "shop.requests", MAX_RECORD_BYTES, TimeBounds(0, 0))
    assert None not in found
    return found


class Pair:
    """A counter of what was scanned, and one of what was read."""

    def __init__(self) -> None:
        self.counters = [EdgeCounter(DICTIONARY, "w") for _ in range(2)]

    def count(self, partition: int, asked: list[Request], step: int = 0) -> None:
        rows = scanned(asked)
        for start in range(0, len(rows), step or len(rows)):
            self.counters[0].answered_many(partition, rows[start : start + (step or len(rows))], "avro")
        self.counters[1].answered_many(partition, asked, "avro")

    def each(self, partition: int, request: Request) -> None:
        for counter in self.counters:
            counter.answered(partition, request)

    def tallies(self) -> list[bytes]:
        one, two = ([CODEC.encode(each) for each in counter.tallies()] for counter in self.counters)
        assert one == two
        return one

    def end(self, commit: bool) -> None:
        for counter in self.counters:
            counter.commit() if commit else counter.drop()
        one, two = ((dict(each._times), dict(each._ids)) for each in self.counters)
        assert one == two


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            ROWS, st.integers(0, 1), st.integers(1, 60), st.integers(0, 9), st.booleans(), st.integers(0, 40)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_scanned_requests_are_counted_as_the_reference_counts_them(batches: list[Any]) -> None:
    pair = Pair()
    for rows, partition, times, form, commit, step in batches:
        asked = requests(rows * times if form < 3 else rows)
        pair.count(partition, asked, step)
        if form == 5:  # one that was not scanned lies between them
            pair.each(partition, asked[0])
            pair.count(1 - partition, asked[::-1], step)
        pair.tallies()
        pair.tallies()  # what has been counted is still there
        pair.end(commit)


@settings(deadline=None)
@given(st.lists(FEATURES, min_size=FEW, max_size=3 * FEW), st.lists(st.integers(0, 3 * FEW), max_size=4))
@example(
    [{"weight": each, "depth": -each, "guests": 0, "channel": "NA"} for each in [1e16, 1, 1, -1e16] * 9], []
)
def test_a_sum_is_that_of_the_values_one_after_the_other(rows: list[Features], cuts: list[int]) -> None:
    """However many come at once: by a few, by many, by the core."""
    asked = requests([(0, number, each) for number, each in enumerate(rows)])
    columns = Columns(each for each in DICTIONARY if each.personal_data != "left_out")
    core = columns.count_requests(scanned(asked))
    assert core == columns.count_requests(asked)
    weight = depth = 0.0
    for each in asked:
        weight += float(each.features["weight"])
        depth += 0.0 if each.features["depth"] == -1.5 else float(each.features["depth"])
    assert struct.pack("<2d", core["weight"].total, core["depth"].total) == struct.pack("<2d", weight, depth)
    pair = Pair()
    edges = sorted({0, len(asked), *(each % len(asked) for each in cuts)})
    for start, end in itertools.pairwise(edges):
        pair.count(0, asked[start:end])
    [written] = pair.tallies()
    assert CODEC.decode_tally(written).features == core


@given(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-70, 70).map(lambda n: math.ldexp(1, n))
)
def test_a_number_lies_in_the_same_bin_for_the_core(value: float) -> None:
    module = native.serving_module()
    plan = Dictionary(Number(name="x"))
    codec = Codec("shop", "binary", plan, b"a key of a test")
    for number in (value, -value, math.nextafter(value, 0), math.nextafter(value, math.inf)):
        if math.isinf(number):
            continue
        [row] = scanned([Request("a", 1, {"x": number})], codec)
        [(bins, *_)] = module.RequestCounts([(-math.inf, math.inf, None)], grid.name).count([row])
        assert bins == {grid.name(grid.edge(number)): 1}
        assert bins == {grid.name(grid.edges(np.array([number])).item()): 1}


def test_an_id_is_remembered_for_some_thousand_requests_and_no_longer_than_twice_as_many() -> None:
    pair = Pair()

    def batch(start: int, end: int) -> int:
        features: Features = {"weight": 1.0, "depth": 1.0, "guests": 1, "channel": "web"}
        pair.count(0, [Request(f"r{n}", 180_000, features) for n in range(start, end)])
        [written] = pair.tallies()
        pair.end(True)
        return CODEC.decode_tally(written).repeated

    assert batch(0, 1) == 0
    most = recent_ids.REMEMBERED
    for start in range(1, most, 499):
        assert batch(start, start + 499) == 0
    assert batch(0, 1) == 1
    assert batch(10 * most, 12 * most) == 0
    assert batch(0, 1) == 1
    assert batch(20 * most, 22 * most) == 0
    assert batch(30 * most, 32 * most) == 0
    assert batch(0, 1) == 0


def test_what_was_not_scanned_is_the_references() -> None:
    module = native.serving_module()
    features: Features = {"weight": 1.0, "depth": 1.0, "guests": 1, "channel": "web"}
    asked = [Request(f"r{n}", 180_000, features) for n in range(2)]
    rows: list[Any] = scanned(asked)
    new: set[str] = set()
    assert module.cells([rows[0], asked[1]], -1, 60_000, new, set(), set()) is None
    assert not new
    counts = module.RequestCounts([None], grid.name)
    assert counts.count([rows[0]]) is None  # of another dictionary
    assert counts.count([asked[0]]) is None
