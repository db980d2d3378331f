"""A rolling window that is given labels many at once is what it is when it takes them one by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.metrics.regression import RegressionTally
from streams.metrics.slices import Rolling


class Given:
    """Labels that are made when they are asked for."""

    def __init__(self, rows: list[tuple[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, start: int) -> Iterable[tuple[str, Any]]:
        return self._rows[start:]


IDS = st.sampled_from("abcdefgh")
STEPS = st.one_of(
    st.tuples(st.just("give"), st.lists(IDS, min_size=1, max_size=12)),
    st.tuples(st.sampled_from(("add", "take", "replace", "look", "restore")), IDS.map(lambda each: [each])),
)


@given(size=st.integers(1, 6), steps=st.lists(STEPS, max_size=20))
def test_labels_that_are_given_at_once_are_those_added_one_by_one(
    size: int, steps: list[tuple[str, list[str]]]
) -> None:
    one, two = Rolling(RegressionTally, size), Rolling(RegressionTally, size)
    for number, (what, ids) in enumerate(steps):
        rows = [(each, (number, place, 0, 0, 0, 0)) for place, each in enumerate(ids)]
        if what == "give":
            for each in rows:
                one.add(*each)
            two.give(Given(rows))
        elif what == "look":
            assert one.snapshot() == two.snapshot()
            assert one.tally.snapshot() == two.tally.snapshot()
        elif what == "restore":
            two.restore(two.snapshot())
        else:
            for rolling in (one, two):
                getattr(rolling, what)(*(ids if what == "take" else rows[0]))
    assert one.snapshot() == two.snapshot()
