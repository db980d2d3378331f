"""The leaderboard of a race in a live loop: plain data, for pages and HTTP."""

from __future__ import annotations

from typing import Any

from streams.race.fold import RaceFold


def race_lines(fold: RaceFold) -> list[dict[str, Any]]:
    """Return a line for each model: the one that answers, those that race by their gain, the dropped ones.

    `gain` is over the model that answers, on all whole cohorts in which both count; `low` and `high` are bounds of
    the gain since that model answers, None before the first whole cohort.
    """
    promotion = fold.promotion
    leader, standings = promotion.incumbent, promotion.standings
    found = []
    for name in promotion.models:
        n, gain = standings.gain(leader, name)
        dropped, test = promotion.dropped.get(name), promotion.tests.get(name)
        bounds: tuple[float | None, float | None] = (None, None)
        if dropped is not None:
            bounds = dropped.low, dropped.high
        elif test is not None and test.n + test.unlabelled:
            evidence = test.evidence("", "", 1.0)
            bounds = evidence.low, evidence.high
        found.append(
            {
                "model": name,
                "status": "leads" if name == leader else "races" if dropped is None else "dropped",
                "gain": gain,
                "low": bounds[0],
                "high": bounds[1],
                "count": standings.n if name == leader else n,
                "loss": standings.recent_loss(name) if dropped is None else dropped.loss,
                "why": "" if dropped is None else dropped.why,
            }
        )
    order = {"leads": 0, "races": 1, "dropped": 2}
    return sorted(found, key=lambda line: (order[line["status"]], -line["gain"], line["model"]))
