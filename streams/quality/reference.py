"""What a feature was like when its reference was taken, and the coarse bins that follow from it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from schemas.dictionary import Boolean, Category, Feature
from schemas.tally import FeatureTally
from streams.quality.tally import Counts

BINS: Final = 10
"""A number's range is cut into about this many bins of equal share; a value that is frequent gets its own."""
MAX_NAMED: Final = 1000
"""Levels that a reference tells apart when it is asked what is unseen."""
LEAST_SHARE: Final = 0.02
"""Levels below it are compared together: alone they are too few to judge."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One feature's reference.

    Parameters
    ----------
    feature
        From the dictionary.
    counts
        Of the reference window.
    """

    feature: Feature
    counts: FeatureTally
    cuts: tuple[float, ...] = ()
    """Numbers: the lower edge of each coarse bin but the first."""
    levels: tuple[str, ...] = ()
    """Texts: the bins that are compared one by one; all others make up the last."""

    @classmethod
    def of(cls, feature: Feature, counts: Counts) -> Reference:
        """Take a reference."""
        record = counts.record()
        if isinstance(feature, Category | Boolean):
            most = sorted(record.bins.items(), key=lambda each: (-each[1], each[0]))
            kept = FeatureTally(dict(most[:MAX_NAMED]), record.missing, record.outside, record.total)
            least = LEAST_SHARE * counts.present
            named = tuple(sorted(key for key, count in most if count >= least))
            return cls(feature, kept, levels=named)
        return cls(feature, record, cuts=_cuts(record.bins))

    @property
    def present(self) -> int:
        """Requests of the reference that had a value."""
        return sum(self.counts.bins.values())

    @property
    def numeric(self) -> bool:
        """Whether its bins have an order."""
        return not isinstance(self.feature, Category | Boolean)

    def coarse(self, bins: Mapping[str, int]) -> list[int]:
        """Return counts by coarse bin."""
        if self.numeric:
            found = [0] * (len(self.cuts) + 1)
            for key, count in bins.items():
                found[bisect_right(self.cuts, float(key))] += count
            return found
        found = [0] * (len(self.levels) + 1)
        place = {key: at for at, key in enumerate(self.levels)}
        for key, count in bins.items():
            found[place.get(key, -1)] += count
        return found

    def unseen(self, bins: Mapping[str, int]) -> int:
        """Return how many values lie in bins that the reference had none of."""
        known = self.counts.bins
        return sum(count for key, count in bins.items() if key not in known)

    @property
    def places(self) -> list[float]:
        """Each coarse bin's mean place among the values of the reference, 0 to 1.

        Ridits (Bross, Biometrics 14, 1958): the share of the reference below, and half of what is equal.
        """
        total, below, places = self.present, 0, []
        for count in self.coarse(self.counts.bins):
            places.append((below + count / 2) / total)
            below += count
        return places

    def state(self) -> list[Any]:
        """Return the reference as plain data."""
        total = self.counts
        return [
            dict(total.bins),
            total.missing,
            total.outside,
            total.total,
            list(self.cuts),
            list(self.levels),
        ]

    @classmethod
    def of_state(cls, feature: Feature, state: list[Any]) -> Reference:
        """Make the reference of what `state` gave."""
        bins, missing, outside, total, cuts, levels = state
        return cls(feature, FeatureTally(bins, missing, outside, total), tuple(cuts), tuple(levels))


def _cuts(bins: Mapping[str, int]) -> tuple[float, ...]:
    """Return where coarse bins begin, so that each holds about a tenth, and none less than a twentieth."""
    edges = sorted((float(key), count) for key, count in bins.items())
    total, collected = sum(bins.values()), 0
    cuts: list[float] = []
    for edge, count in edges:
        if cuts or collected:
            # A frequent value starts a bin of its own, where what came before is enough for one.
            enough = collected * BINS >= total or (count * BINS >= total and collected * BINS * 2 >= total)
            if enough:
                cuts.append(edge)
                collected = 0
        collected += count
    if cuts and collected * BINS * 2 < total:
        cuts.pop()
    return tuple(cuts)
