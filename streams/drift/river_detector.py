"""Any of River's drift detectors behind our protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from river import base, drift

from schemas.alert import Evidence
from streams.drift.detector import Change, Direction, Recovery, Worse
from streams.failures import describe, is_own

FAST: Final = 1 / 100
SLOW: Final = 1 / 2_000


class RiverDetector:
    """A detector of River's: it says when, and two running means say in which direction.

    Parameters
    ----------
    make
        A class of `river.drift` or `river.drift.binary`, or a function that makes a detector.

    Examples
    --------
    >>> from river import drift
    >>> detector = RiverDetector(drift.PageHinkley, {"threshold": 20}, "up", 1000)
    >>> found = [n for n in range(2000) if detector.update(float(n % 10 < (1 if n < 1000 else 5)))]
    >>> found[0]
    1050
    """

    def __init__(
        self,
        make: Callable[..., Any],
        parameters: Mapping[str, Any],
        worse: Worse,
        hush: int,
        span: float = 1.0,
    ) -> None:
        settings = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
        self._name = f"{make.__name__}({settings})"
        self._detector = make(**parameters)
        self._span = span
        self.takes_errors = isinstance(
            self._detector, base.BinaryDriftDetector | base.BinaryDriftAndWarningDetector
        )
        # As documented it takes errors, and alarms when their mean falls (River 0.26): it wants hits.
        self._hits = isinstance(self._detector, drift.binary.FHDDM)
        self._recovery = Recovery(worse, hush)
        self._fast = self._slow = 0.0
        self._seen = 0
        self.failure = ""
        """What it raised: a detector that fails once finds nothing any more; its means go on."""

    def __repr__(self) -> str:
        return self._name

    def update(self, value: float) -> Change | None:
        """See `Detector.update`."""
        self._seen += 1
        self._fast += (value - self._fast) * max(FAST, 1 / self._seen)
        self._slow += (value - self._slow) * max(SLOW, 1 / self._seen)
        self._recovery.step()
        if self.failure or not self._drifted(value):
            return None
        direction: Direction = "up" if self._fast >= self._slow else "down"
        slow, seen = self._slow, self._seen
        self._slow, self._seen = self._fast, min(seen, round(1 / FAST))
        if not self._recovery.alarms(direction):
            return None
        kept = self._seen
        return Change(
            direction,
            Evidence(self._name, "its own", None, None, slow, seen - kept, self._fast, kept),
        )

    def _drifted(self, value: float) -> bool:
        try:
            if self.takes_errors:
                self._detector.update((value == 0) if self._hits else bool(value))
            else:
                self._detector.update(value / self._span)
            return bool(self._detector.drift_detected)
        except BaseException as error:
            if not is_own(error):
                raise
            # What it has half taken in is of no use, and the next number would be no better.
            self.failure, self._detector = describe(error), None
            return False

    @property
    def level(self) -> tuple[float, int] | None:
        """See `Detector.level`: the fast one of the two means."""
        return (self._fast, min(self._seen, round(1 / FAST))) if self._seen else None

    def snapshot(self) -> Any:
        """See `Detector.snapshot`."""
        return self._detector, self._fast, self._slow, self._seen, self._recovery.snapshot(), self.failure

    def restore(self, state: Any) -> None:
        """See `Detector.restore`."""
        self._detector, self._fast, self._slow, self._seen, recovery, self.failure = state
        self._recovery.restore(recovery)
