"""How alarms are held against the drifts that were made.

As the evaluator that Cerqueira and others publish with CapyMOA: each drift has an episode, from the end of the one
before it to its own end plus the window; alarms in it from the drift on are true, others false; a drift without
a true alarm is missed. F1 counts alarms, recall counts drifts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

WINDOW: Final = 1_000
"""Events behind a drift's end in which it may be found."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a detector achieved on a stream."""

    f1: float
    recall: float
    """Share of drifts found."""
    delay: float | None
    """Median events from a drift's start to its first alarm; None when none was found."""
    false: int
    """False alarms."""


def match(places: Sequence[tuple[int, int]], alarms: Sequence[int], window: int = WINDOW) -> Match:
    """Hold alarms against drifts.

    Parameters
    ----------
    places
        First and last event of each drift, in order.
    alarms
        Events at which an alarm was raised, in order.
    window
        See `WINDOW`.

    Examples
    --------
    >>> match([(1000, 1000), (3000, 3000)], [1100, 2500])
    Match(f1=0.5, recall=0.5, delay=100, false=1)
    """
    since, true, false, delays = -1, 0, 0, []
    for start, end in places:
        mine = [each for each in alarms if since < each <= end + window]
        found = [each for each in mine if each >= start]
        true += len(found)
        false += len(mine) - len(found)
        delays += [found[0] - start] if found else []
        since = end + window
    false += sum(each > since for each in alarms)
    missed = len(places) - len(delays)
    precision = true / (true + false) if true + false else 0.0
    recall = true / (true + missed) if true + missed else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Match(f1, len(delays) / len(places), median(delays) if delays else None, false)
