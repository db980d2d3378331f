"""Corrections leave no trace: metrics after any sequence of them are those computed from scratch.

Counts are equal, and so are the sums of a regression, whose values have no limit; losses of a classification are
equal up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import dummy, stats

from schemas import Category, Dictionary
from schemas.records import Entry, Outcome, Prediction, Score
from streams import MetricRules, Model, Task
from streams.metrics.delays import Delays
from streams.metrics.kinds import OBSERVE, TALLIES
from streams.metrics.served import ServedMetrics
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest

MINUTE_MS = 60_000
RULES = MetricRules(rolling=5, window=timedelta(hours=1), segments=("c",), revisions=2, levels=2, least=1)
KINDS: dict[str, tuple[list[Any], list[Any]]] = {
    "binary": ([True, False], [0.02, 0.5, 1.0]),
    "multiclass": (["a", "b"], [{"a": 0.2, "b": 0.8}, {"a": 1.0}, {"c": 0.4, "a": 0.6}]),
    "regression": ([0.1, 1e9], [0.25, 1e-9, -7.5]),
}
"""Labels and scores."""


def regressor() -> Any:
    """Give a model that is never asked."""
    return dummy.StatisticRegressor(stats.Mean())


def task(kind: Any) -> Task:
    build = regressor if kind == "regression" else dummy.PriorClassifier
    return Task(
        name="exact",
        question="Does a correction leave a trace?",
        features=Dictionary(Category(name="c")),
        kind=kind,
        horizon=timedelta(hours=2),
        models=(Model("m", build),),
        metrics=RULES,
    )


class Said(NamedTuple):
    """What comes for one request: its score, and values that replace one another."""

    minute: int
    score: int
    level: str
    revision: int
    role: Any
    values: list[int | None]


SAID = st.builds(
    Said,
    st.integers(0, 300),
    st.integers(0, 2),
    st.sampled_from(["x", "y", "z", "other"]),
    st.integers(1, 5),
    st.sampled_from(["served", "served", "served", "shadow"]),
    st.lists(st.one_of(st.integers(0, 1), st.none()), max_size=4),
)


def log_of(kind: str, said: Sequence[Said], order: list[int]) -> list[Entry]:
    """Make a log in which the requests' facts come mixed."""
    labels, scores = KINDS[kind]
    turns = sorted(
        ((order[(n + k) % len(order)], k, n) for n, each in enumerate(said) for k in range(len(each.values))),
        key=lambda turn: (turn[1], turn[0]),
    )
    entries = []
    for _, k, n in turns:
        each = said[n]
        answer = scores[each.score]
        likeliest = max((p, name) for name, p in answer.items())[1] if isinstance(answer, dict) else ""
        label = likeliest or (kind == "binary" and answer >= 0.5)
        score = Score("m", each.revision, n, answer, None if kind == "regression" else label)
        before_it = () if each.role == "served" else (Score("other", 1, 0, None),)
        ts = each.minute * MINUTE_MS
        values = [None if at is None else labels[at] for at in each.values]
        outcome = Outcome(f"r{n}", ts + k, values[k], k, None if values[k] is not None else "lost")
        before: dict[str, Any] = {}
        if k:
            was = "unavailable" if values[k - 1] is None else "labelled"
            before = {"corrects": f"r{n}/{k - 1}", "previous": values[k - 1], "previous_kind": was}
        fact: Any = "unavailable" if values[k] is None else "revised" if k else "labelled"
        prediction = Prediction(f"r{n}", ts, {"c": each.level}, (*before_it, score))
        entries.append(Entry(f"r{n}/{k}", fact, ts + k, prediction=prediction, outcome=outcome, **before))
    return entries


def final(log: Sequence[Entry]) -> dict[str, Entry]:
    """Give each request's last entry."""
    return {entry.prediction.request_id: entry for entry in log if entry.prediction is not None}


def fold(kind: str, log: Sequence[Entry]) -> ServedMetrics:
    made = task(kind)
    served = ServedMetrics(made, made.models[0])
    for offset, entry in enumerate(log):
        served.apply(offset, entry)
    return served


def scratch(kind: str, entries: Sequence[Entry]) -> Any:
    tally = TALLIES[kind]()
    for entry in entries:
        assert entry.prediction is not None
        assert entry.outcome is not None
        if entry.outcome.value is not None:
            tally.add(OBSERVE[kind](entry.prediction.scores[-1], entry.outcome.value))
    return tally.snapshot()


def rounded(state: Any) -> Any:
    """Return a state with its floats to nine places, of which rounding spoils none here."""
    if isinstance(state, float):
        return round(state, 9) + 0.0
    if isinstance(state, list | tuple):
        return [rounded(each) for each in state]
    return state


@pytest.mark.parametrize("kind", [*KINDS])
@settings(max_examples=60, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=14), st.permutations(range(7)))
def test_every_slice_is_what_the_labels_that_stand_add_up_to(
    kind: str, said: list[Said], order: list[int]
) -> None:
    log = log_of(kind, said, order)
    served, last = fold(kind, log), final(log)
    for role, scope in served.scopes.items():
        mine = [e for e in last.values() if e.prediction and role_of(e.prediction) == role]
        assert rounded(scope.revisions.total().snapshot()) == rounded(scratch(kind, mine))
        levels: list[str] = []
        for entry in log:
            if entry.prediction and role_of(entry.prediction) == role and _labels(entry):
                level = str(entry.prediction.features["c"])
                levels += [level] if level not in levels and level != "other" and len(levels) < 2 else []
        for name, tally in scope.levels["c"].tallies.items():
            inside = [e for e in mine if e.prediction and _level(e.prediction, levels) == name]
            assert rounded(tally.snapshot()) == rounded(scratch(kind, inside))
        for number, pane in scope.panes.panes.items():
            width = scope.panes.width_ms
            inside = [e for e in mine if e.prediction and e.prediction.ts // width == number]
            assert rounded(pane.snapshot()) == rounded(scratch(kind, inside))
        rolling = [e for e in mine if e.prediction and e.prediction.request_id in newest(log, role)]
        assert rounded(scope.rolling.tally.snapshot()) == rounded(scratch(kind, rolling))


def role_of(prediction: Prediction) -> str:
    return "served" if prediction.scores[0].model == "m" else "shadow"


def _labels(entry: Entry) -> bool:
    return entry.outcome is not None and (entry.outcome.value != entry.previous)


def _level(prediction: Prediction, levels: list[str]) -> str:
    level = str(prediction.features["c"])
    return level if level in levels else "other"


def newest(log: Sequence[Entry], role: str) -> set[str]:
    """Give the requests of the five labels that were given last, as first ones."""
    given: list[str] = []
    for entry in log:
        if entry.prediction is None or entry.outcome is None or role_of(entry.prediction) != role:
            continue
        if entry.previous is None and entry.outcome.value is not None:
            given.append(entry.prediction.request_id)
    last = {request_id: number for number, request_id in enumerate(given)}
    return {request_id for request_id, number in last.items() if number >= len(given) - RULES.rolling}


@pytest.mark.parametrize("kind", [*KINDS])
@settings(max_examples=40, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=14), st.permutations(range(7)), st.integers(0, 40))
def test_a_restart_anywhere_leaves_no_trace(kind: str, said: list[Said], order: list[int], cut: int) -> None:
    log = log_of(kind, said, order)
    whole, half = fold(kind, log), fold(kind, log[:cut])
    made = task(kind)
    again = ServedMetrics(made, made.models[0])
    again.restore(load(dump(half.snapshot())))
    for offset, entry in enumerate(log):
        again.apply(offset, entry)
    assert state_digest(again.snapshot()) == state_digest(whole.snapshot())
    assert list(again.measurements()) == list(whole.measurements())


@pytest.mark.parametrize("kind", [*KINDS])
@settings(max_examples=40, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=14), st.integers(0, 14))
def test_parts_add_up_to_the_whole_in_any_order(kind: str, said: list[Said], cut: int) -> None:
    entries = [*final(log_of(kind, said, [0])).values()]
    left, right = TALLIES[kind](), TALLIES[kind]()
    left.restore(scratch(kind, entries[:cut]))
    right.restore(scratch(kind, entries[cut:]))
    right.merge(left)
    assert rounded(right.snapshot()) == rounded(scratch(kind, entries))
    right.merge(left, -1)
    assert rounded(right.snapshot()) == rounded(scratch(kind, entries[cut:]))


def test_a_correction_of_what_a_cut_log_no_longer_holds_spoils_no_other_sum() -> None:
    observe, tally = OBSERVE["binary"], TALLIES["binary"]()
    score = Score("m", 1, 0, 0.3, False)
    tally.add(observe(score, True), -1)
    tally.add(observe(score, False))
    tally.add(observe(score, True))
    assert rounded(tally.snapshot()) == rounded(scratch("binary", [_one(score, False)]))


def _one(score: Score, value: bool) -> Entry:
    prediction = Prediction("r", 0, {"c": "x"}, (score,))
    return Entry("e", "labelled", 0, prediction=prediction, outcome=Outcome("r", 0, value))


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=60), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_quantiles_of_delays_are_within_their_bins_of_the_exact_ones(spans: list[int], q: float) -> None:
    delays = Delays()
    for span in spans:
        delays.add(span)
    exact = sorted(spans)[max(1, math.ceil(q * len(spans))) - 1]
    assert delays.quantile(q) == pytest.approx(exact, rel=0.0222)
