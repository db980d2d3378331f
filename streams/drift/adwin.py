"""Directional ADWIN: the default detector.

Bifet and Gavalda, "Learning from Time-Changing Data with Adaptive Windowing" (SDM 2007), as River has it, used in
one direction: what gets better is no alarm. On streams without drift that leaves a sixth of the false alarms.
"""

from __future__ import annotations

import math
from typing import Any, Final

from river import drift

from schemas.records import Evidence
from streams.drift.detector import Change, Direction, Recovery, Worse

CLOCK: Final = 8
"""Numbers between two tests: River's default of 32 finds the same, some 30 events later."""
HUSH: Final = 1_000


class DirectionalAdwin:
    """ADWIN that alarms only for the worse.

    Parameters
    ----------
    delta
        Confidence of each test, in (0, 1): the smaller, the fewer false alarms. `streams.drift.budget` says how
        many a delta costs.
    worse
        Which way of going is bad.
    clock
        Numbers between two tests, 1 or more.
    hush
        See `Recovery`.
    span
        ADWIN's bound is for numbers in a range of 1; they are divided by this first. Nothing is cut off: a few
        numbers beyond the span cost some false alarms, many cost many.

    Examples
    --------
    >>> import random
    >>> rng = random.Random(1)
    >>> detector = DirectionalAdwin(0.002, "up")
    >>> for number in range(4000):
    ...     change = detector.update(rng.random() < (0.1 if number < 2000 or number > 3000 else 0.3))
    ...     if change:
    ...         print(number, change.direction, round(change.evidence.recent, 2))
    2095 up 0.33
    """

    def __init__(
        self,
        delta: float,
        worse: Worse = "up",
        *,
        clock: int = CLOCK,
        hush: int = HUSH,
        span: float = 1.0,
    ) -> None:
        self.delta, self.worse, self.clock = delta, worse, clock
        self.span = span
        self._recovery = Recovery(worse, hush)
        self._adwin = drift.ADWIN(delta=delta, clock=clock)
        self._to_test = clock

    def __repr__(self) -> str:
        return f"DirectionalAdwin(delta={self.delta:.2g}, worse={self.worse!r}, clock={self.clock})"

    def update(self, value: float) -> Change | None:
        """See `Detector.update`."""
        adwin, scaled = self._adwin, value / self.span
        self._recovery.step()
        self._to_test -= 1
        if self._to_test:
            adwin.update(scaled)
            return None
        self._to_test = self.clock
        width, total, variance = adwin.width, adwin.total, adwin.variance
        adwin.update(scaled)
        if not adwin.drift_detected:
            return None
        width, total = width + 1, total + scaled
        recent_count, recent_total = int(adwin.width), adwin.total
        count = int(width) - recent_count
        reference, recent = (total - recent_total) / count, recent_total / recent_count
        direction: Direction = "up" if recent > reference else "down"
        self._adwin = drift.ADWIN(delta=self.delta, clock=self.clock)
        if not self._recovery.alarms(direction):
            return None
        span = self.span
        return Change(
            direction,
            Evidence(
                repr(self),
                "difference of means",
                span * abs(recent - reference),
                span * cut(self.delta, width, count, recent_count, variance),
                span * reference,
                count,
                span * recent,
                recent_count,
            ),
        )

    def snapshot(self) -> Any:
        """See `Detector.snapshot`."""
        return self._adwin, self._to_test, self._recovery.snapshot()

    def restore(self, state: Any) -> None:
        """See `Detector.restore`."""
        self._adwin, self._to_test, recovery = state
        self._recovery.restore(recovery)


def cut(delta: float, width: float, before: int, after: int, variance: float) -> float:
    """Give the difference of means, in units of the range, that ADWIN takes for a change (its epsilon-cut).

    Parameters
    ----------
    delta
        See `DirectionalAdwin`.
    width
        Numbers in the whole window.
    before, after
        Numbers in its two parts.
    variance
        Of the whole window.
    """
    share = 1 / before + 1 / after
    log = math.log(2 * math.log(max(width, 3)) / delta)
    return math.sqrt(2 * share * variance * log) + 2 / 3 * share * log
