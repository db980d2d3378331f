"""Label outage: deadlines pass without an outcome, where outcomes used to come.

A feed of outcomes that died looks like falling conversion: nobody converts any more. It is distinguished by how
sudden it is. Deadlines that pass in silence between two outcomes make a run; how long runs get is known from the
share of outcomes and from the runs of late, in entries and in event time, since both requests and outcomes may come
in bursts (a group booking, a nightly batch); a run far beyond is an outage. This is decided on far fewer entries
than a detector needs to call the fall of a mean.

Not seen here: silence before the first deadline passes, since nothing enters the log then. A task whose horizon is
long should watch the oldest waiting prediction too.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal

State = Literal["live", "suspected", "open"]

SUSPECTED: Final = 0.01
"""A run this improbable makes us wait with judging."""
CERTAIN: Final = 1e-6
"""A run this improbable is an outage. With a share q of outcomes, that is one false outage in 1 / (q 1e-6)."""
LONGER: Final = 3
"""And it must be this many times longer than the longest run of late, in entries and in event time."""
LEAST: Final = 30
"""And have this many silent deadlines."""
KNOWN: Final = 100
"""Outcomes that must have come before runs are judged."""
RETURNED: Final = 10
"""Outcomes without a suspicious run between them that end an outage."""
WEEK_MS: Final = 7 * 24 * 3_600_000
"""`Of late` is the current and the previous of such spans: most feeds have the rhythm of a day or a week."""
MEMORY: Final = 20_000
"""Entries after which the counts are halved."""


class LabelOutage:
    """Watches the runs of silence between outcomes.

    Examples
    --------
    >>> feed = LabelOutage()
    >>> for number in range(1000):
    ...     _ = feed.outcome(number) if number % 4 == 0 else feed.silence(number)
    >>> [number for number in range(100) if feed.silence(1000 + number) == "open"][0]
    44
    """

    def __init__(self) -> None:
        self.state: State = "live"
        self.run = 0
        """Silent deadlines since the last outcome."""
        self._since: int | None = None
        self._week = 0
        self._longest = [(0, 0), (0, 0)]
        self.outcomes, self.silences = 0, 0
        self._back = 0
        self._suspect = math.inf
        self.threshold = math.inf
        """Length of a run, in silent deadlines, from which it is an outage."""

    @property
    def share(self) -> float:
        """Share of resolutions that used to have an outcome, in [0, 1]."""
        seen = self.outcomes + self.silences
        return self.outcomes / seen if seen else 0.0

    def outcome(self, ts: int) -> State:
        """Take an outcome at an event time (ms); returns the state after it."""
        run, self.run = self.run, 0
        gap = 0 if self._since is None else ts - self._since
        self._since = ts
        if self.state == "open":
            self._back = 1 if run >= self._suspect else self._back + 1
            if self._back < RETURNED:
                return self.state
            self.state = "live"
            return self.state
        self.state = "live"
        self.outcomes += 1
        self.silences += run
        if ts - self._week >= WEEK_MS:
            self._week, self._longest = ts, [(0, 0), self._longest[0]]
        entries, span = self._longest[0]
        if run > entries or gap > span:
            self._longest[0] = (max(run, entries), max(gap, span))
        if self.outcomes + self.silences > MEMORY:
            self.outcomes, self.silences = self.outcomes // 2, self.silences // 2
        if self.outcomes >= KNOWN and (run or not self.outcomes % 16 or self.threshold == math.inf):
            quiet = math.log1p(-min(self.share, 0.999))
            longest = max(entries for entries, _ in self._longest)
            self._suspect = max(math.log(SUSPECTED) / quiet, longest)
            self.threshold = max(math.log(CERTAIN) / quiet, LONGER * longest, LEAST)
        return self.state

    def silence(self, ts: int, count: int = 1) -> State:
        """Count deadlines without an outcome by an event time (ms); returns the new state."""
        self.run += count
        if self.state == "open":
            return self.state
        gap = 0 if self._since is None else ts - self._since
        if self.run >= self.threshold and gap > LONGER * max(span for _, span in self._longest):
            self.state, self._back = "open", 0
        elif self.run >= self._suspect:
            self.state = "suspected"
        return self.state

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        counts = (self.state, self.run, self.outcomes, self.silences)
        return (
            counts,
            (self._since, self._week, list(self._longest)),
            (self._back, self._suspect, self.threshold),
        )

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        counts, (self._since, self._week, longest), (self._back, self._suspect, self.threshold) = state
        self.state, self.run, self.outcomes, self.silences = counts
        self._longest = list(longest)
