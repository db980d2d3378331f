"""Streams whose concept drifts at known places, scored by a model that learns on.

After Cerqueira, Gomes, Heyden, Pfahringer and Bifet, "A Framework for Evaluating and Benchmarking Concept Drift
Detection Methods" (KDD 2026), and its published code: 30 drifts, 10,000 events apart, abrupt or 2,000 events wide,
each to another concept drawn at random; a Hoeffding tree that is never reset; its first 1,000 events unjudged.
Noise as their generators have it by default: 10 % of labels (SEA), 5 % perturbation (Agrawal), none (STAGGER).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from river import tree
from river.datasets import synth

UNJUDGED: Final = 1_000
"""Events at the start that no detector sees."""
EVERY: Final = 10_000
WIDTH: Final = 2_000


@dataclass(frozen=True, slots=True)
class Generator:
    """One of River's generators: how a concept of it is made, how many there are, which features are levels."""

    make: Callable[[int, int], Any]
    concepts: int
    nominal: tuple[str, ...] = ()


GENERATORS: Final[Mapping[str, Generator]] = {
    "SEA": Generator(lambda concept, seed: synth.SEA(variant=concept, noise=0.1, seed=seed), 4),
    "Agrawal": Generator(
        lambda concept, seed: synth.Agrawal(classification_function=concept, perturbation=0.05, seed=seed),
        10,
        ("elevel", "car", "zipcode"),
    ),
    "STAGGER": Generator(
        lambda concept, seed: synth.STAGGER(classification_function=concept, seed=seed),
        3,
        ("size", "color", "shape"),
    ),
}


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model answered and what was true: all that the labelled signals are made of."""

    score: float
    """P(true), as it was given before the label was learned."""
    label: bool


@dataclass(frozen=True, slots=True)
class Drifting:
    """Where a stream drifts.

    Parameters
    ----------
    generator
        A name of `GENERATORS`.
    drifts
        How many.
    width
        Events that a drift takes; 0 for an abrupt one.
    seed
        Of the features, the noise and the order of the concepts.
    every
        Events from the end of one drift to the start of the next.
    """

    generator: str
    drifts: int
    width: int
    seed: int
    every: int = EVERY

    @property
    def places(self) -> list[tuple[int, int]]:
        """First and last event of each drift."""
        starts = (self.every + number * (self.every + self.width) for number in range(self.drifts))
        return [(start, start + self.width) for start in starts]

    def events(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Give features and label of each event, up to `every` events behind the last drift."""
        rng = random.Random(self.seed)
        known = GENERATORS[self.generator]
        concept = 0

        def made() -> Iterator[tuple[dict[str, Any], Any]]:
            return iter(known.make(concept, rng.randrange(2**31)))

        now, at = made(), 0
        for start, end in self.places:
            for _ in range(start - at):
                yield _plain(next(now))
            concept = rng.choice([each for each in range(known.concepts) if each != concept])
            after = made()
            for step in range(self.width):
                # MOA's sigmoid (Bifet and others 2010), centred in the drift.
                share = 1 / (1 + math.exp(-4 * (step - self.width / 2) / (self.width / 2)))
                yield _plain(next(after if rng.random() < share else now))
            now, at = after, end
        for _ in range(self.every):
            yield _plain(next(now))

    def scored(self) -> list[Scored]:
        """Let a Hoeffding tree predict and then learn each event."""
        model = tree.HoeffdingTreeClassifier(nominal_attributes=list(GENERATORS[self.generator].nominal))
        out = []
        for x, label in self.events():
            out.append(Scored(model.predict_proba_one(x).get(True, 0.0), label))
            model.learn_one(x, label)
        return out


def _plain(event: tuple[dict[str, Any], Any]) -> tuple[dict[str, Any], bool]:
    x, label = event
    return x, bool(label)
