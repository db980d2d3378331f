"""Counts of the features' values, column by column: of one request as of a thousand, to the same bits.

The native core counts requests that it has scanned; sums are of the values one after the other, in both.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.dictionary import Boolean, Category, Feature
from schemas.records import Features, FeatureValue
from schemas.tally import FeatureTally
from streams.native import request_counts
from streams.quality import grid

FEW: Final = 24
"""Number of values below which plain Python is faster than numpy."""
Column = Sequence[FeatureValue | None]


class Columns:
    """Counts features.

    Parameters
    ----------
    features
        From the dictionary: those that are counted.

    Examples
    --------
    >>> from schemas.dictionary import Number
    >>> Columns([Number(name="price", low=0)]).count([{"price": 3.0}, {"price": -1.0}, {}])
    {'price': FeatureTally(bins={'3.0': 1, '-1.0': 1}, missing=1, outside=1, total=2.0)}
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        self._features = tuple(features)
        self._names = tuple(each.name for each in self._features)
        self._get: Any = itemgetter(*self._names) if len(self._names) > 1 else None
        self._texts: dict[int, _Texts] = {}
        self._numbers: dict[int, _Numbers] = {}
        for at, each in enumerate(self._features):
            if isinstance(each, Category | Boolean):
                self._texts[at] = _Texts(each)
            else:
                self._numbers[at] = _Numbers(each)
        numbers = self._numbers.values()
        self._low = np.array([each.low for each in numbers], dtype=np.float64)[:, None]
        self._high = np.array([each.high for each in numbers], dtype=np.float64)[:, None]
        bounds = [
            self._numbers[at].bounds if at in self._numbers else None for at in range(len(self._features))
        ]
        self._core = request_counts(bounds, grid.name)

    def count(self, rows: Sequence[Features]) -> dict[str, FeatureTally]:
        """Count the values of some requests, at least one.

        Parameters
        ----------
        rows
            Their canonical features.
        """
        columns = self._columns(rows)
        found = {at: each.count(columns[at]) for at, each in self._texts.items()}
        if len(rows) < FEW:
            found |= {at: each.few(columns[at]) for at, each in self._numbers.items()}
        elif self._numbers:
            # None becomes NaN
            found |= self._many(np.array([columns[at] for at in self._numbers], dtype=np.float64))
        return {name: found[at] for at, name in enumerate(self._names)}

    def count_requests(self, requests: Sequence[Any]) -> dict[str, FeatureTally]:
        """Count the values of some requests, at least one: records, or what the native core has scanned."""
        scanned = None if self._core is None else self._core.count(requests)
        if scanned is None:
            return self.count([each.features for each in requests])
        found = {}
        for at, (name, counts) in enumerate(zip(self._names, scanned, strict=True)):
            found[name] = self._texts[at].tally(counts) if at in self._texts else FeatureTally(*counts)
        return found

    def _columns(self, rows: Sequence[Features]) -> Sequence[Column]:
        try:
            if self._get is not None:
                return list(zip(*map(self._get, rows), strict=True))
        except KeyError:  # some value is missing
            pass
        return [[row.get(name) for row in rows] for name in self._names]

    def _many(self, values: NDArray[np.float64]) -> dict[int, FeatureTally]:
        """Count the numbers of all features at once; those with missing values among them each by itself."""
        edges = grid.edges(values)
        outside = np.count_nonzero((values < self._low) | (values > self._high), axis=1).tolist()
        found = {}
        totals = _total(values).tolist()
        for row, (at, each) in enumerate(self._numbers.items()):
            total = totals[row]
            if math.isnan(total) or each.stand_in is not None:
                found[at] = each.many(values[row])
            else:
                found[at] = FeatureTally(_bins(edges[row]), 0, outside[row], total)
        return found


class _Numbers:
    """Counts one feature's numbers."""

    def __init__(self, feature: Feature) -> None:
        low, high = getattr(feature, "low", None), getattr(feature, "high", None)
        stand_in: Any = feature.stand_in
        self.low = -math.inf if low is None else float(low)
        self.high = math.inf if high is None else float(high)
        self.stand_in = None if stand_in is None else float(stand_in)

    @property
    def bounds(self) -> tuple[float, float, float | None]:
        """For the native core."""
        return self.low, self.high, self.stand_in

    def few(self, column: Column) -> FeatureTally:
        bins: dict[str, int] = {}
        missing, outside, total = 0, 0, 0.0
        low, high, stand_in = self.low, self.high, self.stand_in
        for value in column:
            number = None if value is None else float(value)
            if number is None or number == stand_in:
                missing += 1
                continue
            outside += not low <= number <= high
            total += number
            key = grid.name(grid.edge(number))
            bins[key] = bins.get(key, 0) + 1
        return FeatureTally(bins, missing, outside, total)

    def many(self, numbers: NDArray[np.float64]) -> FeatureTally:
        present = numbers[~np.isnan(numbers)]
        if self.stand_in is not None:
            present = present[present != self.stand_in]
        outside = int(np.count_nonzero((present < self.low) | (present > self.high)))
        missing, total = len(numbers) - len(present), float(_total(present))
        return FeatureTally(_bins(grid.edges(present)), missing, outside, total)


def _total(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up the last dimension, one after the other; numpy's own sum adds up parts."""
    if not values.shape[-1]:
        return np.zeros(values.shape[:-1])
    total: NDArray[np.float64] = np.add.accumulate(values, axis=-1)[..., -1]
    return total + 0.0  # -0.0 + 0.0 is 0.0


def _bins(edges: NDArray[np.float64]) -> dict[str, int]:
    return {grid.name(edge): times for edge, times in Counter(edges.tolist()).items()}


class _Texts:
    """Counts one feature's texts, or its yes and no."""

    def __init__(self, feature: Feature) -> None:
        self._feature = feature
        self._secret = feature.personal_data != "none"
        self._stand_in = feature.stand_in

    def count(self, column: Column) -> FeatureTally:
        return self.tally({column[0]: 1} if len(column) == 1 else Counter(column))

    def tally(self, found: Mapping[FeatureValue | None, int]) -> FeatureTally:
        """Count by bin what was counted by value."""
        bins: dict[str, int] = {}
        missing = outside = 0
        for value, times in found.items():
            if value is None or value == self._stand_in:
                missing += times
                continue
            if isinstance(value, bool):
                key = "true" if value else "false"
            else:
                text = str(value)
                key = grid.bucket(text) if self._secret else grid.level(text)
                # Tokens are no levels: what they stand for was compared before, when the request was read.
                if not self._secret and self._feature.outlies(text):
                    outside += times
            bins[key] = bins.get(key, 0) + times
        return FeatureTally(bins, missing, outside, 0.0)
