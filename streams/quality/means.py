"""One ADWIN per numeric feature, fed with the mean places of blocks of requests."""

from __future__ import annotations

from typing import Any, Final

from river.drift import ADWIN

from schemas.alert import Evidence
from streams.quality.judge import Finding
from streams.quality.reference import Reference
from streams.quality.tally import Counts

LEAST_SHIFT: Final = 0.1
"""A mean place that far from the reference's 0.5 is worth an alarm: a value now lies above one of then in 60 %
of all pairs, or in 40 %."""
CLOCK: Final = 2
"""Blocks between two tests."""


class MeanWatch:
    """Watches where a feature's values lie among those of its reference.

    ADWIN (Bifet and Gavalda, SDM 2007) wants numbers in [0, 1], and one outlier must not move them: so it is fed
    with mean ridits, 0.5 for the reference itself. It alarms only on the way away from the reference; the way
    back is recovery.

    Parameters
    ----------
    delta
        Confidence of its tests.
    block
        Values whose mean is one number.
    """

    def __init__(self, delta: float, block: int) -> None:
        self.delta, self.block = delta, block
        self.adwin = ADWIN(delta, clock=CLOCK)
        self.places = 0.0
        self.values = 0
        self._of: Reference | None = None
        self._places: list[float] = []

    def update(self, reference: Reference, counts: Counts) -> Finding | None:
        """Take the counts of the next minute; returns a finding when the mean has moved away."""
        if self._of is not reference:
            self._of, self._places = reference, reference.places
        found = reference.coarse(counts.bins)
        self.places += sum(count * place for count, place in zip(found, self._places, strict=True))
        self.values += sum(found)
        if self.values < self.block:
            return None
        mean = self.places / self.values
        self.places, self.values = 0.0, 0
        before, width = self.adwin.estimation, int(self.adwin.width)
        self.adwin.update(mean)
        if not self.adwin.drift_detected:
            return None
        after = self.adwin.estimation
        if abs(after - 0.5) < LEAST_SHIFT or abs(after - 0.5) < abs(before - 0.5):
            return None
        evidence = Evidence(
            f"ADWIN(delta={self.delta:.2g})",
            "shift of the mean place among the reference's values",
            abs(after - 0.5),
            LEAST_SHIFT,
            0.5,
            width * self.block,
            after,
            int(self.adwin.width) * self.block,
        )
        name, way = reference.feature.name, "up" if after > 0.5 else "down"
        text = f"{name} went {way}: a current value exceeds one of the reference in {after:.0%} of all pairs"
        return Finding(name, "mean", "info", "up" if after > 0.5 else "down", evidence, text)

    def state(self) -> list[Any]:
        """Return the state: plain data and River's ADWIN."""
        return [self.adwin, self.places, self.values]

    def restore(self, state: list[Any]) -> None:
        """Take over what `state` gave."""
        self.adwin, self.places, self.values = state
