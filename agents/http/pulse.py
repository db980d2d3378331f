"""Whether the event loop turns: how long it has been held by one step, and for how long in all."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Final

BEAT_S: Final = 0.02
"""The loop notes this often that it turns."""
COUNTS_S: Final = 0.1
"""A step that holds the loop for longer is counted."""
LOGGED_S: Final = 1.0
"""A step that holds the loop for longer is worth a line in the log, now and then."""
LOGGED_AT: Final = frozenset(10**power for power in range(9))
log = logging.getLogger(__name__)


class Pulse:
    """Notes that the event loop turns. May be read from any thread.

    Attributes
    ----------
    held_total_s
        For how long steps of more than 100 ms have held the loop since it started (s).
    """

    def __init__(self) -> None:
        self.blocked_total_s = 0.0
        self._due = math.inf
        self._long = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._next(asyncio.get_running_loop())

    def stop(self) -> None:
        """End: the loop counts as turning from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = math.inf

    def blocked_s(self) -> float:
        """Give for how long the loop has not turned, s; 0 while it turns."""
        return max(0.0, time.monotonic() - self._due)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + BEAT_S
        self._timer = loop.call_later(BEAT_S, self._beat, loop)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        blocked_s = self.blocked_s()
        if blocked_s > COUNTS_S:
            self.blocked_total_s += blocked_s
        if blocked_s > LOGGED_S:
            self._long += 1
            if self._long in LOGGED_AT:
                log.warning(
                    "one step held the event loop for %.1f s, the %d. of more than %g s; meanwhile only health "
                    "checks are answered: look for a slow model",
                    *(blocked_s, self._long, LOGGED_S),
                )
        self._next(loop)
