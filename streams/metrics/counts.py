"""Counts by key."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def add(counts: dict[K, int], key: K, by: int) -> None:
    """Change a count; a count of zero has no key, so that equal counts are equal dictionaries."""
    now = counts.get(key, 0) + by
    if now:
        counts[key] = now
    else:
        counts.pop(key, None)


def merge(counts: dict[K, int], other: Mapping[K, int], by: int = 1) -> None:
    """Add other counts, or with -1 subtract them."""
    for key, count in other.items():
        add(counts, key, by * count)


def ratio(part: float, whole: int) -> float:
    """Return part / whole; NaN of nothing."""
    return part / whole if whole else math.nan
