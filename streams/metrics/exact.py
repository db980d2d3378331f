"""Sums of real numbers without rounding, for values without a bound.

A loss between 0 and 35 is summed as a float: taking a label back changes the last bits only. An outcome is any
number. After a wrong one of 1e12 was corrected, a float sum of squares would have lost all others; these have not.
"""

from __future__ import annotations

import math
from typing import Final

ONE: Final = 1 << 64
"""Fixed point: a sum is a whole number of 2^-64."""
_LIMIT: Final = 1e150


def exact(value: float) -> int:
    """Return a number in units of 2^-64: to the last bit from 2^-12 on, below that to 2^-64.

    Parameters
    ----------
    value
        Finite; a value beyond ±1e150 counts as that limit.

    Examples
    --------
    >>> squares = exact(1e24) + exact(1.0)
    >>> (squares - exact(1e24)) / ONE
    1.0
    """
    return int(min(max(value, -_LIMIT), _LIMIT) * float(ONE))


def mean(total: int, count: int) -> float:
    """Return the mean of a sum of `exact` numbers, correctly rounded; NaN of nothing."""
    return total / (count * ONE) if count else math.nan
