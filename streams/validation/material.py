"""What the checks of a validation look at, and what they give."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

from schemas.codec.checks import TaskKind
from schemas.records import Features, ScoreValue, Value
from streams.gate.gain import Gain


class Labelled(NamedTuple):
    """A request with its label, and the score that the model gave when it was answered."""

    features: Features
    score: ScoreValue
    label: Value


class Compared(NamedTuple):
    """A labelled request with the score of another state beside the model's own."""

    other: ScoreValue
    own: ScoreValue
    label: Value


class Replayed(NamedTuple):
    """A state that a worker announced, and the one that the log gives."""

    version: str
    announced: str
    """Digest of the worker's state."""
    folded: str
    """Digest of a state that was folded from the log."""


@dataclass(frozen=True, slots=True)
class Material:
    """What the checks of one model look at, at one log offset."""

    kind: TaskKind
    gain: Gain
    """Computes losses."""
    score: Callable[[Features], ScoreValue]
    """The model as it is at the offset."""
    requests: Sequence[Features] = ()
    """Of the window, in the order of the log."""
    labelled: Sequence[Labelled] = ()
    """Of the window: those that the revision has scored."""
    compared: Sequence[Compared] = ()
    """Requests that were made since an earlier state of the model that answered then, whose scores are `other`."""
    held_back: Mapping[str, Sequence[Labelled]] = field(default_factory=dict)
    """By file: its labelled rows, with the scores of the model as it is."""
    replayed: Sequence[Replayed] = ()

    def loss(self, rows: Sequence[Labelled]) -> float:
        """Return the mean loss."""
        return fmean(self.gain.loss_of(each.score, each.label) for each in rows)


@dataclass(frozen=True, slots=True)
class Result:
    """What a check found."""

    name: str
    passed: bool
    """True as well where too little was there to judge."""
    text: str
    """A sentence."""
    value: float | None = None
    limit: float | None = None
    count: int = 0
    """Requests, rows or states that it rests on."""
    judged: bool = True

    def data(self) -> dict[str, Any]:
        """Return it as plain data, numbers to six digits."""
        numbers = {name: _short(getattr(self, name)) for name in ("value", "limit")}
        return {
            "name": self.name,
            "passed": self.passed,
            "text": self.text,
            "count": self.count,
            "judged": self.judged,
            **numbers,
        }


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def too_few(name: str, count: int, least: int) -> Result:
    """Return the result of a check that has too little to judge."""
    return Result(name, True, f"not judged: {count:,} of {least:,} needed", count=count, judged=False)


def number_problems(check: Any, **bounds: tuple[Any, Any]) -> Iterator[str]:
    """Say which settings are no numbers in their bounds; whole ones are bounded by whole numbers."""
    for name, (low, high) in bounds.items():
        value = getattr(check, name)
        types = (int,) if type(low) is int else (int, float)
        fits = type(value) in types and math.isfinite(value)
        if not fits or (low is not None and value < low) or (high is not None and value > high):
            most = "" if high is None else f" to {high:g}"
            least = "a finite number" if low is None else f"a number from {low:g}{most}"
            yield f"{type(check).__name__}({name}={value!r}) must be {least}"
