"""Memory of the gate: requests wait for their horizon, which may be years."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest

from schemas.records import Entry, Outcome, Position, Prediction, Score
from streams import Gate, OnArrival
from streams.gate.fold import GateFold
from tests.gate_task import DAY, make_task

PAIR_BYTES = 700
"""Bound of one held request with two scores."""


def entries(n: int, gap_ms: int) -> Iterator[Entry]:
    """Make resolutions an hour after their requests; the challenger is better."""
    draw = random.Random(1)
    for number in range(n):
        ts, label = number * gap_ms, draw.random() < 0.5
        scores = (
            Score("a", 1, number, 0.3 + draw.random() / 100),
            Score("b", 1, number, 0.5 + draw.random() / 100),
        )
        request_id = f"request-{number:012d}"
        prediction = Prediction(request_id, ts, {"a": 1.0}, scores, propensity=1.0, log_offset=number)
        outcome = Outcome(request_id, ts + 3_600_000, label)
        progress = {"predictions": number + 1, "stream_time": ts}
        yield Entry(
            f"e{number}",
            "labelled",
            ts + 3_600_000,
            Position("outcomes", 0, number),
            prediction=prediction,
            outcome=outcome,
            partition=0,
            progress=progress,
        )


def test_a_cohort_counts_when_all_partitions_are_past_it() -> None:
    gate = GateFold(make_task(Gate(), horizon_days=5, policy=OnArrival()))
    gate.promotion.incumbent = "a"
    for offset, entry in enumerate(entries(2000, DAY // 50)):
        stalled = offset % 2 and entry.ts > 10 * DAY
        gate.apply(offset, replace(entry, partition=offset % 2, progress=None if stalled else entry.progress))
    assert gate.mark < 11 * DAY
    assert gate.promotion.tests["b"].n == pytest.approx(50 * 5, abs=60)
    gate.apply(2000, Entry("t", "time", 40 * DAY, partition=1, progress={"stream_time": 40 * DAY}))
    assert gate.promotion.tests["b"].n == pytest.approx(50 * 35, abs=60)


def folded(gate: Gate, n: int, gap_ms: int) -> tuple[GateFold, int, int]:
    """Return the fold, the bytes that it holds, and the largest number of requests that it held."""
    fold, most = GateFold(make_task(gate, horizon_days=800, policy=OnArrival())), 0
    fold.promotion.incumbent = "a"
    tracemalloc.start()
    for offset, entry in enumerate(entries(n, gap_ms)):
        fold.apply(offset, entry)
        most = max(most, fold.held.count)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return fold, held, most


def test_a_held_request_takes_a_bounded_number_of_bytes() -> None:
    fold, held, most = folded(Gate(), 15_000, DAY * 790 // 15_000)
    assert most == fold.held.count == 15_000
    assert held / most < PAIR_BYTES


def test_beyond_the_bound_a_drawn_part_of_whole_cohorts_is_tested() -> None:
    gate = Gate(held=2_000)
    fold, held, most = folded(gate, 24_000, DAY * 1600 // 24_000)
    assert most <= 2_001
    assert held < 2 * 2_000 * PAIR_BYTES
    better = next(each for each in fold.decisions() if each.verdict == "better")
    assert better.evidence.sampled == 1 / 8
    assert 0 < better.evidence.low < 0.04 < better.evidence.high
