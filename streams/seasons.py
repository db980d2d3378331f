"""The same season a year ago: what comes back each year has not moved."""

from __future__ import annotations

from typing import Final

YEAR_MS: Final = 31_556_952_000
"""A mean year of the Gregorian calendar."""
MONTH_MS: Final = YEAR_MS // 12
KEPT: Final = 14
"""Months that are kept: a year, and one on each side of the season."""


def month(ts: int) -> int:
    """Give the number of the month, a twelfth of a year, of an event time (ms)."""
    return ts // MONTH_MS


def year_ago(ts: int) -> tuple[int, int]:
    """Give the months around the moment a year before an event time (ms): its own and the nearer neighbour.

    Examples
    --------
    >>> year_ago(20 * MONTH_MS + 1), year_ago(21 * MONTH_MS - 1)
    ((8, 7), (8, 9))
    """
    then = ts - YEAR_MS
    return month(then), month(then) + (1 if then % MONTH_MS >= MONTH_MS // 2 else -1)
