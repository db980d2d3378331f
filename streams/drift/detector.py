"""What finds a change in a stream of numbers: one protocol, whoever wrote the detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from schemas.alert import Evidence

Direction = Literal["up", "down"]
Worse = Literal["up", "down", "both"]
"""Which way of going is bad: the other way never alarms."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change for the worse."""

    direction: Direction
    evidence: Evidence


class Detector(Protocol):
    """Takes one number after another and says when they have changed for the worse.

    It is part of a fold: what it says depends on the numbers alone, and `restore` goes on as if there had been
    no break.
    """

    def update(self, value: float) -> Change | None:
        """Take the next number."""

    @property
    def level(self) -> tuple[float, int] | None:
        """The mean since the last change, in the numbers' unit, and how many it rests on; None before any."""

    def snapshot(self) -> Any:
        """Return the state: plain data and River's own objects."""

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""


class Recovery:
    """Tells what gets worse from what gets better again.

    Parameters
    ----------
    worse
        Which way of going is bad. With `both`, going back within the hush after an alarm is a recovery: the
        stream was one episode and not two.
    hush
        How many numbers after an alarm a change the other way counts as its recovery.
    """

    def __init__(self, worse: Worse, hush: int) -> None:
        self.worse, self.hush = worse, hush
        self._last: Direction | None = None
        self._left = 0

    def step(self, count: int = 1) -> None:
        """Count numbers."""
        if self._left:
            self._left = max(self._left - count, 0)

    def is_worse(self, direction: Direction) -> bool:
        """Whether that way of going is bad."""
        return self.worse in {"both", direction}

    def alarms(self, direction: Direction) -> bool:
        """Whether a change that way, now, is for the worse and no recovery; an alarm starts the hush."""
        if self.worse != "both":
            return direction == self.worse
        if self._left and direction != self._last:
            self._left = 0
            return False
        self._last, self._left = direction, self.hush
        return True

    def snapshot(self) -> Any:
        """See `Detector.snapshot`."""
        return self._last, self._left

    def restore(self, state: Any) -> None:
        """See `Detector.restore`."""
        self._last, self._left = state
