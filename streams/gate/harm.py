"""Guardrails of one test: one-sided tests of harm, each with its part of their budget of errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from streams.gate.decision import Harm
from streams.gate.rules import Guardrail
from streams.gate.wager import Wager

LEVELS: Final = 20
"""Levels of a segment that are followed, the first to appear; the others together are one more."""
OTHER: Final = "other"


class HarmTest:
    """Tests whether a limit is broken.

    A broken guardrail stays so. A signal is tested in blocks, and is over when two blocks in a row keep the limit.

    Parameters
    ----------
    alpha
        Chance of a false alarm; of a signal in one block.
    block
        Requests of a block.
    """

    def __init__(self, rule: Guardrail, alpha: float, block: int) -> None:
        self.rule, self.block = rule, block
        tests = {"calibration": 2, "segment": LEVELS + 1}.get(rule.watch, 1)
        self.threshold = tests / alpha
        self.wagers: dict[str, Wager] = {}
        self.taken = 0
        self.broken = False
        self.before = False
        """Whether a signal's block before was broken."""

    def take(self, ours: Any, other: Any, label: Any, gain: float, level: str) -> None:
        """Take a request.

        Parameters
        ----------
        ours, other
            Scores of the model that answers and of the challenger.
        label
            None: unknown.
        gain
            The challenger's gain, where there is a label.
        """
        watch, limit = self.rule.watch, self.rule.limit
        self.taken += 1
        if watch == "missing":
            self._bet("", (other is None) - (ours is None) - limit)
        elif watch == "scores":
            if ours is not None and other is not None:
                self._bet("", abs(ours - other) - limit)
        elif label is None:
            return
        elif watch == "segment":
            if level not in self.wagers and len(self.wagers) >= LEVELS:
                level = OTHER
            self._bet(level, -gain - limit)
        elif other is not None:
            self._bet("too high", other - label - limit)
            self._bet("too low", label - other - limit)

    def _bet(self, level: str, excess: float) -> None:
        wager = self.wagers.get(level)
        if wager is None:
            wager = self.wagers[level] = Wager()
        wager.take(excess / (1.0 + self.rule.limit))

    def settle(self) -> None:
        """Judge, at the end of a cohort."""
        for wager in self.wagers.values():
            wager.bound()
        broken = any(wager.positive >= self.threshold for wager in self.wagers.values())
        self.broken = self.broken or broken
        if self.rule.kind == "signal" and self.taken >= self.block:
            self.before, self.broken, self.taken, self.wagers = self.broken, False, 0, {}

    @property
    def alarmed(self) -> bool:
        """Whether it is broken now."""
        return self.broken or self.before

    def found(self) -> Harm:
        """Return it as evidence."""
        worst = max(self.wagers, key=lambda level: self.wagers[level].positive, default="")
        e_value = self.wagers[worst].positive if self.wagers else 1.0
        return Harm(self.rule.name, e_value, self.threshold, self.alarmed, worst)

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        wagers = {level: each.snapshot() for level, each in self.wagers.items()}
        return [wagers, self.taken, self.broken, self.before]

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        wagers, self.taken, self.broken, self.before = state
        self.wagers = {}
        for level, each in wagers.items():
            self.wagers[level] = Wager()
            self.wagers[level].restore(each)


def names(harms: Iterable[HarmTest]) -> str:
    """Return the names of those that are broken."""
    return ", ".join(each.rule.name for each in harms if each.alarmed)
