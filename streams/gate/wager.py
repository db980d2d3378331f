"""Evidence that may be looked at after every request: a betting e-process and an empirical Bernstein interval.

Both are valid at all times together and at every sample size; neither rests on a normal approximation.

- A wager bets fixed shares of its wealth on a number in [-1, 1] being positive. When its mean, given the past, is
  never above 0, the mean wealth exceeds 1 / alpha with a probability of at most alpha (Ville's inequality;
  Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", 2024).
- The interval is of the mean of the conditional means so far, which may change (Howard, Ramdas, McAuliffe and
  Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021, theorem 4, with 0 as each
  prediction; Choe and Ramdas, "Comparing sequential forecasters", 2023). Its boundary is that of a mixture over
  fixed bets.
"""

from __future__ import annotations

import math
from itertools import repeat
from typing import Final

BETS: Final = (0.05, 0.15, 0.4, 0.7, 0.95)
"""Shares of the wealth that are bet, with equal weight."""
B0, B1, B2, B3, B4 = BETS
TINY: Final = 1e-290
"""Wealth below this is raised to it, so that a long run of losses cannot end a bet for good. A billion times this
raises the chance of an error by 1e-281."""
MOST: Final = 1e200
"""Wealth above this is given away, which makes no error more likely."""
SLOPES: Final = (0.01, 0.015, 0.025, 0.04, 0.06, 0.1, 0.15, 0.25, 0.4, 0.6, 0.9)
COSTS: Final = tuple(-math.log1p(-slope) - slope for slope in SLOPES)
MANY: Final = math.log(len(SLOPES))
STEPS: Final = 60
"""Halvings of the search for a boundary."""


Stakes = tuple[float, float, float, float, float]
EVEN: Final[Stakes] = (1.0, 1.0, 1.0, 1.0, 1.0)


class Wager:
    """Wealth of bets on numbers in [-1, 1] being positive, and of the same bets on their being negative.

    Examples
    --------
    >>> wager = Wager()
    >>> for _ in range(100):
    ...     wager.take(0.1)
    >>> round(wager.positive), round(wager.negative, 2)
    (1932, 0.17)
    """

    __slots__ = ("down", "up")

    def __init__(self) -> None:
        self.up, self.down = EVEN, EVEN

    def take(self, *numbers: float) -> None:
        """Take numbers in [-1, 1], one after the other."""
        a, b, c, d, e = self.up
        f, g, h, i, j = self.down
        for x in numbers:
            p, q, r, s, t = B0 * x, B1 * x, B2 * x, B3 * x, B4 * x
            a += a * p
            b += b * q
            c += c * r
            d += d * s
            e += e * t
            f -= f * p
            g -= g * q
            h -= h * r
            i -= i * s
            j -= j * t
        self.up, self.down = (a, b, c, d, e), (f, g, h, i, j)

    def take_range(self, low: float, high: float) -> None:
        """Take a number of which only bounds are known: the bets on each side get the worse one."""
        down = self.down
        self.take(low)
        up, self.down = self.up, down
        self.take(high)
        self.up = up

    def bound(self) -> None:
        """Keep the wealth within what a float can hold: called now and then."""
        self.up, self.down = _bounded(self.up), _bounded(self.down)

    @property
    def positive(self) -> float:
        """E-value of the hypothesis that no mean is above 0: the mean wealth."""
        return sum(self.up) / len(BETS)

    @property
    def negative(self) -> float:
        """E-value of the hypothesis that no mean is below 0."""
        return sum(self.down) / len(BETS)

    def snapshot(self) -> list[list[float]]:
        """Return the state: plain data."""
        return [list(self.up), list(self.down)]

    def restore(self, state: list[list[float]]) -> None:
        """Take over a state that `snapshot` gave."""
        (a, b, c, d, e), (f, g, h, i, j) = state
        self.up, self.down = (a, b, c, d, e), (f, g, h, i, j)


def _bounded(stakes: Stakes) -> Stakes:
    if min(stakes) >= TINY and max(stakes) <= MOST:
        return stakes
    a, b, c, d, e = (min(max(each, TINY), MOST) for each in stakes)
    return a, b, c, d, e


def log_mixture(excess: float, squares: float) -> float:
    """Return the logarithm of the empirical Bernstein e-value.

    Parameters
    ----------
    excess
        Sum of the numbers, less the sum that the hypothesis allows.
    squares
        Sum of their squares.
    """
    terms = [_term(slope, cost, excess, squares) for slope, cost in zip(SLOPES, COSTS, strict=True)]
    most = max(terms)
    return most + math.log(sum(math.exp(each - most) for each in terms) / len(SLOPES))


def excludes(excess: float, squares: float, alpha: float) -> bool:
    """Whether the mean that would give this excess lies outside of an interval of level 1 - alpha."""
    needed = math.log(2.0 / alpha)
    most = max(map(_term, SLOPES, COSTS, repeat(excess), repeat(squares)))
    if most < needed:  # a mean is at most the largest
        return False
    return most >= needed + MANY or log_mixture(excess, squares) >= needed


def _term(slope: float, cost: float, excess: float, squares: float) -> float:
    return slope * excess - cost * squares


def interval(
    n: int, low: float, high: float, squares: tuple[float, float], alpha: float
) -> tuple[float, float]:
    """Return the bounds of the mean, within [-1, 1].

    Parameters
    ----------
    n
        How many numbers, 1 or more.
    low, high
        Sums of the smallest and of the largest number that each may be; equal where all are known.
    squares
        Sums of the squares of both.

    Examples
    --------
    >>> low, high = interval(1000, 100.0, 100.0, (30.0, 30.0), 0.05)
    >>> round(low, 3), round(high, 3)
    (0.078, 0.122)
    """
    return max(-1.0, (low - _reach(n, squares[0], alpha)) / n), min(
        1.0, (high + _reach(n, squares[1], alpha)) / n
    )


def _reach(n: int, squares: float, alpha: float) -> float:
    """Return the smallest excess that is excluded, to a part in 2^60 of the largest there can be."""
    below, above = 0.0, 2.0 * n + 1.0
    if not excludes(above, squares, alpha):
        return above
    for _ in range(STEPS):
        middle = (below + above) / 2.0
        if excludes(middle, squares, alpha):
            above = middle
        else:
            below = middle
    return above
