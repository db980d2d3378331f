"""How far a worker that starts has read the training log, and how long the rest takes."""

from __future__ import annotations

import time
from typing import Any, Final

SETTLED_S: Final = 2.0
"""There is no estimate before."""


class Warming:
    """The way from the snapshot, or the log's beginning, to the log's end as it was at the start."""

    def __init__(self) -> None:
        self.start = self.at = self.end = 0
        """Log offsets: where reading began, the next one, and the end at the start."""
        self._began: float | None = None

    def begin(self, start: int) -> None:
        """Begin to read at an offset."""
        self.start = self.at = start
        self._began = time.monotonic()

    def move(self, at: int, end: int) -> None:
        """Take up to which offset the log is folded."""
        self.at, self.end = at, max(end, self.end)

    def done(self) -> None:
        """Take that all is folded; the last offsets are transaction markers."""
        self.end = self.at

    @property
    def left(self) -> int:
        """Offsets that are left."""
        return max(0, self.end - self.at)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes, at the pace until now (s); None: unknown."""
        if not self.left:
            return 0.0
        spent = 0.0 if self._began is None else time.monotonic() - self._began
        if spent < SETTLED_S or self.at <= self.start:
            return None
        return self.left * spent / (self.at - self.start)

    @property
    def text(self) -> str:
        """The same for people."""
        place = f"reading the training log, at offset {self.at:,} of {self.end:,}"
        seconds = self.seconds_left
        return place if seconds is None else f"{place}, about {duration(seconds)} left"

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"offset": self.at, "end": self.end, "left": self.left, "seconds_left": self.seconds_left}


def duration(seconds: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> duration(40.4), duration(600), duration(9000)
    ('40 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
