"""The gate is a fold: cuts, redeliveries and restarts leave no trace; and its evidence is what its formulas say."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Entry
from streams import Guardrail
from streams.gate.decision import Decision
from streams.gate.fold import GateFold
from streams.gate.gain import Gain
from streams.gate.wager import BETS, COSTS, SLOPES, Wager, interval
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest
from tests.benchmarks.gate.methods import METHODS, false_promotions, log_bernstein, log_wealth
from tests.gate_task import DAY, Loop, events, make_task, quick

GUARDS = (
    Guardrail("segment", 0.1, feature="c"),
    Guardrail("missing", 0.05),
    Guardrail("scores", 0.4, "signal"),
    Guardrail("calibration", 0.3),
)
TASK = make_task(quick(least=60, recent=60, hold=timedelta(hours=1), guardrails=GUARDS, held=300))


@cache
def history() -> tuple[Entry, ...]:
    """A log in which the challenger wins, is promoted, and loses again."""

    def turns(n: int, draw: random.Random) -> tuple[float, float]:
        return (0.1, 0.5) if n < 500 else (0.5, 0.1)

    loop = Loop(TASK).run(events(1400, turns))
    assert {each.action for each in loop.gate.decisions()} >= {"share", "promote", "verdict"}
    assert loop.gate.held.halvings > 0
    return tuple(loop.driver.log)


def restarted(fold: GateFold) -> GateFold:
    """A fold that has nothing but the snapshot."""
    new = GateFold(TASK)
    new.restore(load(dump(fold.snapshot()), new.snapshot()))
    return new


@cache
def undisturbed() -> tuple[str, list[Decision]]:
    fold = GateFold(TASK)
    for offset, entry in enumerate(history()):
        fold.apply(offset, entry)
    return state_digest(fold.snapshot()), fold.decisions()


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 600), st.integers(0, 50), st.booleans()), max_size=8))
def test_cuts_redeliveries_and_restarts_change_nothing(steps: list[tuple[int, int, bool]]) -> None:
    log, fold, at = history(), GateFold(TASK), 0
    for count, again, restart in [*steps, (len(history()), 0, False)]:
        start = max(0, at - again)
        for offset, entry in enumerate(log[start : at + count], start):
            fold.apply(offset, entry)
        at = min(len(log), at + count)
        if restart:
            fold = restarted(fold)
            fold.proposal()
    digest, decisions = undisturbed()
    assert state_digest(fold.snapshot()) == digest
    assert fold.decisions() == decisions


def test_a_fold_of_half_the_log_is_another_state() -> None:
    fold = GateFold(TASK)
    for offset, entry in enumerate(history()[:700]):
        fold.apply(offset, entry)
    assert state_digest(fold.snapshot()) != undisturbed()[0]


# ---------------------------------------------------------------------- the formulas

GAINS = st.lists(st.floats(-1, 1), min_size=1, max_size=300)


@given(GAINS, st.integers(1, 7))
def test_a_wager_is_the_mean_product_of_its_bets(gains: list[float], part: int) -> None:
    wager = Wager()
    for start in range(0, len(gains), part):
        wager.take(*gains[start : start + part])
    for sign, found in ((1.0, wager.positive), (-1.0, wager.negative)):
        products = [math.prod(1.0 + bet * sign * each for each in gains) for bet in BETS]
        assert found == pytest.approx(sum(products) / len(BETS), rel=1e-9)
        logs = log_wealth(sign * np.array(gains))
        assert math.log(found) == pytest.approx(float(logs[-1]), abs=1e-6)


@given(GAINS, st.sampled_from([0.05, 0.0083]))
def test_the_interval_is_what_the_mixture_does_not_exclude(gains: list[float], alpha: float) -> None:
    n, total, squares = len(gains), math.fsum(gains), math.fsum(each * each for each in gains)
    low, high = interval(n, total, total, (squares, squares), alpha)

    def e_value(mean: float, sign: float) -> float:
        excess = sign * (total - n * mean)
        terms = [math.exp(min(s * excess - c * squares, 600.0)) for s, c in zip(SLOPES, COSTS, strict=True)]
        return sum(terms) / len(SLOPES)

    for mean in np.linspace(-1, 1, 81):
        excluded = e_value(mean, 1.0) >= 2 / alpha or e_value(mean, -1.0) >= 2 / alpha
        if abs(mean - low) > 1e-6 and abs(mean - high) > 1e-6:
            assert excluded == (not low <= mean <= high)
    assert float(log_bernstein(np.array(gains))[-1]) == pytest.approx(math.log(e_value(0.0, 1.0)), abs=1e-6)


SCORES = st.one_of(st.none(), st.floats(0, 1))
MANY = st.one_of(
    st.none(),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(
        lambda p: {"x": p[0] / (p[0] + p[1]), "y": p[1] / (p[0] + p[1])}
    ),
)
NUMBERS = st.one_of(st.none(), st.floats(-100, 100))
CASES: list[Any] = [
    (Gain("brier"), SCORES, st.booleans()),
    (Gain("log_loss"), SCORES, st.booleans()),
    (Gain("brier"), MANY, st.sampled_from(["x", "y", "z"])),
    (Gain("log_loss"), MANY, st.sampled_from(["x", "y", "z"])),
    (Gain("absolute_error", bounds=(-5.0, 20.0)), NUMBERS, st.floats(-100, 100)),
]


@pytest.mark.parametrize(("gain", "scores", "labels"), CASES)
@given(data=st.data())
def test_a_gain_is_bounded_and_within_its_range(
    gain: Gain, scores: Any, labels: Any, data: st.DataObject
) -> None:
    ours, other, label = data.draw(scores), data.draw(scores), data.draw(labels)
    kind = "binary" if isinstance(label, bool) else "other"
    found = gain.function(kind)(ours, other, label)
    low, high = gain.range_of(ours, other)
    assert -1.0 <= low <= high <= 1.0
    assert low - 1e-12 <= found <= high + 1e-12
    assert found == pytest.approx(gain.loss_of(ours, label) - gain.loss_of(other, label), abs=1e-12)


# ---------------------------------------------------------------------- errors


def pairs(n: int) -> tuple[Any, Any]:
    """Losses of two models that differ in noise, as two learning rates do."""
    draw = np.random.default_rng(7)
    labels = draw.random(n) < 0.3
    p = np.clip(0.3 + draw.normal(0, 0.15, (2, n)), 0.0, 1.0)
    return (p[0] - labels) ** 2, (p[1] - labels) ** 2


@pytest.mark.parametrize("name", METHODS)
def test_equal_models_are_promoted_in_at_most_one_of_twenty_runs_by_the_gate_only(name: str) -> None:
    share = false_promotions(METHODS[name], *pairs(6000), runs=60)
    if name == "gate":
        assert share <= 0.05
    elif "asymptotic" not in name:
        assert share > 0.2


def test_the_vectorised_gate_of_the_benchmark_is_the_gate() -> None:
    made = list(events(1500, lambda n, draw: (0.3, 0.3 + draw.random() * 0.3), gap_ms=DAY // 100))
    loop = Loop(make_task(quick(least=500, recent=500)), obey=False).run(made)
    entries = [each for each in loop.driver.log if each.prediction is not None]
    entries.sort(key=lambda each: each.prediction.ts)  # type: ignore[union-attr]  # they have one
    losses = []
    for entry in entries:
        assert entry.prediction is not None
        label = float(entry.outcome is not None)
        losses.append([(each.score - label) ** 2 for each in entry.prediction.scores])  # type: ignore[operator]  # binary
    first = METHODS["gate"](*np.array(losses).T)
    better = next(each for each in loop.gate.decisions() if each.verdict == "better")
    assert first is not None
    # The gate looks at the end of cohorts, here of four hours.
    assert first <= better.evidence.n <= first + 40
