"""The table in which `riverloop demo` compares the loop with River."""

from __future__ import annotations

from typing import Any

from agents.cli.comparison import comparison


def model(n: int, before: int, loop: float, river: float) -> dict[str, Any]:
    about = {"n": n, "n_other_role": before, "version": "lr.1@9", "river_left_out": 0}
    return {"accuracy": {"loop": loop, "river": river}, **about}


def test_a_difference_is_shown() -> None:
    report = {"models": {"lr": model(10, 0, 0.5, 0.25), "ht": model(10, 0, 0.5, 0.5)}, "baselines": {}}
    rows = comparison(report)
    assert [(row[0], row[3]) for row in rows] == [("lr accuracy", "+0.250000"), ("ht accuracy", "none")]


def test_a_model_that_changed_its_role_is_not_compared() -> None:
    report = {"models": {"lr": model(1_800, 200, 0.5, 0.25)}, "baselines": {}}
    assert comparison(report) == [["lr", "1,800 labels in its newest role, 200 before", "", "not compared"]]
