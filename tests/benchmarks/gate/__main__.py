"""How often gates promote a model that is not better: `python -m tests.benchmarks.gate [--runs N] [--requests N]`.

Loss pairs of the hotel bookings, as the loop served them, looked at after every request:

- equal models: a coin swaps the roles of the learning rates 0.01 and 0.003 at each request of a run;
- real pairs: at the bookings' own dates and within a window of 30 days, in the order in which labels arrived and in
  that of the requests once all are known.

And what the gate costs beside other monitors.
"""

from __future__ import annotations

import argparse
from typing import Any, Final

import numpy as np

from agents.cli.common import table
from streams import native
from tests.benchmarks.gate.cost import costs
from tests.benchmarks.gate.methods import METHODS, false_promotions
from tests.benchmarks.gate.pairs import TRUE_DATES, WINDOW, Scored, scored

PAIRS: Final = (
    ("lr-01", "lr-003", "better"),
    ("lr-01", "lr-03", "worse"),
    ("lr-01", "ht", "worse"),
)
"""Model that answers, challenger, and how the challenger does over all requests."""


def first_promotions(found: Scored, ours: str, other: str) -> dict[str, tuple[int | None, int | None]]:
    """Return requests until the promotion by each method, as labels arrive and in whole cohorts."""
    arrival = np.argsort(found.known)
    a, b = found.losses(ours), found.losses(other)
    return {name: (method(a[arrival], b[arrival]), method(a, b)) for name, method in METHODS.items()}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--requests", type=int, default=20_000)
    args = parser.parse_args()
    native.choose("auto")
    dates, window = scored(TRUE_DATES), scored(WINDOW)
    columns: dict[str, list[Any]] = {name: [name] for name in METHODS}
    a, b = (dates.losses(model)[: args.requests] for model in ("lr-01", "lr-003"))
    for name, method in METHODS.items():
        columns[name].append(f"{false_promotions(method, a, b, args.runs):.1%}")
    head = ["method", "equal models promoted"]
    for where, found in (("dates", dates), ("window", window)):
        for ours, other, truth in PAIRS:
            gain = float((found.losses(ours) - found.losses(other)).mean())
            head.append(f"{where}: {other} for {ours}, {truth} ({gain:+.4f})")
            for name, (arrival, cohorts) in first_promotions(found, ours, other).items():
                columns[name].append(f"{shown(arrival)} / {shown(cohorts)}")
    title = f"{args.runs} runs of {args.requests:,} requests; promoted after: labels as they arrive / whole cohorts"
    table(title, head, list(columns.values()))
    table("cost of a resolution, one challenger", ["monitor", "microseconds"], costs())


def shown(requests: int | None) -> str:
    """Return a number of requests, or `never`."""
    return "never" if requests is None else f"{requests:,}"


if __name__ == "__main__":
    main()
