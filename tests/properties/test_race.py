"""A race is a fold: cuts, restarts and parts leave no trace. A tuning run and a live loop race alike."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.records import Entry, ScoreValue
from streams import Event, MemoryDriver, Model, OnArrival, Race, Task
from streams.gate.decision import Decision
from streams.race.contest import Contest
from streams.race.fold import RaceFold
from streams.race.history import History, asked_in, from_events, from_log, run_part
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest
from tests.gate_task import Scripted, events, make_task

RACE = Race(start="least_sure", least=200, recent=100, alpha=0.2)


def turns(n: int, draw: random.Random) -> tuple[float, float]:
    """`b` is better at first, then much worse, then much better again; half of all outcomes are positive."""
    return (0.3, 0.5) if n < 400 else (0.5, 0.02) if n < 1400 else (0.02, 0.5)


@cache
def made() -> tuple[Event, ...]:
    return tuple(events(2600, turns))


@cache
def task() -> Task:
    base = make_task(RACE)
    third = Model("c", Scripted, {"feature": "a"}, base.models[0].policy)
    return replace(base, models=(*base.models, third))


@cache
def live() -> tuple[tuple[Entry, ...], RaceFold]:
    """The log of a live loop, which does what the race says."""
    fold = RaceFold(task())
    driver = MemoryDriver(task(), folds=[fold])
    for _ in driver.run(made()):
        proposal = fold.proposal()
        if proposal is not None:
            driver.command(proposal.command())
    return tuple(driver.log), fold


def said(decisions: Sequence[Decision]) -> list[tuple[str, str]]:
    return [(each.action, each.challenger) for each in decisions]


def test_the_race_follows_the_better_model_and_drops_and_revives() -> None:
    _, fold = live()
    promoted = [each.challenger for each in fold.decisions() if each.action == "promote"]
    assert promoted[:2] == ["b.1", "a.1"]
    contest = run(10_000)
    actions = {(each.action, each.model) for each in contest.changes}
    assert {("leads", "b"), ("leads", "a"), ("dropped", "b"), ("revived", "b")} <= actions


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 50), st.booleans()), max_size=8))
def test_cuts_redeliveries_and_restarts_change_nothing(steps: list[tuple[int, int, bool]]) -> None:
    log, undisturbed = live()
    fold, at = RaceFold(task()), 0
    for count, again, restart in [*steps, (len(log), 0, False)]:
        start = max(0, at - again)
        for offset, entry in enumerate(log[start : at + count], start):
            fold.apply(offset, entry)
        at = min(len(log), at + count)
        if restart:
            state = load(dump(fold.snapshot()), RaceFold(task()).snapshot())
            fold = RaceFold(task())
            fold.restore(state)
    assert state_digest(fold.snapshot()) == state_digest(undisturbed.snapshot())
    assert fold.decisions() == undisturbed.decisions()


# ---------------------------------------------------------------------- a tuning run


@cache
def history() -> History:
    return from_events(task(), made())


def run(part: int) -> Contest:
    """Race in parts of so many entries, as a tuning run does; what is dropped is not scored."""
    contest = Contest(task(), history(), task().models, RACE)
    states: dict[str, tuple[int, bytes | None]] = dict.fromkeys(contest.scores, (0, None))
    whole = len(history().entries)
    for end in [*range(part, whole, part), whole]:
        while lacking := contest.advance(end):
            for name in lacking:
                start, state = states[name]
                found = run_part(task(), task().model(name), history(), start, end, state)
                contest.give(name, found.scores)
                states[name] = end, found.state
    return contest


@cache
def in_one() -> Contest:
    return run(10_000)


def result(contest: Contest) -> Any:
    rows = [{**row, "requests": 0} for row in contest.leaderboard()]  # what a part computed too much
    return contest.changes, contest.served, rows, contest.served_loss()


@settings(max_examples=6, deadline=None)
@given(st.integers(150, 3000))
def test_parts_change_nothing(part: int) -> None:
    assert repr(result(run(part))) == repr(result(in_one()))


def test_small_parts_compute_less_of_a_dropped_model() -> None:
    contest = run(200)
    dropped = [row for row in contest.leaderboard() if row["status"] == "dropped"]
    assert all(row["requests"] < len(history().requests) for row in dropped)
    assert "dropped" in {each.action for each in contest.changes}


def test_a_tuning_run_and_a_live_loop_race_alike() -> None:
    _, fold = live()
    found = in_one().fold
    assert said(found.decisions()) == said(fold.decisions())
    assert [each.evidence.n for each in found.decisions()] == [each.evidence.n for each in fold.decisions()]
    assert found.promotion.dropped.keys() == fold.promotion.dropped.keys()


def test_scores_are_those_of_the_loop() -> None:
    log, _ = live()
    served: dict[str, dict[str, ScoreValue]] = {}
    for entry in log:
        if entry.prediction is not None:
            served[entry.prediction.request_id] = {each.model: each.score for each in entry.prediction.scores}
    contest = in_one()
    for number, request in enumerate(history().requests):
        for model, scores in contest.scores.items():
            if number < len(scores) and request.request_id in served:
                assert scores[number] == served[request.request_id][model]


def test_a_log_gives_the_history_of_its_events() -> None:
    log, _ = live()
    found = from_log(enumerate(log))
    assert [each.request_id for each in found.requests] == [each.request_id for each in history().requests]
    assert len(asked_in(found, 0, len(found.entries))) == len(found.requests)
    model = task().models[0]
    ours, other = (run_part(task(), model, each, 0, len(each.entries), None) for each in (found, history()))
    assert ours.scores == other.scores


def test_early_labels_of_one_kind_do_not_decide() -> None:
    """Only positive outcomes report: a model that says so of all requests is right about every label."""
    silent = make_task(RACE, policy=OnArrival())
    fold = RaceFold(silent)
    driver = MemoryDriver(silent, folds=[fold])
    for _ in driver.run(events(1000, lambda n, draw: (0.5, 0.9), rate=0.3)):
        assert fold.proposal() is None
    n, gain = fold.promotion.standings.gain("a", "b")
    assert n > 900
    assert gain < 0.0
