"""Ways to decide that a challenger has won, each looked at after every request."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from streams.gate.rules import Gate
from streams.gate.wager import BETS, COSTS, SLOPES

Column = np.ndarray[Any, Any]
ALPHA: Final = 0.05
Z: Final = 1.96
FIRST: Final = 30
"""Requests before the usual methods are looked at."""
Method = Callable[[Column, Column], int | None]
"""From the losses of the model that answers and of the challenger: requests until it is promoted; None: never."""


def log_wealth(gains: Column) -> Column:
    """Return the logarithm of the wealth of `streams.gate.wager.Wager` after each gain."""
    return _log_mean(np.cumsum(np.log1p(np.array(BETS)[:, None] * gains), axis=1))


def log_bernstein(gains: Column) -> Column:
    """Return `streams.gate.wager.log_mixture` after each gain."""
    slopes, costs = np.array(SLOPES)[:, None], np.array(COSTS)[:, None]
    return _log_mean(slopes * np.cumsum(gains) - costs * np.cumsum(gains * gains))


def _log_mean(logs: Column) -> Column:
    most = logs.max(axis=0)
    return np.asarray(most + np.log(np.exp(logs - most).mean(axis=0)))


def _first(promoted: Column, least: int) -> int | None:
    found = np.flatnonzero(promoted[least - 1 :])
    return int(found[0]) + least if len(found) else None


def gate(ours: Column, other: Column) -> int | None:
    """The verdict of `PairTest`, of the first test of a single challenger."""
    rules = Gate()
    alpha, gains = rules.alpha / 2, ours - other
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    n = np.arange(1, len(gains) + 1)
    recent = sums[n] - sums[np.maximum(0, n - rules.recent)] > 0
    shown = (log_wealth(gains) >= -math.log(alpha)) & (log_bernstein(gains) >= math.log(2 / alpha))
    return _first(shown & recent, rules.least)


def _mean_and_error(numbers: Column) -> tuple[Column, Column]:
    n = np.arange(1, len(numbers) + 1)
    means = np.cumsum(numbers) / n
    variances = np.maximum(np.cumsum(numbers * numbers) / n - means * means, 0.0)
    return means, np.sqrt(variances / n)


def z_test(ours: Column, other: Column) -> int | None:
    """The mean gain is above 0 by 1.96 standard errors."""
    mean, error = _mean_and_error(ours - other)
    return _first(mean > Z * error, FIRST)


def lower_bounds(ours: Column, other: Column) -> int | None:
    """Mean and 95 % lower bound of 1 - loss are both higher."""
    a, a_error = _mean_and_error(1.0 - ours)
    b, b_error = _mean_and_error(1.0 - other)
    return _first((b > a) & (b - Z * b_error > a - Z * a_error), FIRST)


def asymptotic(tight: int) -> Method:
    """Return an asymptotic confidence sequence, tightest at a number of requests; see `ShadowComparison`."""
    rho = math.sqrt((-2 * math.log(ALPHA) + math.log(1 - 2 * math.log(ALPHA))) / tight)

    def method(ours: Column, other: Column) -> int | None:
        mean, error = _mean_and_error(ours - other)
        n = np.arange(1, len(mean) + 1)
        spread = n * rho * rho + 1
        half = error * np.sqrt(n) * np.sqrt(2 * spread / (n * rho) ** 2 * np.log(np.sqrt(spread) / ALPHA))
        return _first(mean > half, FIRST)

    return method


METHODS: Final[Mapping[str, Method]] = {
    "gate": gate,
    "mean and 95 % lower bound": lower_bounds,
    "z-test": z_test,
    "asymptotic sequence, 500": asymptotic(500),
    "asymptotic sequence, 5,000": asymptotic(5000),
}


def false_promotions(method: Method, ours: Column, other: Column, runs: int, seed: int = 1) -> float:
    """Return the share of runs that promote, where a coin has swapped the roles at each request.

    So neither model is better than the other.
    """
    draw, promoted = np.random.default_rng(seed), 0
    for _ in range(runs):
        swapped = draw.random(len(ours)) < 0.5
        promoted += method(np.where(swapped, other, ours), np.where(swapped, ours, other)) is not None
    return promoted / runs
