"""The wall clock."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the wall clock, in ms since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000
