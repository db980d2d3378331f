"""How many requests came in an hour, against the same hour of earlier weeks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance
from typing import Any, Final

HOUR_MS: Final = 3_600_000
WEEK: Final = 168
KEPT: Final = 8
"""So many weeks are compared with."""
LEAST: Final = 4
"""With fewer weeks there is too little to judge."""


@dataclass(frozen=True, slots=True)
class Hour:
    """A finished hour of event time."""

    ts: int
    """Its start."""
    requests: int
    expected: float
    """Mean of the same hour in earlier weeks."""
    low: float
    high: float
    """Between these it lies, but for chance of the stated probability."""
    weeks: int
    """How many weeks it was compared with; below 4 it is too early to judge."""

    @property
    def odd(self) -> bool:
        """Whether it is out of the ordinary: by chance hardly, and by half or double."""
        return self.weeks >= LEAST and (
            (self.requests < self.low and self.requests < self.expected / 2)
            or (self.requests > self.high and self.requests > self.expected * 2)
        )


class Volume:
    """Counts requests by hour of event time, in order.

    Parameters
    ----------
    alpha
        Probability that an ordinary hour is called odd.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha
        self.hour: int | None = None
        """Hours since 1970 of the one that is counted."""
        self.requests = 0
        self.past: dict[int, list[int]] = {}
        """By hour of the week: the newest counts."""

    def add(self, ts: int, requests: int) -> list[Hour]:
        """Count requests of a time at or after the last; returns the hours that ended with that."""
        hour, ended = ts // HOUR_MS, []
        if self.hour is None:
            self.hour = hour
        # After a gap of months nothing is learned from the silence but that there was one.
        steps = min(hour - self.hour, WEEK)
        for _ in range(steps):
            ended.append(self._end(self.hour))
            self.hour += 1
        self.hour = max(self.hour, hour)
        self.requests += requests
        return ended

    def _end(self, hour: int) -> Hour:
        past = self.past.setdefault(hour % WEEK, [])
        expected = fmean(past) if past else 0.0
        low, high = self._bounds(past, expected) if len(past) >= LEAST else (0.0, math.inf)
        found = Hour(hour * HOUR_MS, self.requests, expected, low, high, len(past))
        past.append(self.requests)
        del past[:-KEPT]
        self.requests = 0
        return found

    def _bounds(self, past: list[int], expected: float) -> tuple[float, float]:
        # Between weeks counts vary by more than Poisson's law; with four of them it is not known by how much.
        spread = math.sqrt(max(variance(past), expected, 1.0) * (1 + 1 / len(past)))
        width = spread * student(self.alpha, len(past) - 1)
        return expected - width, expected + width

    def state(self) -> dict[str, Any]:
        """Return it as plain data."""
        past = {hour: list(counts) for hour, counts in self.past.items() if any(counts)}
        silent = {hour: len(counts) for hour, counts in self.past.items() if not any(counts)}
        return {"hour": self.hour, "requests": self.requests, "past": past, "silent": silent}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.hour, self.requests = state["hour"], state["requests"]
        self.past = {hour: list(counts) for hour, counts in state["past"].items()}
        self.past |= {hour: [0] * weeks for hour, weeks in state["silent"].items()}


def student(alpha: float, freedom: int) -> float:
    """Return what Student's t exceeds in absolute value with probability `alpha`.

    Hill, Algorithm 396: Student's t-quantiles, Communications of the ACM 13, 1970; for 3 degrees and more.

    Examples
    --------
    >>> round(student(0.05, 3), 2), round(student(0.001, 7), 2)
    (3.18, 5.41)
    """
    n = freedom
    a = 1 / (n - 0.5)
    b = 48 / (a * a)
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * alpha) ** (2 / n)
    if y > 0.05 + a:
        x = NormalDist().inv_cdf(alpha / 2)
        y = x * x
        if n < 5:
            c += 0.3 * (n - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (
            n + 1
        ) / (n + 2) + 1 / y
    return math.sqrt(n * y)
