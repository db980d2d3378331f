"""The table of docs/concepts/join.md, row by row, with the conditions at which one row turns into another.

The times of `RULES`, unless a case says otherwise: horizon 100, revision horizon 1000, early horizon 50, grace
10, max_ahead 300, no tolerance.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from schemas.records import Position
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.overlay import Overlay
from streams.join.pending import EARLY_BYTES, MemoryStore
from tests.joining import RULES, Bench, Step, ask, idle, played, punctuate, report, unpack


@dataclass(frozen=True)
class Case:
    name: str
    steps: list[Step]
    facts: list[str] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    counted: dict[str, int] = field(default_factory=dict)
    """All counters beside `predictions` and `outcomes`."""
    waiting: int = 0
    rules: JoinRules = RULES


TOLERANT = replace(RULES, tolerance_ms=5)
FORGETFUL = replace(RULES, revision_horizon_ms=0)

CASES = [
    # ---------------------------------------------------------------- a prediction
    Case("a prediction waits", [ask("a", 0)], waiting=1),
    Case(
        "a second prediction of an id that waits is counted, and the first stands",
        [ask("a", 0), ask("a", 5), report("a", 101)],
        ["expired a@100", "late a@101 True by event_time"],
        counted={"duplicate_prediction": 1, "expired": 1, "late": 1},
    ),
    Case(
        "a second prediction of an id that is resolved is counted",
        [ask("a", 0), report("a", 3), ask("a", 5)],
        ["labelled a@3 True"],
        counted={"duplicate_prediction": 1, "labelled": 1},
    ),
    Case(
        "a prediction older than its deadline and revision horizon is stale",
        [ask("b", 2000), ask("a", 889)],
        rejected=["stale predictions@1"],
        counted={"stale": 1},
        waiting=1,
    ),
    Case(
        "one at just that age is taken, and expires at once",
        [ask("b", 2000), ask("a", 890)],
        ["expired a@990"],
        counted={"expired": 1},
        waiting=1,
    ),
    Case(
        "a prediction from within max_ahead of its arrival is taken",
        [ask("a", 1300, arrived=1000)],
        waiting=1,
    ),
    Case(
        "one from beyond it is impossible, and moves no time",
        [ask("a", 0), ask("b", 1301, arrived=1000), report("a", 100)],
        ["labelled a@100 True"],
        ["impossible_time predictions@1"],
        {"impossible_time": 1, "labelled": 1},
    ),
    # ---------------------------------------------------------------- an outcome in time
    Case(
        "an outcome in time labels",
        [ask("a", 0), report("a", 40, False)],
        ["labelled a@40 False"],
        counted={"labelled": 1},
    ),
    Case(
        "an outcome at its request's own time is in time",
        [ask("a", 7), report("a", 7)],
        ["labelled a@7 True"],
        counted={"labelled": 1},
    ),
    Case(
        "an outcome exactly at the deadline is in time",
        [ask("a", 0), report("a", 100)],
        ["labelled a@100 True"],
        counted={"labelled": 1},
    ),
    Case(
        "it is so still at the last moment of grace",
        [ask("a", 0), ask("b", 110), report("a", 100)],
        ["labelled a@100 True"],
        counted={"labelled": 1},
        waiting=1,
    ),
    Case(
        "an outcome before its request is rejected, and the request still waits",
        [ask("a", 10), report("a", 9)],
        rejected=["outcome_before_request outcomes@0"],
        counted={"outcome_before_request": 1},
        waiting=1,
    ),
    Case(
        "within the tolerance it is taken",
        [ask("a", 10), report("a", 5)],
        ["labelled a@5 True"],
        counted={"labelled": 1},
        rules=TOLERANT,
    ),
    Case(
        "beyond the tolerance it is rejected",
        [ask("a", 10), report("a", 4)],
        rejected=["outcome_before_request outcomes@0"],
        counted={"outcome_before_request": 1},
        waiting=1,
        rules=TOLERANT,
    ),
    Case(
        "before its request it is rejected of a resolved id too",
        [ask("a", 10), report("a", 11), report("a", 9, False, 7)],
        ["labelled a@11 True"],
        ["outcome_before_request outcomes@1"],
        {"labelled": 1, "outcome_before_request": 1},
    ),
    Case(
        "an outcome from the future of its arrival is impossible",
        [ask("a", 0), report("a", 301, arrived=0), report("a", 300, arrived=0)],
        ["expired a@100", "late a@300 True by event_time"],
        ["impossible_time outcomes@0"],
        {"expired": 1, "impossible_time": 1, "late": 1},
    ),
    # ---------------------------------------------------------------- silence
    Case(
        "nothing expires until stream time is beyond deadline and grace",
        [ask("a", 0), ask("b", 110)],
        waiting=2,
    ),
    Case(
        "it expires when stream time is beyond them",
        [ask("a", 0), ask("b", 111)],
        ["expired a@100"],
        counted={"expired": 1},
        waiting=1,
    ),
    Case(
        "what falls due together expires in the order of time, then of position",
        [ask("c", 2), ask("b", 1), ask("a", 1), ask("d", 500)],
        ["expired b@101", "expired a@101", "expired c@102"],
        counted={"expired": 3},
        waiting=1,
    ),
    Case(
        "outcomes move no time",
        [ask("a", 0), report("x", 100_000), report("a", 100)],
        ["labelled a@100 True"],
        counted={"early": 1, "labelled": 1},
    ),
    Case(
        "time never runs backwards",
        [ask("b", 500), ask("c", 450), ask("a", 420), report("a", 421)],
        ["labelled a@421 True"],
        counted={"labelled": 1},
        waiting=2,
    ),
    # ---------------------------------------------------------------- late
    Case(
        "an outcome past the deadline expires its request first",
        [ask("a", 0), report("a", 101)],
        ["expired a@100", "late a@101 True by event_time"],
        counted={"expired": 1, "late": 1},
    ),
    Case(
        "an outcome past the deadline of an expired request is late by its event time",
        [ask("a", 0), ask("b", 111), report("a", 101, False)],
        ["expired a@100", "late a@101 False by event_time"],
        counted={"expired": 1, "late": 1},
        waiting=1,
    ),
    Case(
        "an outcome in time that is read after expiry is late by arrival only",
        [ask("a", 0), ask("b", 111), report("a", 100)],
        ["expired a@100", "late a@100 True by arrival"],
        counted={"expired": 1, "late": 1, "late_by_arrival": 1},
        waiting=1,
    ),
    Case(
        "an outcome at the end of the revision horizon is still late",
        [ask("a", 0), report("a", 1100)],
        ["expired a@100", "late a@1100 True by event_time"],
        counted={"expired": 1, "late": 1},
    ),
    Case(
        "one beyond it is rejected, and its request has expired",
        [ask("a", 0), report("a", 1101)],
        ["expired a@100"],
        ["unknown_or_forgotten outcomes@0"],
        {"expired": 1, "unknown_or_forgotten": 1},
    ),
    Case(
        "a late outcome can be revised, repeated and told too late",
        [
            *(ask("a", 0), report("a", 101, True, 1), report("a", 102, False, 2)),
            *(report("a", 103, False, 2), report("a", 104, True, 1)),
        ],
        ["expired a@100", "late a@101 True by event_time", "revised a@102 False by event_time"],
        counted={"duplicate_outcome": 1, "expired": 1, "late": 1, "revised": 1, "stale_revision": 1},
    ),
    # ---------------------------------------------------------------- again
    Case(
        "the same value and revision again is a duplicate",
        [ask("a", 0), report("a", 1, True, 4), report("a", 9, True, 4)],
        ["labelled a@1 True"],
        counted={"duplicate_outcome": 1, "labelled": 1},
    ),
    Case(
        "the same value again without a revision is a duplicate whatever its time",
        [ask("a", 0), report("a", 5), report("a", 5), report("a", 3), report("a", 50)],
        ["labelled a@5 True"],
        counted={"duplicate_outcome": 3, "labelled": 1},
    ),
    Case(
        "another value with a lower or equal revision is stale",
        [ask("a", 0), report("a", 1, True, 4), report("a", 9, False, 3), report("a", 9, False, 4)],
        ["labelled a@1 True"],
        counted={"labelled": 1, "stale_revision": 2},
    ),
    Case(
        "the same value with a lower revision is stale",
        [ask("a", 0), report("a", 1, True, 4), report("a", 9, True, 3)],
        ["labelled a@1 True"],
        counted={"labelled": 1, "stale_revision": 1},
    ),
    Case(
        "another value without a revision and no later than what stands is stale",
        [ask("a", 0), report("a", 5), report("a", 5, False), report("a", 4, False)],
        ["labelled a@5 True"],
        counted={"labelled": 1, "stale_revision": 2},
    ),
    Case(
        "another value with a higher revision revises, whatever its time",
        [ask("a", 0), report("a", 5, True, 1), report("a", 4, False, 2)],
        ["labelled a@5 True", "revised a@4 False"],
        counted={"labelled": 1, "revised": 1},
    ),
    Case(
        "the same value with a higher revision revises too",
        [ask("a", 0), report("a", 5, True, 1), report("a", 6, True, 2)],
        ["labelled a@5 True", "revised a@6 True"],
        counted={"labelled": 1, "revised": 1},
    ),
    Case(
        "another value at a later time revises where no revision is sent",
        [ask("a", 0), report("a", 5), report("a", 6, False)],
        ["labelled a@5 True", "revised a@6 False"],
        counted={"labelled": 1, "revised": 1},
    ),
    Case(
        "a first revision number revises what came without one",
        [ask("a", 0), report("a", 5), report("a", 3, False, 0)],
        ["labelled a@5 True", "revised a@3 False"],
        counted={"labelled": 1, "revised": 1},
    ),
    Case(
        "an outcome without a number revises a numbered one by its time",
        [ask("a", 0), report("a", 5, True, 9), report("a", 5, False), report("a", 6, False)],
        ["labelled a@5 True", "revised a@6 False"],
        counted={"labelled": 1, "revised": 1, "stale_revision": 1},
    ),
    Case(
        "a revision may come until the end of the revision horizon",
        [ask("a", 0), report("a", 5), report("a", 1100, False)],
        ["labelled a@5 True", "revised a@1100 False"],
        counted={"labelled": 1, "revised": 1},
    ),
    Case(
        "and not beyond it",
        [ask("a", 0), report("a", 5), report("a", 1101, False)],
        ["labelled a@5 True"],
        ["unknown_or_forgotten outcomes@1"],
        {"labelled": 1, "unknown_or_forgotten": 1},
    ),
    Case(
        "several revisions correct one another",
        [ask("a", 0), report("a", 5), report("a", 6, False), report("a", 7), report("a", 6, False)],
        ["labelled a@5 True", "revised a@6 False", "revised a@7 True"],
        counted={"labelled": 1, "revised": 2, "stale_revision": 1},
    ),
    Case(
        "a number is not the truth value that equals it",
        [ask("a", 0), report("a", 5, True), report("a", 6, 1.0)],
        ["labelled a@5 True", "revised a@6 1.0"],
        counted={"labelled": 1, "revised": 1},
    ),
    # ---------------------------------------------------------------- unavailable
    Case(
        "a null value resolves as unavailable",
        [ask("a", 0), report("a", 5, None)],
        ["unavailable a@5 None"],
        counted={"unavailable": 1},
    ),
    Case(
        "a null value past the deadline expires its request first",
        [ask("a", 0), report("a", 101, None)],
        ["expired a@100", "unavailable a@101 None by event_time"],
        counted={"expired": 1, "unavailable": 1},
    ),
    Case(
        "a null value of an expired request is unavailable",
        [ask("a", 0), ask("b", 111), report("a", 50, None)],
        ["expired a@100", "unavailable a@50 None by arrival"],
        counted={"expired": 1, "unavailable": 1},
        waiting=1,
    ),
    Case(
        "a null value again is a duplicate",
        [ask("a", 0), report("a", 5, None), report("a", 6, None)],
        ["unavailable a@5 None"],
        counted={"duplicate_outcome": 1, "unavailable": 1},
    ),
    Case(
        "a null value revises one that stands",
        [ask("a", 0), report("a", 5), report("a", 6, None)],
        ["labelled a@5 True", "unavailable a@6 None"],
        counted={"labelled": 1, "unavailable": 1},
    ),
    Case(
        "an older null value does not",
        [ask("a", 0), report("a", 5), report("a", 5, None)],
        ["labelled a@5 True"],
        counted={"labelled": 1, "stale_revision": 1},
    ),
    Case(
        "a value after null revises it",
        [ask("a", 0), report("a", 5, None), report("a", 6, False)],
        ["unavailable a@5 None", "revised a@6 False"],
        counted={"revised": 1, "unavailable": 1},
    ),
    Case(
        "a value before null does not",
        [ask("a", 0), report("a", 5, None, 3), report("a", 6, False, 2)],
        ["unavailable a@5 None"],
        counted={"stale_revision": 1, "unavailable": 1},
    ),
    # ---------------------------------------------------------------- early
    Case("an outcome without a prediction is kept", [report("a", 5)], counted={"early": 1}),
    Case(
        "and taken when its prediction comes",
        [report("a", 5), ask("a", 5)],
        ["labelled a@5 True"],
        counted={"early": 1, "labelled": 1},
    ),
    Case(
        "several are taken in offset order, by the same rows",
        [report("a", 20, False, 2), report("a", 30, True, 1), report("a", 25, True, 3), ask("a", 10)],
        ["labelled a@20 False", "revised a@25 True"],
        counted={"early": 3, "labelled": 1, "revised": 1, "stale_revision": 1},
    ),
    Case(
        "an early null value and its revision",
        [report("a", 20, None), report("a", 30), report("a", 30), ask("a", 10)],
        ["unavailable a@20 None", "revised a@30 True"],
        counted={"duplicate_outcome": 1, "early": 3, "revised": 1, "unavailable": 1},
    ),
    Case(
        "an early outcome may lie past the deadline",
        [report("a", 260), report("a", 240), ask("a", 150)],
        ["expired a@250", "late a@260 True by event_time"],
        counted={"duplicate_outcome": 1, "early": 2, "expired": 1, "late": 1},
    ),
    Case(
        "an early outcome may lie before its request",
        [report("a", 5), ask("a", 10)],
        rejected=["outcome_before_request outcomes@0"],
        counted={"early": 1, "outcome_before_request": 1},
        waiting=1,
    ),
    Case(
        "an early outcome may lie beyond the revision horizon",
        [report("a", 1200), ask("a", 10)],
        ["expired a@110"],
        ["unknown_or_forgotten outcomes@0"],
        {"early": 1, "expired": 1, "unknown_or_forgotten": 1},
    ),
    Case(
        "it is an orphan when stream time is beyond its early horizon and grace, and not before",
        [report("x", 0), ask("a", 60), report("x", 1)],
        counted={"early": 2},
        waiting=1,
    ),
    Case(
        "then it is rejected",
        [report("x", 0), ask("a", 61)],
        rejected=["unknown_or_forgotten outcomes@0"],
        counted={"early": 1, "unknown_or_forgotten": 1},
        waiting=1,
    ),
    Case(
        "the time of one early outcome does not end that of another",
        [report("x", 0), report("x", 100), report("x", 20), ask("x", 71)],
        ["labelled x@100 True"],
        ["unknown_or_forgotten outcomes@0", "outcome_before_request outcomes@2"],
        {"early": 3, "labelled": 1, "outcome_before_request": 1, "unknown_or_forgotten": 1},
    ),
    Case(
        "nor does it prolong it",
        [report("x", 100), report("x", 0), ask("a", 61), ask("b", 161)],
        rejected=["unknown_or_forgotten outcomes@1", "unknown_or_forgotten outcomes@0"],
        counted={"early": 2, "unknown_or_forgotten": 2},
        waiting=2,
    ),
    Case(
        "its prediction may itself bring the time at which it ends",
        [report("a", 0), ask("a", 61)],
        rejected=["unknown_or_forgotten outcomes@0"],
        counted={"early": 1, "unknown_or_forgotten": 1},
        waiting=1,
    ),
    Case(
        "an outcome that is too old to wait is rejected at once",
        [ask("b", 200), report("x", 139), report("x", 140)],
        rejected=["unknown_or_forgotten outcomes@0"],
        counted={"early": 1, "unknown_or_forgotten": 1},
        waiting=1,
    ),
    Case(
        "an early outcome waits for the first prediction that is not rejected",
        [ask("b", 2000), report("a", 1990), ask("a", 500), ask("a", 1980)],
        ["labelled a@1990 True"],
        ["stale predictions@1"],
        {"early": 1, "labelled": 1, "stale": 1},
        waiting=1,
    ),
    # ---------------------------------------------------------------- forgetting
    Case(
        "a resolved request is remembered until its revision horizon and grace",
        [ask("a", 0), report("a", 5), ask("b", 1110), report("a", 6, False)],
        ["labelled a@5 True", "revised a@6 False"],
        counted={"labelled": 1, "revised": 1},
        waiting=1,
    ),
    Case(
        "then it is forgotten, and its outcomes are orphans",
        [ask("a", 0), report("a", 5), ask("b", 1111), report("a", 6, False), report("a", 1100, False)],
        ["labelled a@5 True"],
        ["unknown_or_forgotten outcomes@1"],
        {"early": 1, "forgotten": 1, "labelled": 1, "unknown_or_forgotten": 1},
        waiting=1,
    ),
    Case(
        "a revision does not prolong it",
        [ask("a", 0), report("a", 5), report("a", 900, False), ask("b", 1111)],
        ["labelled a@5 True", "revised a@900 False"],
        counted={"forgotten": 1, "labelled": 1, "revised": 1},
        waiting=1,
    ),
    Case(
        "one jump of time may expire and forget",
        [ask("a", 0), ask("b", 5000)],
        ["expired a@100"],
        counted={"expired": 1, "forgotten": 1},
        waiting=1,
    ),
    Case(
        "a forgotten id may be used anew",
        [ask("a", 0), report("a", 5), ask("a", 2000), report("a", 2001, False)],
        ["labelled a@5 True", "labelled a@2001 False"],
        counted={"forgotten": 1, "labelled": 2},
    ),
    Case(
        "without a revision horizon an expired request is forgotten at once",
        [ask("a", 0), ask("b", 111), report("a", 100)],
        ["expired a@100"],
        counted={"early": 1, "expired": 1, "forgotten": 1},
        waiting=1,
        rules=FORGETFUL,
    ),
    Case(
        "and a labelled one at its deadline",
        [ask("a", 0), report("a", 5), ask("b", 110), report("a", 6, False), ask("c", 111)],
        ["labelled a@5 True", "revised a@6 False"],
        counted={"forgotten": 1, "labelled": 1, "revised": 1},
        waiting=2,
        rules=FORGETFUL,
    ),
    # ---------------------------------------------------------------- silence of the whole partition
    Case(
        "an idle advance expires as a prediction does, and says so in the log",
        [ask("a", 0), idle(110), idle(111)],
        ["time @110", "expired a@100", "time @111"],
        counted={"expired": 1},
    ),
    Case(
        "an idle advance to the past does nothing",
        [ask("a", 0), idle(110), idle(110), idle(50)],
        ["time @110"],
        waiting=1,
    ),
    Case(
        "a prediction older than an idle advance is taken",
        [ask("a", 0), idle(500), ask("b", 450), report("b", 460), ask("c", 300)],
        ["expired a@100", "time @500", "labelled b@460 True", "expired c@400"],
        counted={"expired": 2, "labelled": 1},
    ),
    Case(
        "an idle advance gives up early outcomes",
        [report("x", 0), ask("a", 0), idle(61)],
        ["time @61"],
        ["unknown_or_forgotten outcomes@0"],
        {"early": 1, "unknown_or_forgotten": 1},
        waiting=1,
    ),
    Case(
        "an early outcome beyond the budget is rejected, and those that wait already stay",
        [report("a", 5), report("b", 6), report("c", 7), ask("b", 4), report("d", 8), report("e", 9)],
        ["labelled b@6 True"],
        ["too_many_early outcomes@2", "too_many_early outcomes@4"],
        {"early": 3, "labelled": 1, "too_many_early": 2},
        rules=replace(RULES, early_budget_bytes=2 * (EARLY_BYTES + 1)),
    ),
    Case(
        "so is the outcome of a request of which a hundred wait",
        [*(report("a", ts) for ts in range(101)), ask("b", 0), report("b", 5)],
        ["labelled b@5 True"],
        ["too_many_early outcomes@100"],
        {"early": 100, "labelled": 1, "too_many_early": 1},
    ),
    Case(
        "a punctuation outside lockstep is rejected",
        [ask("a", 0), punctuate(5000)],
        rejected=["unexpected_punctuation outcomes@0"],
        counted={"unexpected_punctuation": 1},
        waiting=1,
    ),
]


def check(bench: Bench, case: Case) -> None:
    counted = {name: n for name, n in bench.counters.items() if name not in {"predictions", "outcomes"}}
    assert bench.facts == case.facts
    assert bench.rejections == case.rejected
    assert counted == case.counted
    assert bench.join.waiting == case.waiting
    assert bench.unaccounted() == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_row_of_the_table(case: Case) -> None:
    check(played(case.steps, case.rules), case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_row_whatever_the_batches_restarts_and_aborts(case: Case) -> None:
    bench = Bench(case.rules)
    for step in case.steps:
        before = bench.state()
        for _ in range(2):  # an abort leaves no trace
            step(bench)
            bench.rollback()
            assert bench.state() == before
        step(bench)
        bench.commit()
        bench.restart()
    check(bench, case)
    assert bench.entries == played(case.steps, case.rules).join.out.entries


def test_every_counter_has_a_case_and_a_row_of_the_page() -> None:
    counted = {name for case in CASES for name in case.counted}
    page = Path(__file__).parents[2] / "docs" / "concepts" / "join.md"
    rows = [line for line in page.read_text("utf-8").splitlines() if "|" in line or "late_by" in line]
    reported = set(re.findall(r"\*\*(\w+)\*\*", "\n".join(rows)))
    reported |= {"unexpected_punctuation"}  # its row is a sentence
    assert reported - {"predictions", "Late"} == counted


# ---------------------------------------------------------------------- what an entry says


def test_an_entry_names_what_caused_it_and_both_sides() -> None:
    bench = played([ask("a", 0, x=4.0), report("b", 5), report("a", 9, False, 3, arrived=77)])
    (entry,) = bench.join.out.entries
    assert entry.entry_id == "outcomes[3]@1#0"
    assert entry.trigger == entry.outcome_at == Position("outcomes", 3, 1)
    assert entry.prediction_at == Position("predictions", 3, 0)
    assert entry.arrived == 77
    assert entry.prediction is not None
    assert entry.prediction.features == {"x": 4.0}
    assert (entry.corrects, entry.previous, entry.previous_kind, entry.late_by) == (None, None, None, None)


def test_a_correction_names_what_it_corrects() -> None:
    steps = [
        ask("a", 0),
        report("a", 101),
        report("a", 102, False),
        report("a", 103, None),
        report("a", 104, False),
    ]
    entries = played(steps).join.out.entries
    assert [(e.kind, e.previous_kind, e.previous) for e in entries] == [
        ("expired", None, None),
        ("late", "expired", None),
        ("revised", "late", True),
        ("unavailable", "revised", False),
        ("revised", "unavailable", None),
    ]
    assert [e.corrects for e in entries] == [None, *(e.entry_id for e in entries[:-1])]


def test_what_one_record_causes_is_numbered() -> None:
    bench = played([ask("a", 0), ask("b", 1), report("c", 118), report("c", 500, False), ask("c", 118)])
    assert bench.facts == ["expired a@100", "expired b@101", "labelled c@118 True", "revised c@500 False"]
    assert [e.entry_id for e in bench.join.out.entries] == [f"predictions[3]@2#{n}" for n in range(4)]


def test_early_outcomes_are_triggered_by_their_prediction() -> None:
    bench = played([report("a", 20, False), report("a", 30), ask("a", 10, arrived=45)])
    first, second = bench.join.out.entries
    assert (first.entry_id, second.entry_id) == ("predictions[3]@0#0", "predictions[3]@0#1")
    assert first.trigger == second.trigger == Position("predictions", 3, 0)
    assert [e.outcome_at for e in (first, second)] == [Position("outcomes", 3, offset) for offset in (0, 1)]
    assert first.arrived == 45  # the later of the two arrivals is the one that freshness counts from


def test_an_idle_advance_triggers_without_a_record() -> None:
    bench = played([ask("a", 0), idle(111), idle(112)])
    assert [(e.entry_id, e.trigger, e.arrived) for e in bench.join.out.entries] == [
        ("task[3]@111#0", None, None),
        ("task[3]@111#1", None, None),
        ("task[3]@112#0", None, None),
    ]
    assert [e.partition for e in bench.join.out.entries] == [None, 3, 3]


def test_no_two_entries_have_one_id() -> None:
    for case in CASES:
        ids = [entry.entry_id for entry in played(case.steps, case.rules).join.out.entries]
        assert len(set(ids)) == len(ids)


def test_a_rejected_early_outcome_brings_itself_along() -> None:
    """It was read in an earlier batch, so nobody else has it any more."""
    for steps in (
        [report("a", 5, arrived=8), ask("a", 10)],  # before its request
        [report("a", 1200, arrived=8000), ask("a", 10)],  # when its request was forgotten
        [report("a", 5, arrived=8), ask("b", 500)],  # an orphan
    ):
        bench = Bench()
        steps[0](bench)
        bench.commit()
        steps[1](bench)
        (rejected,) = bench.join.out.rejected
        assert rejected.at == Position("outcomes", 3, 0)
        assert rejected.early is not None
        assert rejected.early.outcome.request_id == "a"
        assert rejected.early.arrived in {8, 8000}


def test_rejections_say_what_is_wrong() -> None:
    steps = [
        ask("a", 10),
        report("a", 9),
        report("b", 9000, arrived=1),
        ask("c", 9000, arrived=1),
        ask("d", 5000),
    ]
    messages = [each.message for each in played(steps).join.out.rejected]
    assert messages == [
        "the outcome's ts 9 is before its request's, 10",
        "ts=9000 is more than 0:00:00.300000 after its arrival, 1",
        "ts=9000 is more than 0:00:00.300000 after its arrival, 1",
    ]


def test_policies_that_need_it_get_an_opened_entry() -> None:
    bench = played([report("a", 5), ask("a", 5)], replace(RULES, opened=True))
    assert bench.facts == ["opened a@5", "labelled a@5 True"]


# ---------------------------------------------------------------------- batches


def test_what_a_batch_changed_is_seen_within_it_and_stored_by_commit_only() -> None:
    bench = Bench()
    bench.ask("a", 0)
    bench.report("a", 5)
    assert bench.facts == ["labelled a@5 True"]
    assert bench.join.knows("a")
    assert list(bench.store.items()) == []
    bench.commit()
    assert [request_id for request_id, _ in bench.store.items()] == ["a"]


def test_an_aborted_batch_leaves_no_trace_and_gives_the_same_again() -> None:
    bench = Bench()
    for number in range(20):
        bench.ask(f"r{number}", number * 10)
    bench.report("x", 100)
    bench.commit()

    def batch() -> None:
        bench.report("r19", 191)
        bench.report("r0", 150)
        bench.ask("x", 95)
        bench.ask("late", 250)
        bench.report("r2", 30)
        bench.ask("far", 1500)

    before = bench.state()
    tried = []
    for _ in range(3):
        batch()
        tried.append(
            (bench.join.out.entries, bench.join.out.rejected, bench.join.out.changes.states, bench.state())
        )
        assert bench.state() != before
        bench.rollback()
        assert bench.state() == before
    assert tried[0] == tried[1] == tried[2]
    batch()
    bench.commit()
    assert bench.entries[-len(tried[0][0]) :] == tried[0][0]


def test_aborts_without_end_cost_no_memory() -> None:
    bench = Bench()
    bench.ask("a", 0)
    bench.commit()
    size = len(bench.due())
    for _ in range(1000):
        bench.ask("b", 50)
        bench.report("b", 51)
        bench.rollback()
    assert len(bench.due()) == size
    assert isinstance(bench.join._pending, Overlay)
    assert not bench.join._pending._heap


def test_what_is_remembered_does_not_grow_with_the_stream() -> None:
    bench = Bench()
    most = 0
    for number in range(3000):
        ts = number * 10
        bench.report(f"early-{number}", ts)
        bench.ask(f"r{number}", ts)
        bench.report(f"r{number}", ts + 5, number % 2 == 0)
        bench.report(f"orphan-{number}", ts)
        bench.commit()
        assert isinstance(bench.store, MemoryStore)
        most = max(most, len(bench.store._heap))
    span = (RULES.horizon_ms + RULES.revision_horizon_ms + RULES.grace_ms) // 10 + 2
    assert len(dict(bench.store.items())) <= span + 2 * 8
    assert len(bench.due()) == len(dict(bench.store.items()))
    assert most <= 2 * span + 2 * 8 + 200


def test_a_restart_gives_the_same_continuation() -> None:
    first = [ask("a", 0), ask("b", 20), report("a", 30), report("x", 90), ask("c", 80), report("c", 85, None)]
    second = [
        ask("x", 88),
        ask("d", 131),
        report("a", 140, False),
        report("b", 120),
        report("c", 150),
        idle(2000),
    ]
    through, restarted = Bench(), Bench()
    for bench in (through, restarted):
        for step in first:
            step(bench)
        bench.commit()
    restarted.restart()
    for bench in (through, restarted):
        for step in second:
            step(bench)
        bench.commit()
    assert restarted.entries == through.entries
    assert restarted.rejected == through.rejected
    assert restarted.counters == through.counters
    assert restarted.pending() == through.pending()
    assert restarted.join.position(1, 2) == through.join.position(1, 2)


def test_a_position_carries_time_offsets_and_counters() -> None:
    fresh = Bench().join.position(0, 0)
    assert fresh.stream_time is None
    bench = played([ask("a", 17), report("a", 20)])
    position = bench.join.position(8, 9)
    assert (position.stream_time, position.predictions, position.outcomes) == (17, 8, 9)
    assert position.counters == {"predictions": 1, "outcomes": 1, "labelled": 1}
    bench.join.counters["labelled"] += 1
    assert position.counters["labelled"] == 1


def test_most_waiting_is_counted_from_what_a_restart_finds() -> None:
    bench = played([ask("a", 0), ask("b", 1), ask("c", 2), report("a", 3)])
    bench.commit()
    assert (bench.join.waiting, bench.join.most_waiting) == (2, 3)
    bench.restart()
    assert (bench.join.waiting, bench.join.most_waiting) == (2, 2)


def test_is_due_says_whether_time_would_do_anything() -> None:
    bench = played([ask("a", 0), report("x", 20)])
    assert not bench.join.is_due(80)
    assert bench.join.is_due(81)  # the early outcome: 20 + 50 + 10
    bench.commit()
    assert not bench.join.is_due(80)
    assert bench.join.is_due(81)
    assert not Bench().join.is_due(10**15)


# ---------------------------------------------------------------------- lockstep

LOCKSTEP = replace(RULES, lockstep=True)


def test_in_lockstep_time_moves_by_punctuations_only() -> None:
    bench = played([ask("a", 0), ask("b", 5000)], LOCKSTEP)
    assert bench.facts == []
    bench.punctuate(99)
    assert bench.facts == ["time @99"]


def test_in_lockstep_what_is_due_at_a_punctuation_resolves_without_grace() -> None:
    bench = played([ask("a", 0), ask("b", 1), punctuate(100), report("a", 100), report("b", 101)], LOCKSTEP)
    assert bench.facts == ["expired a@100", "time @100", "late a@100 True by arrival", "labelled b@101 True"]


def test_in_lockstep_outcomes_and_expiries_come_in_the_order_of_time_then_request() -> None:
    bench = played(
        [ask(request_id, ts) for request_id, ts in zip("abcde", (0, 0, 0, 5, 2), strict=True)], LOCKSTEP
    )
    for step in (report("b", 100), report("d", 102, False), punctuate(105)):
        step(bench)
    assert bench.facts == [
        "expired a@100",
        "labelled b@100 True",
        "expired c@100",
        "labelled d@102 False",  # request 3, before the expiry of request 4 at the same time
        "expired e@102",
        "time @105",
    ]


def test_in_lockstep_an_early_outcome_does_not_change_the_order_of_expiries() -> None:
    """Its timer, for the same time as the expiry, must not stand for that."""
    rules = replace(LOCKSTEP, early_horizon_ms=110)
    bench = played([report("b", 0), ask("a", 10), ask("b", 10), punctuate(110)], rules)
    assert bench.facts == ["expired a@110", "expired b@110", "time @110"]
    assert bench.rejections == ["outcome_before_request outcomes@0"]


def test_in_lockstep_early_outcomes_wait_as_ever() -> None:
    bench = played([report("a", 5), punctuate(54), ask("a", 5), report("x", 60), punctuate(110)], LOCKSTEP)
    assert bench.facts == ["time @54", "labelled a@5 True", "time @110"]
    assert bench.rejections == ["unknown_or_forgotten outcomes@2"]


def test_in_lockstep_the_last_punctuation_drains() -> None:
    bench = played([*(ask(f"r{n}", n) for n in range(50)), punctuate(10**9)], LOCKSTEP)
    assert bench.join.waiting == 0
    assert bench.join.counters["expired"] == 50
    assert bench.join.counters["forgotten"] == 50
    assert bench.pending() == {}


def test_a_join_shows_what_it_was_given() -> None:
    join = Join(RULES, Bench().store, unpack, "task", 3)
    assert join.partition == 3
    assert not join.knows("a")
