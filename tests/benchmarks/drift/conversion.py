"""Rare conversions: one request in 33 converts, and most of what changes is not the concept.

A logistic world with five normal features. What drifts: twelve times the weights (at the same base rate, into a
direction of which the old ones say nothing, or the opposite), then
the base rate alone (it doubles, and falls back), then the features alone (one of them moves by a standard
deviation). A model that learns on answers; a detector is to find the first kind, and to call neither of the others
by its name.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from river import compose, linear_model, optim, preprocessing

from tests.benchmarks.drift.concepts import Scored

FEATURES: Final = 5
SPREAD: Final = 2.0
"""Standard deviation of the log-odds."""
INTERCEPT: Final = -5.09
"""Gives a base rate of 3 % at that spread."""
DOUBLED: Final = 0.8
"""Added to the log-odds, it about doubles the base rate."""
CONCEPTS: Final = 12

What = Literal["concept", "base rate up", "base rate down", "covariates"]
CONCEPT: Final[What] = "concept"
CHANGES: Final[tuple[What, ...]] = (*(CONCEPT,) * CONCEPTS, "base rate up", "base rate down", "covariates")


@dataclass(frozen=True, slots=True)
class Conversions:
    """A stream of rare conversions.

    Parameters
    ----------
    seed
        Of everything in it.
    every
        Events between two changes.
    """

    seed: int
    every: int = 10_000
    changes: tuple[What, ...] = CHANGES

    @property
    def places(self) -> list[tuple[int, What]]:
        """Where something changes, and what."""
        return [((1 + number) * self.every, what) for number, what in enumerate(self.changes)]

    def events(self) -> Iterator[tuple[dict[str, float], bool]]:
        """Give features and label of each event."""
        rng = random.Random(self.seed)
        weights, more, moved = _weights(rng), 0.0, 0.0
        for what in (None, *self.changes):
            if what == "concept":
                weights = _elsewhere(weights, rng)
            elif what == "covariates":
                moved = 1.0
            elif what is not None:
                more = DOUBLED if what == "base rate up" else 0.0
            for _ in range(self.every):
                values = [rng.gauss(0, 1) for _ in range(FEATURES)]
                values[0] += moved
                odds = INTERCEPT + more + sum(w * v for w, v in zip(weights, values, strict=True))
                label = rng.random() < 1 / (1 + math.exp(-odds))
                yield {f"x{number}": value for number, value in enumerate(values)}, label

    def scored(self) -> list[Scored]:
        """Let a logistic regression predict and then learn each event."""
        model = compose.Pipeline(
            preprocessing.StandardScaler(), linear_model.LogisticRegression(optim.SGD(0.01))
        )
        out = []
        for x, label in self.events():
            out.append(Scored(model.predict_proba_one(x).get(True, 0.0), label))
            model.learn_one(x, label)
        return out


def _elsewhere(weights: list[float], rng: random.Random) -> list[float]:
    """Draw weights of which the old ones say nothing, or the opposite."""
    while True:
        drawn = _weights(rng)
        if sum(old * new for old, new in zip(weights, drawn, strict=True)) <= 0:
            return drawn


def _weights(rng: random.Random) -> list[float]:
    drawn = [rng.gauss(0, 1) for _ in range(FEATURES)]
    size = math.sqrt(sum(each * each for each in drawn))
    return [SPREAD * each / size for each in drawn]
