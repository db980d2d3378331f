"""Counts as they are added up: of one feature, and of all that came in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from typing import Any, Final, Literal

from schemas.paths import OTHER
from schemas.reasons import REASONS
from schemas.remarks import REASONS as REMARKS
from schemas.tally import FeatureTally, Tally

CELL_MS = 60_000
"""Counts are kept apart by the minute of event time."""
MAX_KINDS: Final = 100
"""Maximum number of reasons and schemas counted separately; the rest is `other`."""
MAX_BINS: Final = 2_000
"""Maximum number of bins of a feature; the rest is `other`. Numbers have at most 961 (`grid`)."""


class Counts:
    """Counts of one feature's values.

    Attributes
    ----------
    bins
        Values by bin.
    missing, outside, total
        See `FeatureTally`.
    """

    __slots__ = ("bins", "missing", "outside", "total")

    def __init__(self) -> None:
        self.bins: dict[str, int] = {}
        self.missing = 0
        self.outside = 0
        self.total = 0.0

    @property
    def present(self) -> int:
        """Requests that had a value."""
        return sum(self.bins.values())

    def add(self, other: FeatureTally | Counts, sign: Literal[1, -1] = 1) -> None:
        """Add other counts, or take them away again."""
        bins = self.bins
        many = len(bins) + len(other.bins) > MAX_BINS
        for name, count in other.bins.items():
            key = OTHER if many and name not in bins and len(bins) >= MAX_BINS else name
            left = bins.get(key, 0) + sign * count
            if left:
                bins[key] = left
            else:
                bins.pop(key, None)
        self.missing += sign * other.missing
        self.outside += sign * other.outside
        self.total += sign * other.total

    def record(self) -> FeatureTally:
        """Return the counts as they are now."""
        return FeatureTally(dict(self.bins), self.missing, self.outside, self.total)


class Total:
    """Counts of requests and of every feature; adds up tallies of any workers, cuts and times.

    Attributes
    ----------
    requests, disordered, repeated, rejected, written, warned
        See `Tally`.
    features
        By feature's name; one that was never counted is not there.
    """

    __slots__ = ("disordered", "features", "rejected", "repeated", "requests", "warned", "written")

    def __init__(self) -> None:
        self.requests = 0
        self.disordered = 0
        self.repeated = 0
        self.rejected: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.warned: Counter[str] = Counter()
        self.features: dict[str, Counts] = {}

    def __repr__(self) -> str:
        return f"<Total of {self.requests} requests, {sum(self.rejected.values())} rejected>"

    def add(self, other: Tally | Total, sign: Literal[1, -1] = 1) -> None:
        """Add other counts, or take them away again."""
        self.requests += sign * other.requests
        self.disordered += sign * other.disordered
        self.repeated += sign * other.repeated
        _add(self.rejected, other.rejected, sign)
        _add(self.written, other.written, sign)
        _add(self.warned, other.warned, sign)
        for name, counts in other.features.items():
            mine = self.features.get(name)
            if mine is None:
                mine = self.features[name] = Counts()
            mine.add(counts, sign)

    def of(self, name: str) -> Counts:
        """Return the counts of a feature; empty ones, when it was never counted."""
        return self.features.get(name) or Counts()

    def record(
        self, slot: str, way: Literal["topic", "http"], ts: int, features: Mapping[str, FeatureTally]
    ) -> Tally:
        """Return the counts as they are now, as those of one minute, with those of the features."""
        counts = (
            self.requests,
            self.disordered,
            self.repeated,
            dict(self.rejected),
            dict(self.written),
            dict(self.warned),
        )
        return Tally(slot, way, ts, CELL_MS, *counts, features)

    def state(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {
            "requests": [self.requests, self.disordered, self.repeated],
            "rejected": dict(self.rejected),
            "written": dict(self.written),
            "warned": dict(self.warned),
            "features": {
                name: [dict(each.bins), each.missing, each.outside, each.total]
                for name, each in self.features.items()
            },
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Total:
        """Make the counts of what `state` gave."""
        made = cls()
        made.requests, made.disordered, made.repeated = state["requests"]
        made.rejected, made.written = Counter(state["rejected"]), Counter(state["written"])
        made.warned = Counter(state["warned"])
        for name, (bins, missing, outside, total) in state["features"].items():
            counts = made.features[name] = Counts()
            counts.bins = dict(bins)
            counts.missing, counts.outside, counts.total = missing, outside, total
        return made


def _add(mine: Counter[str], other: Mapping[str, int], sign: Literal[1, -1]) -> None:
    for name, count in other.items():
        key = bounded(mine, name)
        mine[key] += sign * count
        if not mine[key]:
            del mine[key]


def bounded(counter: Mapping[str, int], key: str) -> str:
    """Return the key, or that of the rest where there are too many."""
    return key if key in counter or len(counter) < MAX_KINDS else OTHER


def rejection(reason: str, field: str, paths: Set[str]) -> str:
    """Name a kind of rejection: by reason and field, as far as these are ours and not a sender's text.

    Examples
    --------
    >>> rejection("wrong_type", "features.price", {"features.price"}), rejection("malformed", "", {"ts"})
    ('wrong_type features.price', 'malformed')
    >>> rejection("malformed", "text of a sender", {"ts"}), rejection("reason of a sender", "", {"ts"})
    ('malformed other', 'other')
    """
    if reason not in REASONS:
        return OTHER
    return reason if not field else f"{reason} {field if field in paths else OTHER}"


def warning(kind: str, paths: Set[str]) -> str:
    """Name a kind of warning, as far as it is ours.

    Examples
    --------
    >>> warning("unknown_field features.price", {"features.price"}), warning("unknown_field x", {"ts"})
    ('unknown_field features.price', 'unknown_field other')
    >>> warning("text of a sender", {"ts"})
    'other'
    """
    reason, _, field = kind.partition(" ")
    if reason not in REMARKS:
        return OTHER
    return f"{reason} {field if field in paths else OTHER}"


def warnings(
    unknown: Mapping[str, int], features: Mapping[str, FeatureTally], paths: Set[str]
) -> Counter[str]:
    """Return the counts of unknown fields and of values outside, by kind."""
    found = Counter(
        {f"outside features.{name}": each.outside for name, each in features.items() if each.outside}
    )
    for kind, count in unknown.items():
        found[warning(kind, paths)] += count
    return found
