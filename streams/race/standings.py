"""Losses of models on the same requests, in whole cohorts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

Sums = dict[tuple[str, ...], tuple[int, tuple[float, ...]]]
"""Of a cohort: by the models that scored a request, how many such requests and the sum of each model's losses."""


class Standings:
    """Sums of the losses by which models are compared: of each pair, on the requests that both have scored.

    Parameters
    ----------
    recent
        How many of the newest requests `recent_gain` and `recent_loss` are about.

    Examples
    --------
    >>> standings = Standings(recent=2)
    >>> standings.settle({("a", "b"): [(0.5, 0.1), (0.5, 0.2)]})
    >>> standings.settle({("a", "b"): [(0.1, 0.5), (0.2, 0.5)], ("a",): [(0.3,)]})
    >>> standings.gain("a", "b"), round(standings.recent_gain("a", "b"), 3), standings.n
    ((4, 0.0), -0.35, 5)
    """

    def __init__(self, recent: int) -> None:
        self.recent = recent
        self.pairs: dict[tuple[str, str], tuple[int, float]] = {}
        """Requests that both have scored, and the sum of the first one's losses less the second one's."""
        self.newest: deque[Sums] = deque()
        self.n = 0
        self._held = 0

    def settle(self, cohort: Mapping[tuple[str, ...], Iterable[tuple[float, ...]]]) -> None:
        """Take a cohort: by the models that scored, the losses of each of them on each request."""
        sums: Sums = {}
        for names in sorted(cohort):
            rows = list(cohort[names])
            totals = tuple(math.fsum(column) for column in zip(*rows, strict=True))
            sums[names] = len(rows), totals
            self.n += len(rows)
            for a, ours in zip(names, totals, strict=True):
                for b, other in zip(names, totals, strict=True):
                    if a != b:
                        n, total = self.pairs.get((a, b), (0, 0.0))
                        self.pairs[a, b] = n + len(rows), total + ours - other
        if sums:
            self.newest.append(sums)
            self._held += _size(sums)
            while self._held - _size(self.newest[0]) >= self.recent:
                self._held -= _size(self.newest.popleft())

    def gain(self, a: str, b: str) -> tuple[int, float]:
        """Return how many requests both have scored, and the mean gain of `b` over `a`; 0 without any."""
        n, total = self.pairs.get((a, b), (0, 0.0))
        return n, total / n if n else 0.0

    def recent_gain(self, a: str, b: str) -> float:
        """Return the mean gain of `b` over `a` on the newest requests."""
        found = [
            (n, totals[names.index(a)] - totals[names.index(b)])
            for sums in self.newest
            for names, (n, totals) in sums.items()
            if a in names and b in names
        ]
        return _mean(found)

    def recent_loss(self, model: str) -> float:
        """Return the mean loss of a model on the newest requests."""
        return _mean(
            [
                (n, totals[names.index(model)])
                for sums in self.newest
                for names, (n, totals) in sums.items()
                if model in names
            ]
        )

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        newest = [
            [[list(names), n, list(totals)] for names, (n, totals) in sums.items()] for sums in self.newest
        ]
        return [self.n, [[*pair, n, total] for pair, (n, total) in self.pairs.items()], newest]

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        self.n, pairs, newest = state
        self.pairs = {(a, b): (n, total) for a, b, n, total in pairs}
        self.newest = deque(
            {tuple(names): (n, tuple(totals)) for names, n, totals in sums} for sums in newest
        )
        self._held = sum(map(_size, self.newest))


def _size(sums: Sums) -> int:
    return sum(n for n, _ in sums.values())


def _mean(found: list[tuple[int, float]]) -> float:
    count = sum(n for n, _ in found)
    return math.fsum(total for _, total in found) / count if count else 0.0
