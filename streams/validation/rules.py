"""What a task file says about validations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from schemas.codec.checks import TaskKind
from schemas.dictionary import Dictionary
from streams.gate.gain import Gain
from streams.gate.rules import gain_of, loss_problems
from streams.validation.behaviour import Direction, Invariant, Replay, ScoreRange
from streams.validation.checks import BeatsBaseRate, BeatsEarlier, HeldBack, Loss

Check = Loss | BeatsBaseRate | BeatsEarlier | HeldBack | Invariant | Direction | ScoreRange | Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Checks that every model must pass, at each multiple of `every` log offsets.

    A model whose newest validation failed is not promoted.

    Parameters
    ----------
    checks
        See docs/how-to/validate-a-model.md.
    every
        Log offsets between two validations.
    window
        Log offsets before a validation whose requests and labels are looked at.
    loss, bounds, clip
        As of a `Gate`.
    """

    checks: tuple[Check, ...]
    every: int = 1000
    window: int = 5000
    loss: Literal["", "brier", "log_loss", "absolute_error"] = ""
    bounds: tuple[float, float] | None = None
    clip: float = 0.01

    def problems(self, kind: TaskKind, features: Dictionary) -> Iterator[str]:
        """Say what is wrong with it for a task, one sentence each."""
        yield from loss_problems(self, kind)
        for name in ("every", "window"):
            count: Any = getattr(self, name)
            if type(count) is not int or count < 1:
                yield f"{name}={count!r} must be a whole number of at least 1"
        checks: Any = self.checks
        kinds = get_args(Check)
        if not isinstance(checks, tuple) or not checks or not all(isinstance(each, kinds) for each in checks):
            known = ", ".join(each.__name__ for each in kinds)
            yield f"checks= must be a tuple of checks, which are {known}"
            return
        names = [each.name for each in self.checks]
        if len(set(names)) != len(names):
            yield f"two checks have the same name ({', '.join(names)})"
        for each in self.checks:
            yield from each.problems(kind, features)

    def gain(self, kind: TaskKind) -> Gain:
        """Return what computes the losses."""
        return gain_of(self, kind)

    @property
    def ago(self) -> int:
        """Log offsets back to the model that `BeatsEarlier` compares with; 0 without that check."""
        return next((each.ago * self.every for each in self.checks if isinstance(each, BeatsEarlier)), 0)

    @property
    def files(self) -> tuple[str, ...]:
        """The data files that are held back."""
        return tuple(each.file for each in self.checks if isinstance(each, HeldBack))

    @property
    def replay(self) -> int:
        """Log offsets that are folded again; 0 without a `Replay`."""
        return next((each.entries for each in self.checks if isinstance(each, Replay)), 0)

    @property
    def digest(self) -> str:
        """Digest of the configuration (16 hex digits): a verdict names it."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]
