"""Streams in which nothing drifts: every alarm is false."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Final

from tests.benchmarks.drift.concepts import Scored

WORLDS: Final[Mapping[str, tuple[float, float]]] = {
    "3 % positive": (-5.09, 2.0),
    "10 % positive": (-2.9, 1.3),
    "30 % positive": (-1.2, 1.5),
}
"""Mean and standard deviation of the log-odds; the scores are calibrated."""


def no_drift_stream(world: str, events: int, seed: int) -> list[Scored]:
    """Give calibrated scores and their labels.

    Examples
    --------
    >>> round(sum(event.label for event in no_drift_stream("3 % positive", 100_000, 1)) / 100_000, 2)
    0.03
    """
    mean, spread = WORLDS[world]
    rng = random.Random(f"{world} {seed}")
    found = []
    for _ in range(events):
        score = 1 / (1 + math.exp(-(mean + spread * rng.gauss(0, 1))))
        found.append(Scored(score, rng.random() < score))
    return found
