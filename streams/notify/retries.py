"""When a delivery that failed is tried again."""

from __future__ import annotations

from typing import Final

SCHEDULE_S: Final = (1.0, 5.0, 30.0, 120.0, 300.0, 900.0)
"""Waits between the attempts at one event; the last one repeats, without end."""
SHARE: Final = 0.2
"""Part of a wait that is drawn, so that receivers that come back are not called by all at once."""


def delay(failures: int, drawn: float, asked_s: float = 0.0) -> float:
    """Return how long to wait, s.

    Parameters
    ----------
    failures
        Attempts that have failed, 1 or more.
    drawn
        A random number in [0, 1).
    asked_s
        What the receiver asks for in `retry-after`; longer than the last wait is not obeyed.

    Examples
    --------
    >>> delay(1, 0.0), delay(2, 0.5), delay(100, 0.0), delay(1, 0.0, 60.0), delay(1, 0.0, 1e9)
    (1.0, 5.5, 900.0, 60.0, 900.0)
    """
    wait = SCHEDULE_S[min(failures, len(SCHEDULE_S)) - 1]
    return max(wait * (1 + SHARE * drawn), min(asked_s, SCHEDULE_S[-1]))
