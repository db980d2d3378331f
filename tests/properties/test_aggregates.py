"""Aggregates equal a plain computation, whatever the order, the batches, the failures and the restarts."""

from __future__ import annotations

import math
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Number
from schemas.records import FeatureValue, Request
from schemas.state import POSITION_KEY, AggregatesPosition, CountedRequest
from streams.aggregates.aggregate import Aggregate
from streams.aggregates.aggregates import AggregateRules, Aggregates
from tests.aggregates_plain import plain_aggregates

MS = timedelta(milliseconds=1)
FEATURES = Dictionary(Category(name="who"), Number(name="value"), Boolean(name="gift"), Category(name="item"))
CODEC = Codec("t", "binary", FEATURES)
AGGREGATES = (
    Aggregate("n_short", by="who", window=5 * MS, how="count"),
    Aggregate("n_long", by="who", window=20 * MS, how="count"),
    Aggregate("n_values", by="who", window=20 * MS, how="count", value="value"),
    Aggregate("total", by="who", window=20 * MS, how="sum", value="value"),
    Aggregate("mean", by="who", window=7 * MS, how="mean", value="value"),
    Aggregate("gifts", by="who", window=7 * MS, how="sum", value="gift"),
    Aggregate("items", by="who", window=20 * MS, how="distinct", value="item"),
    Aggregate("item", by="who", window=7 * MS, how="last", value="item"),
)
RULES = AggregateRules(AGGREGATES, lateness_ms=10)
VALUES = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3, -0.3, 1e16, 1.0, 5e-324]))


@st.composite
def streams(draw: st.DrawFn) -> list[Request]:
    """Draw a partition: times that jump back and forth and are often equal, ids that come again."""
    requests, now = [], 100
    for number in range(draw(st.integers(1, 40))):
        now = max(0, now + draw(st.integers(-6, 9)))
        late = draw(st.sampled_from([0, 0, 0, 12, 40]))
        features: dict[str, FeatureValue | None] = {
            "who": draw(st.sampled_from(["ann", "ann", "bob", None])),
            "value": draw(VALUES),
            "gift": draw(st.sampled_from([True, False, None])),
            "item": draw(st.sampled_from(["cup", "lamp", None])),
        }
        known = {name: value for name, value in features.items() if value is not None}
        again = draw(st.booleans()) and number and draw(st.booleans())
        name = f"r-{draw(st.integers(0, number - 1)) if again else number}"
        requests.append(Request(name, max(0, now - late), known))
    return requests


class Changelog:
    """The changelog as compaction leaves it."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    def write(self, state: Aggregates) -> None:
        for name, counted in state.changes():
            if counted is None:
                del self.records[name.encode()]  # it must be there: no deletion is written for nothing
            else:
                self.records[name.encode()] = CODEC.encode(counted)
        self.records[POSITION_KEY] = CODEC.encode(state.position())

    def restored(self) -> Aggregates:
        state = Aggregates(RULES)
        for key, value in self.records.items():
            record = CODEC.decode_aggregates(value)
            if isinstance(record, AggregatesPosition):
                assert key == POSITION_KEY
                state.go_on(record)
            else:
                state.load(key.decode(), record)
        return state


STEPS = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["commit", "abort", "restart"])), max_size=60)


@given(streams(), STEPS)
def test_aggregates_equal_a_plain_computation(requests: list[Request], steps: list[tuple[int, str]]) -> None:
    state, changelog = Aggregates(RULES), Changelog()
    found: list[dict[str, FeatureValue | None]] = []
    for count, ending in [*steps, *[(len(requests), "commit")]]:
        start = len(found)
        batch = [state.take(each, offset) for offset, each in enumerate(requests[start:][:count], start)]
        if ending == "commit":
            changelog.write(state)
            state.commit()
            found += batch
        elif ending == "abort":
            state.rollback()
        else:  # the worker dies before its transaction commits
            state = changelog.restored()
        assert state.next_offset == len(found)
    expected = list(plain_aggregates(requests, AGGREGATES, RULES.lateness_ms))
    assert found == expected
    assert [list(map(type, each.values())) for each in found] == [
        [type(value) for value in each.values()] for each in expected
    ]
    kept = list(map(CODEC.decode_aggregates, changelog.records.values()))
    counted = [each for each in kept if isinstance(each, CountedRequest)]
    assert len(counted) == len(state) == len(changelog.restored())
    assert all(each.ts >= state.stream_time - RULES.kept_ms for each in counted)
    assert state.entities == len({each.entity for each in counted})


@given(st.permutations([0.1, 0.2, 0.3, 1e16, -1e16, 5e-324]))
def test_a_sum_does_not_depend_on_the_order(values: list[float]) -> None:
    state = Aggregates(RULES)
    for number, value in enumerate(values):
        state.take(Request(f"r-{number}", 10, {"who": "ann", "value": value}), number)
    found = state.take(Request("r", 11, {"who": "ann"}), len(values))
    assert found["total"] == math.fsum([0.1, 0.2, 0.3, 5e-324])
