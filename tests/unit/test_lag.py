"""Lag in seconds is the age of the oldest record that waits, as far as the partition's ends tell it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.lag import KEPT, EndTimes


def test_who_is_at_the_end_has_no_lag_however_old_the_newest_record_is() -> None:
    ends = EndTimes()
    assert ends.age_s("p", 7, 0.0) == 0
    for now_s in (0.0, 5.0, 3600.0):
        ends.note("p", now_s, 10)
        assert ends.age_s("p", 10, now_s) == 0
        assert ends.age_s("other", 0, now_s) == 0


def test_records_that_wait_through_a_standstill_grow_old_by_the_clock() -> None:
    ends = EndTimes()
    ends.note("p", 0.0, 0)
    for now_s in range(5, 600, 5):
        ends.note("p", float(now_s), 100)
        assert ends.age_s("p", 99, float(now_s)) == pytest.approx(now_s - 4.95)


def test_a_lag_from_before_the_first_asking_is_reported_as_long_as_was_asked() -> None:
    ends = EndTimes()
    ends.note("p", 100.0, 50)
    ends.note("p", 130.0, 60)
    assert ends.age_s("p", 10, 130.0) == 30


def test_a_topic_that_was_made_anew_begins_anew() -> None:
    ends = EndTimes()
    ends.note("p", 0.0, 1_000)
    ends.note("p", 5.0, 10)
    assert ends.age_s("p", 10, 6.0) == 0
    ends.note("p", 10.0, 20)
    assert ends.age_s("p", 15, 10.0) == 2.5


@given(st.lists(st.integers(0, 50), min_size=2, max_size=60), st.data())
def test_the_error_is_below_the_time_between_two_askings(grown: list[int], data: st.DataObject) -> None:
    ends, end, came = EndTimes(), 0, []
    for number, more in enumerate(grown):
        came += [number * 5.0] * more  # all at once, right at the asking: the worst there is
        end += more
        ends.note("p", number * 5.0, end)
    now_s = (len(grown) - 1) * 5.0
    if end > grown[0]:
        offset = data.draw(st.integers(grown[0], end - 1))
        assert abs(ends.age_s("p", offset, now_s) - (now_s - came[offset])) <= 5


def test_memory_is_bounded() -> None:
    ends = EndTimes()
    for number in range(3 * KEPT):
        ends.note("p", float(number), number)
    assert ends.age_s("p", 0, float(3 * KEPT)) == KEPT
