"""The table in which `riverloop demo` compares the loop with River's evaluator."""

from __future__ import annotations

import math
from typing import Any


def comparison(report: dict[str, Any]) -> list[list[str]]:
    """Return a row for each metric of each model and baseline: name, the loop's value, River's, difference."""
    lines = []
    for model, found in report["models"].items():
        if found["n_other_role"]:
            # The loop's metrics are of one role, River's of all labels.
            where = f"{found['n']:,} labels in its newest role, {found['n_other_role']:,} before"
            lines.append([model, where, "", "not compared"])
            continue
        for metric, pair in found.items():
            if isinstance(pair, dict):
                difference = pair["loop"] - pair["river"]
                shown = "none" if close(pair["loop"], pair["river"]) else f"{difference:+.6f}"
                lines.append([f"{model} {metric}", f"{pair['loop']:.16g}", f"{pair['river']:.16g}", shown])
        if found["river_left_out"]:
            lines.append([f"{model} rows left out", "", f"{found['river_left_out']:,}", ""])
    measured = {metric for found in report["models"].values() for metric in found}
    for name, found in report["baselines"].items():
        lines += [
            [f"{name} {metric}", "", f"{value:.16g}", ""]
            for metric, value in found.items()
            if metric in measured - {"n"} and math.isfinite(value)
        ]
    return lines


def close(ours: float, theirs: float | None) -> bool:
    """Whether two metrics are equal but for the order of a sum: to 1e-12."""
    return theirs is not None and abs(ours - theirs) <= 1e-12
