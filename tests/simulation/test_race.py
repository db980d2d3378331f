"""Challengers from a grid, which score a share of the requests, and the race among them."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from schemas.errors import TaskError
from schemas.records import Command
from streams import Event, Grid, MemoryDriver, Model, Race, Task
from streams.gate.lines import RaceMonitor, gate_lines, gate_monitor
from streams.gate.outages import Outages
from streams.gate.replay import replay
from streams.race.fold import RaceFold
from streams.race.lines import race_lines
from streams.race.promotion import RacePromotion
from tests.gate_task import DAY, Loop, Scripted, event, events, make_task, twice_in

RACE = Race(least=100, recent=100)


def grid(**changes: Any) -> Task:
    """Model `a` answers; a grid has `b`, which is better, and `a` again, which is not made twice."""
    base = make_task()
    challengers = Grid(base.models[0], {"feature": ("a", "b")}, **changes)
    return replace(base, models=base.models[:1], challengers=challengers, gate=RACE)


def better(n: int, draw: random.Random) -> tuple[float, float]:
    return 0.3, 0.5


def test_a_grid_makes_shadows_once() -> None:
    task = grid(sample=0.25)
    assert [(each.name, each.parameters, each.sample) for each in task.models] == [
        ("a", {"feature": "a"}, 1.0),
        ("a-b", {"feature": "b"}, 0.25),
    ]
    assert replace(task, question="Once more?").models == task.models
    assert task.spec(task.models[1]) == task.spec(replace(task.models[1], sample=1.0))


@pytest.mark.parametrize(
    ("challengers", "text"),
    [
        (Grid(Model("a", Scripted), {}), "values="),
        (Grid(Model("a", Scripted), {"feature": "ab"}), "must be a tuple"),
        (Grid(Model("a", Scripted), {"feature": ("a b", "a-b")}), "same name"),
        (Grid(Model("a", Scripted), {"other": (1,)}), "build"),
        (Grid(Model("a", Scripted), {"feature": ("b",)}, sample=0.0), "sample"),
        (("a",), "must be Grid"),
    ],
)
def test_a_grid_that_cannot_be_is_rejected(challengers: Any, text: str) -> None:
    base = make_task()
    with pytest.raises(TaskError, match=text):
        replace(base, models=base.models[:1], challengers=challengers)


def test_a_shadow_scores_its_share_of_the_entities_and_learns_from_all() -> None:
    task = grid(sample=0.25)
    driver = MemoryDriver(task)
    scored: dict[str, set[bool]] = {}
    for number in range(2000):
        request = event(number, number * 1000, (0.3, 0.5), 500).request
        entity = f"e{number % 500}"
        prediction = driver.ask(replace(request, entity_key=entity))
        scored.setdefault(entity, set()).add(len(prediction.scores) == 2)
    assert all(len(each) == 1 for each in scored.values())
    share = sum(each == {True} for each in scored.values()) / len(scored)
    assert 0.18 < share < 0.32
    driver.complete(10_000_000_000)
    assert [fold.learned for fold in driver.models] == [2000, 2000]


def test_a_model_that_answers_scores_all_requests() -> None:
    task = replace(grid(sample=0.25), gate=None)
    driver = MemoryDriver(task)
    driver.command(Command("promote", "a-b", {}, "ada", "better", "c-1"))
    found = [driver.ask(event(number, number, (0.3, 0.5), None).request).scores for number in range(100)]
    assert {each[0].model for each in found} == {"a-b"}


def test_a_race_promotes_a_sampled_challenger_on_the_requests_that_both_scored() -> None:
    task = grid(sample=0.25)
    made = list(events(3000, better))
    report = replay(task, made)
    promoted = [row for row in report["decisions"] if row["action"] == "promote"]
    assert [row["challenger"] for row in promoted] == ["a-b.1"]
    whole = replay(grid(), made)
    assert [row["challenger"] for row in whole["decisions"] if row["action"] == "promote"] == ["a-b.1"]
    assert whole["decisions"][0]["ts"] < report["decisions"][0]["ts"]  # four times as many pairs
    assert report["served"] < report["fixed"]["a"]


def test_a_worker_s_race_says_what_it_waits_for_and_who_is_dropped() -> None:
    task = grid()
    gate = gate_monitor(task)
    assert isinstance(gate, RaceMonitor)
    driver = MemoryDriver(task, folds=[gate])
    for number, _ in enumerate(driver.run(events(1500, lambda n, draw: (0.5, 0.05)))):
        assert gate.proposal() is None
        if number == 560:
            (line,) = gate_lines(gate, driver.server.roles)
            assert "burn-in" in line["waits_for"]
    (line,) = gate_lines(gate, driver.server.roles)
    assert line["verdict"] == "worse"
    assert line["waits_for"] == "nothing: dropped: worse than a"
    assert {each.name for each in gate.measurements()} >= {"gate_estimate", "gate_labels"}
    leads, dropped = race_lines(gate)
    assert (leads["model"], leads["status"]) == ("a", "leads")
    assert (dropped["model"], dropped["status"]) == ("a-b", "dropped")
    assert dropped["high"] < 0.0
    assert dropped["low"] < dropped["gain"]
    assert "worse than a" in dropped["why"]


# ---------------------------------------------------------------------- what must not decide

QUICK = Race(least=200, recent=200)


def test_early_labels_of_one_kind_change_nothing() -> None:
    # Positive labels come after an hour, negative ones at the end of the horizon: the challenger scores high.
    draw = random.Random(3)
    made = [
        event(number, number * DAY // 100, (0.4, 0.9), 3_600_000 if draw.random() < 0.4 else None)
        for number in range(4000)
    ]
    loop = Loop(make_task(QUICK, horizon_days=20)).run(made)
    assert loop.actions == []
    assert race_of(loop).dropped.keys() == {"b"}


def test_a_label_outage_of_a_week_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # No outcome of the week from day 20 on ever comes: for a while nearly all seems negative.
    found = events(4000, lambda number, draw: (0.5, 0.15), rate=0.4, seed=5)
    made = [
        replace(each, outcomes=tuple(one for one in each.outcomes if not 20 <= one.ts / DAY < 27))
        for each in found
        if each.request.ts >= 14 * DAY  # the week decides: what came before is left out
    ]
    loop = Loop(make_task(QUICK)).run(made)
    assert len(loop.gate.outages.spans) == 1
    assert loop.actions == []
    monkeypatch.setattr(Outages, "hit", lambda self, asked: False)
    monkeypatch.setattr(Outages, "suspected", False)
    assert Loop(make_task(QUICK)).run(made).actions[0] == ("promote", "b.1", 100)


def test_a_duplicated_feed_counts_once() -> None:
    made = list(events(2000, better))
    once = Loop(make_task(QUICK)).run(made)
    doubled = [replace(each, outcomes=each.outcomes * 2) for each in made]
    twice = Loop(make_task(QUICK)).run(chain.from_iterable(zip(doubled, doubled, strict=True)))
    assert twice.driver.join.counters["duplicate_prediction"] > 1900
    assert once.actions == twice.actions == [("promote", "b.1", 100)]
    assert race_of(once).standings.snapshot() == race_of(twice).standings.snapshot()
    # A log that has each entry twice, half a day apart, counts each request once as well.
    fold = RaceFold(make_task(QUICK))
    for offset, entry in enumerate(twice_in(once.driver.log)):
        fold.apply(offset, entry)
    assert fold.promotion.standings.snapshot() == race_of(once).standings.snapshot()


def test_a_challenger_that_was_better_early_and_is_no_more_does_not_lead() -> None:
    def early_only(n: int, draw: random.Random) -> tuple[float, float]:
        return (0.1, 0.5) if n < 500 else (0.5, 0.35)

    made = list(events(1200, early_only))
    loop = Loop(make_task(replace(QUICK, least=700))).run(made)
    assert loop.actions == []
    assert race_of(loop).standings.gain("a", "b")[1] > 0.0
    # Its mean over all requests is still higher: the newest ones deny it.
    hasty = Loop(make_task(replace(QUICK, least=700, recent=100_000))).run(made)
    assert hasty.actions[0] == ("promote", "b.1", 100)


def surer(early: bool) -> list[Event]:
    """`a` is sure, `b` is not, and `a` is right: of its requests 4 of 5 are positive, and say so late or early."""
    draw = random.Random(4)
    return [
        event(number, number * DAY // 100, (0.8, 0.6), 3_600_000 if early == (draw.random() < 0.8) else None)
        for number in range(2500)
    ]


@pytest.mark.parametrize("early", [True, False])
def test_the_least_sure_model_answers_until_cohorts_tell_whatever_the_early_labels_say(early: bool) -> None:
    task = make_task(replace(RACE, start="least_sure", least=500), horizon_days=15)
    loop = Loop(task).run(surer(early))
    first, *later = loop.done
    assert (first.challenger, first.share, first.reason) == ("b.1", 100, "the least sure during the burn-in")
    assert first.evidence.n + first.evidence.unlabelled == 0, "no cohort was whole"
    assert (first.evidence.low, first.evidence.high) == (-1.0, 1.0)
    # Where `a` is right it is back when cohorts tell, and where it is wrong it is not.
    assert [(each.challenger, each.reason) for each in later] == (
        [("a.1", "the lowest mean loss on whole cohorts")] if early else []
    )
    assert all(each.evidence.n >= 500 for each in later)
    assert Loop(replace(task, gate=replace(RACE, least=500))).run(surer(early)).done[:1] != [first]


def race_of(loop: Loop) -> RacePromotion:
    """The promotion of a loop's race."""
    assert isinstance(loop.gate, RaceFold)
    return loop.gate.promotion
