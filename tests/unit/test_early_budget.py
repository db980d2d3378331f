"""Outcomes that come before their predictions take no more memory than the task allows."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from schemas.records import Outcome, Position
from schemas.state import EarlyOutcome, JoinRecord
from schemas.topics import MAX_RECORD_BYTES
from streams.join.join import MAX_EARLY
from streams.join.join_rules import JoinRules
from streams.join.pending import early_size
from tests.joining import CODEC, RULES, Bench, DiskBench
from tests.unit.http_worker import make_task

AT = Position("outcomes", 3, 0)
ONE = early_size(EarlyOutcome(Outcome("id-0", 5, True), AT, 5))
RULES_FOR_THREE = replace(RULES, early_budget_bytes=3 * ONE)


@pytest.fixture(params=["memory", "disk"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(RULES_FOR_THREE) if request.param == "memory" else DiskBench(tmp_path / "3", RULES_FOR_THREE)
    yield made
    made.store.close()


def test_the_newcomer_beyond_the_budget_is_rejected_and_counted_and_the_others_stay(bench: Bench) -> None:
    for number in range(5):
        bench.report(f"id-{number}", 5)
    bench.commit()
    assert bench.rejections == ["too_many_early outcomes@3", "too_many_early outcomes@4"]
    assert bench.counters == {"early": 3, "outcomes": 5, "too_many_early": 2}
    assert sorted(bench.pending()) == ["id-0", "id-1", "id-2"]
    assert f"{3 * ONE:,} bytes" in bench.rejected[0].message


@pytest.mark.parametrize(
    "freed",
    [lambda bench: bench.ask("id-1", 4), lambda bench: bench.idle(66)],
    ids=["joined", "expired"],
)
def test_room_is_given_back_when_the_prediction_comes_or_never_came(
    bench: Bench, freed: Callable[[Bench], None]
) -> None:
    for number in range(3):
        bench.report(f"id-{number}", 5)
    bench.commit()
    freed(bench)
    bench.report("id-9", 60, arrived=60)
    bench.commit()
    assert "too_many_early" not in bench.counters
    assert bench.counters["early"] == 4


def test_a_restart_and_an_abort_leave_the_budget_as_it_was(bench: Bench) -> None:
    bench.report("id-0", 5)
    bench.report("id-1", 5)
    bench.commit()
    bench.report("id-2", 5)
    bench.rollback()
    bench.restart()
    for number in (2, 3):
        bench.report(f"id-{number}", 5)
    bench.commit()
    assert bench.rejections == ["too_many_early outcomes@3"]


def test_too_many_outcomes_of_one_request_have_the_same_reason_and_fit_into_a_record() -> None:
    bench = Bench()
    longest = Outcome("🦆" * 200, 5, None, reason="🦆" * 1000, reporter="🦆" * 200)
    for offset in range(MAX_EARLY + 1):
        bench.join.outcome(longest, Position("outcomes", 3, offset), 5)
    bench.commit()
    assert bench.counters["too_many_early"] == 1
    [state] = bench.pending().values()
    assert isinstance(state, JoinRecord)
    assert len(state.early) == MAX_EARLY
    assert len(CODEC.encode(state)) < MAX_RECORD_BYTES


def test_the_budget_is_memory_whatever_the_outcomes_look_like() -> None:
    """300 outcomes with reasons of 900 kB took 700 MB; now nothing takes more than its bytes in the budget."""
    budget = 4 << 20
    rules = replace(RULES, early_horizon_ms=10**9, early_budget_bytes=budget)
    for reason in (None, "x" * 1000, "é" * 1000, "x" * 999 + "🦆"):
        bench = Bench(rules)
        tracemalloc.start()
        try:
            offset = 0
            while "too_many_early" not in bench.join.counters:
                reported = Outcome(
                    f"request-{offset}", 5, None if reason else True, reason=reason, reporter="a service"
                )
                read = CODEC.decode_outcome(CODEC.encode(reported))
                assert isinstance(read, Outcome)
                bench.join.outcome(read, Position("".join(["task", ".outcomes"]), 3, offset), 5)
                offset += 1
                if offset % 100 == 0:
                    bench.commit()
            bench.commit()
            taken, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert taken < 1.15 * budget + (256 << 10), reason and reason[-3:]
        assert offset > 800


def test_the_task_sets_the_budget() -> None:
    task = make_task("stay")
    assert JoinRules.of(task).early_budget_bytes == 128 << 20
    assert JoinRules.of(replace(task, early_budget_bytes=5)).early_budget_bytes == 5
    for wrong in (-1, 1.5, True, timedelta(1)):
        with pytest.raises(Exception, match="early_budget_bytes"):
            replace(task, early_budget_bytes=wrong)  # type: ignore[arg-type]  # that is what is tried
