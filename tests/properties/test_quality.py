"""Counts add up: however the requests were cut into batches and shared out over workers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alert import Alert
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.records import Request
from schemas.tally import Tally
from streams.quality import grid
from streams.quality.columns import Columns
from streams.quality.edge import EdgeCounter
from streams.quality.monitor import QualityMonitor
from streams.quality.quality_rules import QualityRules
from streams.quality.tally import Counts, Total

DICTIONARY = Dictionary(
    Number(name="price", low=0, high=100, optional=True),
    Integer(name="guests", missing=-1, low=0),
    Category(name="channel", levels=("web", "app"), missing="NA"),
    Category(name="agent", optional=True),
    Boolean(name="member"),
    Category(name="guest", personal_data="tokenised", optional=True),
)
RULES = QualityRules(reference=40, window=20, least=5, block=4)
MINUTE = 60_000

features = st.fixed_dictionaries(
    {
        "guests": st.integers(-1, 9),
        "channel": st.sampled_from(["web", "app", "fax", "NA"]),
        "member": st.booleans(),
    },
    optional={
        "price": st.floats(-10, 200),
        "agent": st.text(max_size=3),
        "guest": st.sampled_from(["0f", "1e", "2d"]),
    },
)
streams = st.lists(st.tuples(st.integers(0, 40_000), features), min_size=1, max_size=150)


def requests(rows: list[tuple[int, dict[str, Any]]]) -> list[Request]:
    ts, made = 0, []
    for number, (gap, values) in enumerate(rows):
        ts += gap
        made.append(Request(f"r-{number}", ts, DICTIONARY.stored().canonical(values)))
    return made


def tallies(
    sent: list[Request], cuts: list[int], workers: int, aborted: frozenset[int] = frozenset()
) -> list[Tally]:
    """Count as workers do, each its own partition; a batch that aborts is read again."""
    counters = [EdgeCounter(DICTIONARY, f"w-{number}") for number in range(workers)]
    out: list[Tally] = []
    edges = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
    for number, (start, end) in enumerate(pairwise(edges)):
        for at, counter in enumerate(counters):
            mine = [each for index, each in enumerate(sent[start:end], start) if index % workers == at]
            found: list[Tally] = []
            for _ in range(1 + (number in aborted)):
                counter.drop()
                for each in mine:
                    counter.answered(at, each)
                found = list(counter.tallies())
            counter.commit()
            out += found
    return out


def summed(found: list[Tally]) -> dict[str, Any]:
    total = Total()
    for each in found:
        total.add(each)
    return plain(total)


def plain(total: Total) -> dict[str, Any]:
    state = total.state()
    for values in state["features"].values():
        values[3] = round(values[3], 6)  # sums of floats depend on their order
    return state


@given(
    streams, st.lists(st.integers(0, 200), max_size=8), st.integers(1, 3), st.frozensets(st.integers(0, 9))
)
def test_any_cut_and_any_redelivery_gives_the_same_counts(
    rows: list[Any], cuts: list[int], workers: int, aborted: frozenset[int]
) -> None:
    sent = requests(rows)
    whole = summed(tallies(sent, [], workers))
    assert summed(tallies(sent, cuts, workers, aborted)) == whole
    assert whole["requests"][0] == len(sent)


@given(streams, st.lists(st.integers(0, 200), max_size=8), st.integers(1, 3))
def test_any_split_over_workers_gives_the_same_counts(rows: list[Any], cuts: list[int], workers: int) -> None:
    sent = requests(rows)
    assert summed(tallies(sent, cuts, workers)) == summed(tallies(sent, [], 1))


@given(streams, streams)
def test_what_was_added_can_be_taken_away(first: list[Any], second: list[Any]) -> None:
    total, one, two = Total(), tallies(requests(first), [], 1), tallies(requests(second), [], 1)
    for each in (*one, *two):
        total.add(each)
    for each in two:
        total.add(each, -1)
    kept = plain(total)
    only = summed(one)
    kept["features"] = {name: each for name, each in kept["features"].items() if name in only["features"]}
    assert kept == only


@settings(deadline=None)
@given(streams, st.lists(st.integers(0, 200), max_size=8), st.integers(0, 200))
def test_a_restart_changes_nothing(rows: list[Any], cuts: list[int], broken_at: int) -> None:
    found = tallies(requests(rows), cuts, 1)
    whole, first = QualityMonitor("t", DICTIONARY, RULES), QualityMonitor("t", DICTIONARY, RULES)
    alerts: list[Alert] = []
    again: list[Alert] = []
    for offset, tally in enumerate(found):
        whole.apply(offset, tally)
        alerts += whole.alerts()
    for offset, tally in enumerate(found):
        if offset == broken_at % len(found):
            second = QualityMonitor("t", DICTIONARY, RULES)
            second.restore(first.snapshot())
            first = second
            first.apply(offset - 1, found[offset - 1])  # delivered again
        first.apply(offset, tally)
        again += first.alerts()
    assert again == alerts
    assert first.snapshot().keys() == whole.snapshot().keys()
    assert plain(first.sum) == plain(whole.sum)
    assert first.judged_at == whole.judged_at


@settings(deadline=None)
@given(streams, st.lists(st.integers(0, 200), max_size=8), st.integers(1, 3))
def test_windows_and_alerts_do_not_depend_on_cuts_and_workers(
    rows: list[Any], cuts: list[int], workers: int
) -> None:
    sent = requests(rows)
    reported = []
    for found in (tallies(sent, [], 1), tallies(sent, cuts, workers)):
        monitor = QualityMonitor("t", DICTIONARY, RULES)
        for offset, tally in enumerate(sorted(found, key=lambda each: each.ts)):
            monitor.apply(offset, tally)
        monitor.flush()
        reported.append(
            [(each.family, each.state, each.ts, each.alarms, each.feature) for each in monitor.alerts()]
        )
    assert reported[0] == reported[1]


@given(st.lists(features, min_size=1, max_size=60), st.floats(-1e15, 1e15))
def test_a_few_values_are_counted_as_many_are(rows: list[dict[str, Any]], price: float) -> None:
    columns = Columns(DICTIONARY)
    for extra in ({}, {"price": price}):  # with and without a missing one
        many = [extra | row for row in rows * 6]
        at_once, one_by_one = columns.count(many), {each.name: Counts() for each in DICTIONARY}
        for row in many:
            for name, found in columns.count([row]).items():
                one_by_one[name].add(found)
        assert [*at_once] == [*one_by_one]
        for name, counts in at_once.items():
            single = one_by_one[name]
            assert counts.bins == single.bins
            assert (counts.missing, counts.outside) == (single.missing, single.outside)
            assert math.isclose(counts.total, single.total, rel_tol=1e-9, abs_tol=1e-3)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_lies_in_its_bin(value: float) -> None:
    edge = grid.edge(value)
    assert edge == grid.edges(np.array([value]))[0]
    if grid.SMALLEST <= abs(value) < grid.LARGEST:
        assert math.copysign(1, edge) == math.copysign(1, value)
        assert abs(edge) <= abs(value) < abs(edge) * 1.125 + 1e-300
