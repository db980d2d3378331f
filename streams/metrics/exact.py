"""Sums of real numbers that do not depend on the order: added, taken back and merged without a trace."""

from __future__ import annotations

import math
from typing import Final

ONE: Final = 1 << 64
"""Fixed point: a sum is a whole number of 2^-64."""
_ONE: Final = float(ONE)
_LIMIT: Final = 1e150


def exact(value: float) -> int:
    """Return a number in units of 2^-64: to the last bit from 2^-12 on, below that to 2^-64.

    Parameters
    ----------
    value
        Finite; what lies beyond ±1e150 is taken for that.

    Examples
    --------
    >>> sum(map(exact, [0.1, 0.2, 0.3])) == sum(map(exact, [0.3, 0.2, 0.1]))
    True
    """
    return int(min(max(value, -_LIMIT), _LIMIT) * _ONE)


def mean(total: int, count: int) -> float:
    """Return the mean of a sum of `exact` numbers, correctly rounded; NaN of nothing."""
    return total / (count * ONE) if count else math.nan


def ratio(part: int, whole: int) -> float:
    """Return part / whole; NaN of nothing."""
    return part / whole if whole else math.nan
