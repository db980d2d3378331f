"""How many false alarms a task allows, split over what is watched.

The rates at which directional ADWIN alarms on streams without drift were measured on calibrated scores at 0.5 to
30 % positives, a million and a half events each: on yes-or-no signals below 2.2e-4 times delta per event and
direction, on excess log loss, which has a longer tail, below 5e-4 times delta. What the whole set comes
to: `python -m tests.benchmarks.drift`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from streams.drift.detector import Worse

LONG_TAIL: Final = 5e-4
"""False alarms per event and direction, over delta, of excess log loss."""
BOUNDED: Final = 2.2e-4
"""The same, of the other signals."""
SMALLEST, LARGEST = 1e-6, 0.05
WEIGHTS: Final[Mapping[str, float]] = {
    "excess_log_loss": 3.0,
    "error": 12.0,
    "label_mean": 1.0,
    "score_mean": 1.0,
    "delay": 1.0,
}
"""Shares of the budget. The error has two thirds: with balanced classes it finds the most."""
OF_THE_TASK: Final = frozenset({"label_mean", "delay"})
"""Signals that are watched once, not once per model (the label mean once per policy)."""


def delta(signal: str, rate: float, worse: Worse) -> float:
    """Return the delta that keeps a directional ADWIN below a rate.

    Parameters
    ----------
    signal
        Which signal it watches.
    rate
        False alarms per event that it may raise.
    worse
        Its direction; one that alarms both ways has half the rate for each.

    Examples
    --------
    >>> delta("error", 4.4e-6, "up")
    0.02
    >>> delta("label_mean", 4.4e-6, "both")
    0.01
    """
    each = rate / 2 if worse == "both" else rate
    per_delta = LONG_TAIL if signal == "excess_log_loss" else BOUNDED
    return min(max(round(each / per_delta, 9), SMALLEST), LARGEST)


class Share:
    """A task's budget of false alarms, split over its detectors.

    Alarms of one cause join one episode, so there are rather fewer false episodes than the budget allows.

    Parameters
    ----------
    one_in
        Events per false alarm that the task allows.
    signals
        What is watched.
    models
        How many models have those signals.

    Examples
    --------
    >>> share = Share(100_000, ["excess_log_loss", "error", "label_mean", "score_mean", "delay"], 1)
    >>> share.of("error") * 100_000
    0.6666666666666667
    """

    def __init__(self, one_in: int, signals: Sequence[str], models: int) -> None:
        times = {name: 1 if name in OF_THE_TASK else models for name in signals}
        self._each = 1 / one_in / (sum(WEIGHTS[name] * times[name] for name in times) or 1.0)

    def of(self, signal: str) -> float:
        """Return the false alarms per event that one detector of a signal may raise."""
        return WEIGHTS[signal] * self._each
