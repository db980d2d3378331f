"""How many false alarms a task allows, split over what is watched.

The rate at which directional ADWIN (clock 8) alarms on streams without drift was measured (`riverloop
drift-bench`: calibrated scores at 0.5 to 30 % positives, their errors, labels and excess log loss): below
3e-4 times delta per event, for delta from 0.002 to 0.05, in one direction.
"""

from __future__ import annotations

from typing import Final

from streams.drift.detector import Worse

PER_DELTA: Final = 3e-4
"""False alarms per event and direction, over delta."""
SMALLEST, LARGEST = 1e-6, 0.05


def delta(rate: float, worse: Worse) -> float:
    """Give the delta that keeps a detector below a rate.

    Parameters
    ----------
    rate
        False alarms per event that this detector may raise.
    worse
        Its direction; one that alarms both ways has half the rate for each.

    Examples
    --------
    >>> delta(3e-6, "up")
    0.01
    >>> delta(3e-6, "both")
    0.005
    """
    each = rate / 2 if worse == "both" else rate
    return min(max(round(each / PER_DELTA, 9), SMALLEST), LARGEST)


def share(per_events: int, watches: int) -> float:
    """Give the false alarms per event that each of several detectors may raise.

    Parameters
    ----------
    per_events
        The task allows one false alarm in so many events.
    watches
        How many detectors share it. Alarms of one cause join one episode, so there are rather fewer.
    """
    return 1 / per_events / max(watches, 1)
