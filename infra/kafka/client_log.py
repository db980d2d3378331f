"""What Kafka clients say themselves: a line that comes again and again is written once in a while."""

from __future__ import annotations

import logging
import re
import threading
import time
from typing import Final

QUIET_S: Final = 30.0
MOST: Final = 200
"""So many different lines are remembered."""
_RETRIED: Final = tuple(
    f"{why}: retrying"
    for why in ("Coordinator load in progress", "Coordinator not available", "Not coordinator")
)
"""A broker that has just started, or that is busy, says so for seconds, and the client asks again by itself."""
_CHANGING: Final = re.compile(r"\d+|\[rdkafka#[^\]]*\]|\[thrd:[^\]]*\]")


class OnceInAWhile(logging.Filter):
    """Lets a line pass if none like it has passed in the last half minute, and says how many it held back.

    Lines are alike when they differ in numbers, client and thread only: while a broker is away, each client
    reports twenty times a second that it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, int]] = {}
        """By what lines have in common: when one has passed (s, monotonic), and how many were held back since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line passes."""
        text = record.getMessage()
        if text.endswith(_RETRIED):
            return False
        alike, now = _CHANGING.sub("", text), time.monotonic()
        with self._lock:
            passed, repeats = self._seen.get(alike, (-QUIET_S, 0))
            if now - passed < QUIET_S:
                self._seen[alike] = (passed, repeats + 1)
                return False
            self._seen.pop(alike, None)
            self._seen[alike] = (now, 0)
            if len(self._seen) > MOST:
                del self._seen[next(iter(self._seen))]
        if repeats:
            record.msg, record.args = f"{text} (repeated {repeats} times in {now - passed:.0f} s)", ()
        return True


CLIENT_LOG: Final = logging.getLogger("infra.kafka.client")
"""For every client's `logger`."""
CLIENT_LOG.addFilter(OnceInAWhile())
