"""How the quality of what comes in is judged: sizes, and the budget of false alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.errors import TaskError

SHARES: Final = 4
"""Tests of a feature in each window: its values, what is missing, outside, unseen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRules:
    """What a task may set about it.

    Parameters
    ----------
    reference
        Requests of which the reference is taken: the first ones.
    window
        Requests of which each judgement is made, at least.
    budget
        False alarms per event, shared out over all tests of all features.
    least
        With fewer values than this a feature is not judged: "too few" is an answer.
    block
        Requests whose mean is one number for ADWIN.
    grace_ms
        So much event time a minute stays open for counts of slower workers. What comes later counts in the
        minute that is open then.
    patience
        Windows without a finding after which an episode is closed.
    adopt
        Changed windows after which the features are the new reference: the
        episode is closed, and what comes next is compared with them.
    """

    reference: int = 2_000
    window: int = 500
    budget: float = 1e-5
    least: int = 100
    block: int = 32
    grace_ms: int = 60_000
    patience: int = 3
    adopt: int = 8

    def __post_init__(self) -> None:
        for name in ("reference", "window", "least", "block", "patience", "adopt"):
            number = getattr(self, name)
            if type(number) is not int or number < 1:
                raise TaskError(f"QualityRules({name}={number!r}) must be a whole number of at least 1")
        if not 0 < self.budget < 1:
            raise TaskError(f"QualityRules(budget={self.budget!r}) must lie between 0 and 1")
        if self.grace_ms < 0:
            raise TaskError(f"QualityRules(grace_ms={self.grace_ms!r}) must not be negative")

    @property
    def kept(self) -> int:
        """Windows that make up a reference."""
        return -(-self.reference // self.window)

    def alpha(self, features: int) -> float:
        """Return the probability of a false alarm that each test of a window may have."""
        return min(0.01, self.budget * self.window / (SHARES * features + 1))

    def delta(self, features: int) -> float:
        """Return the confidence of the features' ADWINs: River's default, shared out."""
        return 0.002 / features
