"""Synthetic examples that a data dictionary allows: for the load check and for tests, seeded."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any, Final

from schemas.dictionary import Boolean, Category, Dictionary, Feature, Integer, Number
from schemas.records import FeatureValue

MISSING: Final = 0.1
"""How often an optional feature is missing."""
NEW_LEVEL: Final = 0.03
"""How often a category has a level that was not seen before."""
OPEN_LEVELS: Final = tuple(f"level {number}" for number in range(8))
CLASSES: Final = ("first", "second", "third")

Target = bool | str | float


def synthetic_examples(
    dictionary: Dictionary,
    kind: str,
    count: int,
    seed: int,
    outcomes: tuple[float | None, float | None] = (None, None),
) -> Iterator[tuple[dict[str, FeatureValue], Target]]:
    """Make examples: canonical features, and a target that depends on them and on some noise.

    Parameters
    ----------
    dictionary
        The features: types, ranges, levels. Optional ones are missing now and then, and levels come up that
        the dictionary does not list, unless it rejects them.
    kind
        `binary` (targets are bool), `multiclass` (text) or `regression` (float).
    seed
        Of the generator.
    outcomes
        Lowest and highest target of a regression.

    Examples
    --------
    >>> from schemas.dictionary import Category, Dictionary, Number
    >>> features = Dictionary(Number(name="size", low=0, high=10), Category(name="shop", levels=("a", "b")))
    >>> for x, y in synthetic_examples(features, "binary", 2, seed=1):
    ...     print(x, y)
    {'size': 8.0, 'shop': 'b'} True
    {'size': 4.722, 'shop': 'b'} True
    """
    rng = random.Random(seed)  # noqa: S311  repeatable, not secret
    for _ in range(count):
        values: dict[str, Any] = {}
        score = rng.gauss(0, 0.2)
        for place, feature in enumerate(dictionary):
            if feature.optional and rng.random() < MISSING:
                continue
            value, signal = _value(feature, rng)
            values[feature.name] = value
            score += signal / (1 + place)  # the first counts most, so that trees find a split
        yield dictionary.canonical(values), _target(kind, score, *outcomes)


def _target(kind: str, score: float, low: float | None, high: float | None) -> Target:
    if kind == "regression":
        return score if low is None and high is None else _between(1 / (1 + math.exp(-score)), low, high)
    if kind == "binary":
        return score > 0
    return CLASSES[0 if score < -0.3 else 1 if score < 0.3 else 2]


def _value(feature: Feature, rng: random.Random) -> tuple[Any, float]:
    """Give a value, and a number around 0 that goes with it."""
    if isinstance(feature, Boolean):
        flag = rng.random() < 0.5
        return flag, 0.5 if flag else -0.5
    if isinstance(feature, Category):
        levels = feature.levels or OPEN_LEVELS
        if rng.random() < NEW_LEVEL and not (feature.levels and feature.on_new_level == "reject"):
            return f"new level {rng.randrange(20)}", 0.0
        place = rng.randrange(len(levels))
        return levels[place], place / max(1, len(levels) - 1) - 0.5
    assert isinstance(feature, Number | Integer)
    part = rng.random()
    low, high = feature.low, feature.high
    value = _between(part, low, high)
    if isinstance(feature, Integer) or rng.random() < 0.3:
        value = round(value)  # ties
        value = value if low is None else max(value, low)
        value = value if high is None else min(value, high)
    else:
        value = round(value, 3)
    return (int(value) if isinstance(feature, Integer) else float(value)), part - 0.5


def _between(part: float, low: float | None, high: float | None) -> float:
    """Give a number of a range by its place in it, from 0 to 1; an open range is ten long."""
    if low is not None and high is not None:
        return low + part * (high - low)
    if low is not None:
        return low + 10 * part
    return high - 10 * part if high is not None else 20 * (part - 0.5)
