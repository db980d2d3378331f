"""How fast the workload is sent: up to a limit that rises round by round, slowly beyond it, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

TRICKLE_S: Final = 0.5
"""Between two blocks beyond the limit."""


class Pace:
    """Blocks the sender's thread where it must wait; other threads raise the limit, pause and resume it.

    Parameters
    ----------
    drain
        Called in the sender's thread when a pause begins: returns once everything sent is answered.
    renew
        Called in the sender's thread when the pause is over.
    """

    def __init__(self, drain: Callable[[], None], renew: Callable[[], None]) -> None:
        self.pauses: list[tuple[int, int]] = []
        """When nothing was sent because of the limit or a pause (ms UTC, wall clock)."""
        self.waiting = False
        """Whether the sender's thread waits for a higher limit."""
        self.stopped = False
        self.drained = threading.Event()
        """Set during a pause, once everything sent is answered."""
        self._drain, self._renew = drain, renew
        self._limit: int | None = 0
        self._trickles_until = 0.0
        """(s, monotonic)"""
        self._pausing = False
        self._changed = threading.Condition()

    # ------------------------------------------------------------------ from other threads

    def raise_limit(self, limit: int | None) -> None:
        """Allow a number of planned requests; None: all, and the closing ones. A lower limit has no effect."""
        with self._changed:
            if limit is None or (self._limit is not None and limit > self._limit):
                self._limit = limit
            self._changed.notify()

    def trickle_for(self, seconds: float) -> None:
        """Continue slowly for some time, whatever the limit."""
        with self._changed:
            self._trickles_until = time.monotonic() + seconds
            self._changed.notify()

    def pause(self) -> None:
        """Send nothing from the next block on; `drained` is set once everything sent is answered."""
        self.drained.clear()
        self._set_pausing(True)

    def resume(self) -> None:
        """End a pause."""
        self._set_pausing(False)

    def _set_pausing(self, pausing: bool) -> None:
        with self._changed:
            self._pausing = pausing
            self._changed.notify()

    def stop(self) -> None:
        """End the sender's thread at the next block."""
        with self._changed:
            self.stopped = True
            self._changed.notify()

    # ------------------------------------------------------------------ from the sender's thread

    def wait(self, end: int | None) -> bool:
        """Wait until the block that ends at a number of requests may be sent; None: the closing one.

        Returns False when the thread is to end.
        """

        def allowed() -> bool:
            return self.stopped or self._limit is None or (end is not None and end <= self._limit)

        def trickles() -> bool:
            return end is not None and time.monotonic() < self._trickles_until

        while True:
            trickling = False
            if self._pausing:
                self._rest()
            with self._changed:
                if not self._pausing and not allowed():
                    since = _now_ms()
                    self.waiting = True
                    self._changed.wait_for(lambda: allowed() or self._pausing or trickles())
                    self.waiting = False
                    trickling = trickles() and not (allowed() or self._pausing)
                    if trickling:
                        self._changed.wait_for(lambda: self.stopped, TRICKLE_S)
                    self.pauses.append((since, _now_ms()))
                if self.stopped:
                    return False
                if trickling or not self._pausing:
                    return True

    def _rest(self) -> None:
        self._drain()
        since = _now_ms()
        self.drained.set()
        with self._changed:
            self._changed.wait_for(lambda: self.stopped or not self._pausing)
        if self.stopped:
            return
        self._renew()
        self.pauses.append((since, _now_ms()))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
