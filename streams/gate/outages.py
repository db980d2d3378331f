"""Label outages, as the gate sees them: when to wait, and of which requests the silence says nothing."""

from __future__ import annotations

from typing import Any, Final

from streams.drift.outage import LabelOutage

MOST: Final = 64
"""Outages that are remembered, the newest."""


class Outages:
    """Watches for outcomes that stop while requests go on.

    While an outage is suspected, nothing is counted. A request whose time from request to deadline overlaps an
    outage is not labelled by its silence.
    """

    def __init__(self, horizon_ms: int) -> None:
        self.horizon_ms = horizon_ms
        self.feed = LabelOutage()
        self.spans: list[list[int]] = []
        """Event times of the newest outages: last outcome before, first after; -1: it lasts."""
        self.live = True
        """Whether no outage is suspected or open."""
        self._newest = -1
        """Event time of the newest outcome of a live feed."""
        self._asked: dict[int, int] = {}

    @property
    def suspected(self) -> bool:
        """Whether an outage is suspected, and none is certain."""
        return self.feed.state == "suspected"

    def outcome(self, ts: int) -> None:
        """Take an outcome at an event time (ms)."""
        if self.feed.outcome(ts) == "live" and self.live:
            self._newest = max(self._newest, ts)
        else:
            self._judge(ts)

    def progress(self, partition: int, ts: int, predictions: int) -> None:
        """Take how many predictions the join of a partition has had."""
        new = predictions - self._asked.get(partition, 0)
        if new > 0:
            self._asked[partition] = predictions
            if self.feed.silence(ts, new) != "live" or not self.live:
                self._judge(ts)

    def _judge(self, ts: int) -> None:
        state = self.feed.state
        lasts = bool(self.spans) and self.spans[-1][1] < 0
        if state == "open" and not lasts:
            self.spans = [*self.spans, [self._newest, -1]][-MOST:]
        elif state != "open" and lasts:
            self.spans[-1][1] = self._newest = ts
        self.live = state == "live"

    def hit(self, asked: int) -> bool:
        """Whether an outage lies between a request's time (ms) and its deadline."""
        deadline = asked + self.horizon_ms
        return any(start < deadline and (end < 0 or end > asked) for start, end in self.spans)

    def snapshot(self) -> Any:
        """Return the state: plain data."""
        spans = [list(each) for each in self.spans]
        return [self.feed.snapshot(), spans, self.live, self._newest, dict(self._asked)]

    def restore(self, state: Any) -> None:
        """Take over a state that `snapshot` gave."""
        feed, spans, self.live, self._newest, asked = state
        self.feed.restore(feed)
        self.spans, self._asked = [list(each) for each in spans], dict(asked)
