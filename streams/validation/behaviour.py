"""Checks of how a model behaves: scores that must not change, must rise, lie in a range; replayed states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.codec.checks import TaskKind
from schemas.dictionary import Dictionary, Number
from schemas.records import ScoreValue
from streams.validation.material import Material, Result, number_problems, too_few


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """Another value of a feature changes the score by at most `limit`.

    Each of the newest requests of the window is scored with the values that others have.

    Parameters
    ----------
    feature
        A feature that must not matter.
    limit
        The greatest change of the score, or of a class's probability.
    requests, values
        Newest requests, and values of the feature, that are tried at most.
    """

    feature: str
    limit: float = 0.0
    requests: int = 100
    values: int = 10
    from_log = True

    @property
    def name(self) -> str:
        """`invariant FEATURE`."""
        return f"invariant {self.feature}"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, limit=(0.0, None), requests=(1, None), values=(2, None))
        found = features.by_name.get(self.feature)
        if found is None or found.personal_data == "left_out":
            yield f"Invariant: {self.feature!r} is not a stored feature of the task"

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        seen = {each[self.feature] for each in material.requests if self.feature in each}
        values, rows = sorted(seen, key=repr)[: self.values], material.requests[-self.requests :]
        if len(values) < 2:
            return too_few(self.name, len(values), 2)
        worst = 0.0
        for row in rows:
            scores = [material.score(dict(row) | {self.feature: value}) for value in values]
            worst = max(worst, *(_distance(scores[0], each) for each in scores))
        text = f"another {self.feature} changes the score by {worst:.4g}, at most {self.limit:g}"
        return Result(self.name, worst <= self.limit, text, worst, self.limit, len(rows))


def _distance(a: ScoreValue, b: ScoreValue) -> float:
    """Return how far two scores are apart: infinitely where only one exists, or one is not finite."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return max((_distance(a.get(name, 0.0), b.get(name, 0.0)) for name in {*a, *b}), default=0.0)
    if a is None or b is None or isinstance(a, Mapping) or isinstance(b, Mapping):
        return 0.0 if a is b else math.inf
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """A feature that is raised by `by` raises the score, or leaves it as it is; with `up=False` the reverse.

    Parameters
    ----------
    feature
        A number.
    limit
        Share of the requests that may go the other way, in [0, 1).
    requests
        Newest requests that are tried at most.
    """

    feature: str
    by: float
    up: bool = True
    limit: float = 0.0
    requests: int = 100
    from_log = True

    @property
    def name(self) -> str:
        """`direction FEATURE`."""
        return f"direction {self.feature}"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, by=(0.0, None), limit=(0.0, 1.0), requests=(1, None))
        if kind == "multiclass":
            yield "Direction is for one score: kind='multiclass' has several"
        if not isinstance(features.by_name.get(self.feature), Number):
            yield f"Direction: {self.feature!r} is not a number of the task"

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        rows = [each for each in material.requests if self.feature in each][-self.requests :]
        if not rows:
            return too_few(self.name, 0, 1)
        wrong = 0
        for row in rows:
            value: Any = row[self.feature]
            before: Any = material.score(row)
            after: Any = material.score(dict(row) | {self.feature: value + self.by})
            # A score that is missing or not finite is wrong as well.
            follows = None not in (before, after) and (after >= before if self.up else after <= before)
            wrong += not follows
        share = wrong / len(rows)
        word = "falls" if self.up else "rises"
        text = (
            f"the score {word} with {self.feature} in {share:.2%} of the requests, at most {self.limit:.2%}"
        )
        return Result(self.name, share <= self.limit, text, share, self.limit, len(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRange:
    """The model as it is gives each request of the window a finite score from `low` to `high`.

    Parameters
    ----------
    missing
        Share of the requests that may have no score, in [0, 1).
    """

    low: float = 0.0
    high: float = 1.0
    missing: float = 0.0
    from_log = True

    @property
    def name(self) -> str:
        """`score range`."""
        return "score range"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, low=(None, None), high=(None, None), missing=(0.0, 1.0))

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        scores = [material.score(each) for each in material.requests]
        if not scores:
            return too_few(self.name, 0, 1)
        absent = sum(each is None for each in scores) / len(scores)
        values = [
            value
            for each in scores
            if each is not None
            for value in (each.values() if isinstance(each, Mapping) else [each])
        ]
        outside = sum(not (math.isfinite(value) and self.low <= value <= self.high) for value in values)
        passed = outside == 0 and absent <= self.missing
        text = f"{outside:,} scores outside {self.low:g} to {self.high:g}, {absent:.2%} missing"
        return Result(self.name, passed, text, float(outside), 0.0, len(scores))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The newest state that a worker announced within the window equals one folded from the log.

    Parameters
    ----------
    entries
        Log offsets that are folded again at least: the fold starts from a snapshot at least that much older.
    """

    entries: int = 1000
    from_log = False

    @property
    def name(self) -> str:
        """`replay`."""
        return "replay"

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task."""
        yield from number_problems(self, entries=(1, None))

    def judge(self, material: Material) -> Result:
        """Return what it finds."""
        if not material.replayed:
            return too_few(self.name, 0, 1)
        wrong = [each for each in material.replayed if each.announced != each.folded]
        text = f"{len(material.replayed)} announced states folded again, {len(wrong)} differ"
        if wrong:
            text += f": {wrong[0].version} is {wrong[0].announced:.12}, the log gives {wrong[0].folded:.12}"
        return Result(self.name, not wrong, text, float(len(wrong)), 0.0, len(material.replayed))
