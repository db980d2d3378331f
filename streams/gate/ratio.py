"""Sample ratio mismatch: whether the models answered the shares of the requests that were drawn."""

from __future__ import annotations

import math
from typing import Any, Final
from zlib import crc32

ALPHA: Final = 0.001
"""Chance of a false mismatch at one share."""
KEYS: Final = 4096
"""Entities that are counted, each once, since all requests of one get the same model."""
PRIOR: Final = 100.0
"""Requests that the prior of the true share is worth."""
SHARES: Final = 8
"""Shares that are followed, the newest."""


class Ratio:
    """Counts which model answered the entities at one share.

    Parameters
    ----------
    share
        With which the challenger was drawn, in (0, 1).
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.challenger = self.incumbent = 0
        self.keys: set[int] = set()

    def take(self, key: str, challenger: bool) -> None:
        """Take a request by its entity, or by its id where there is none."""
        if len(self.keys) >= KEYS:
            return
        drawn = crc32(key.encode())
        if drawn not in self.keys:
            self.keys.add(drawn)
            self.challenger += challenger
            self.incumbent += not challenger

    @property
    def e_value(self) -> float:
        """E-value of the hypothesis that the share is right, against a beta prior of it.

        Lindon and Malek, "Anytime-valid inference for multinomial count data", 2022.
        """
        a, b = PRIOR * self.share, PRIOR * (1.0 - self.share)
        k, c = self.challenger, self.incumbent
        found = math.lgamma(a + k) + math.lgamma(b + c) - math.lgamma(PRIOR + k + c)
        found -= math.lgamma(a) + math.lgamma(b) - math.lgamma(PRIOR)
        found -= k * math.log(self.share) + c * math.log1p(-self.share)
        return math.exp(min(found, 600.0))

    @property
    def complaint(self) -> str:
        """What a mismatch is called."""
        return f"the share {self.share:g} of the requests is not what was drawn"

    @property
    def chi_square(self) -> float:
        """Pearson's statistic, one degree of freedom."""
        n = self.challenger + self.incumbent
        expected = n * self.share
        return (self.challenger - expected) ** 2 / (expected * (1.0 - self.share)) if n else 0.0

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        return [self.share, self.challenger, self.incumbent, sorted(self.keys)]

    @staticmethod
    def of(state: Any) -> Ratio:
        """Return what `snapshot` gave."""
        share, challenger, incumbent, keys = state
        ratio = Ratio(share)
        ratio.challenger, ratio.incumbent, ratio.keys = challenger, incumbent, set(keys)
        return ratio
