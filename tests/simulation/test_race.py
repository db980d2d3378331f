"""Challengers from a grid, which score a share of the requests, and the race among them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from schemas.errors import TaskError
from schemas.records import Command
from streams import Grid, MemoryDriver, Model, Race, Task
from streams.gate.lines import RaceMonitor, gate_lines, gate_monitor
from streams.gate.replay import replay
from streams.race.lines import race_lines
from tests.gate_task import Scripted, event, events, make_task

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
