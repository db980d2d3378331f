"""The results of interleaved repeats as one table, with ratios that were taken within a repeat."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks.compare.measure import Result
from tests.benchmarks.compare.run_config import OURS, contender


def throughput(rounds: Sequence[Sequence[Result]], base: str = OURS) -> list[dict[str, Any]]:
    """Give a row per contender.

    Parameters
    ----------
    rounds
        The repeats, each with one result per contender.
    base
        The contender that the others are compared with.

    Notes
    -----
    `ours_is` is how many times as fast the base was, the median over the repeats of the ratio within each: what
    slows the machine down for a while, slows down both.
    """
    rows = []
    for name in dict.fromkeys(each.contender for results in rounds for each in results):
        mine = [each for results in rounds for each in results if each.contender == name]
        speeds = sorted(each.events_per_s for each in mine)
        ratios = [
            ours.events_per_s / each.events_per_s
            for results in rounds
            for ours in results
            for each in results
            if ours.contender == base and each.contender == name
        ]
        rows.append(
            {
                "contender": name,
                "runs": len(mine),
                "pairs": mine[0].pairs,
                "predictions": [each.predictions for each in mine],
                "examples": [each.examples for each in mine],
                "events_per_s": {
                    "min": speeds[0],
                    "median": statistics.median(speeds),
                    "max": speeds[-1],
                },
                "ours_is": statistics.median(ratios) if ratios else None,
                "cpu_us": statistics.median(each.cpu_us for each in mine),
                "memory_mb": max(each.memory_mb for each in mine),
                "accuracy": statistics.median(each.accuracy for each in mine),
                "promise": contender(name).promise,
                "says": contender(name).says,
                "versions": mine[0].versions,
            }
        )
    return rows


def scaled(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Give the cells of the table that says how the loop scales."""
    return [
        [
            row["contender"],
            f"{row['pairs']:,}",
            f"{row['events_per_s']['median']:,.0f}",
            f"{1 / row['ours_is']:.2f}",
            f"{row['cpu_us']:.0f}",
            f"{row['memory_mb']:.0f}",
        ]
        for row in rows
    ]
