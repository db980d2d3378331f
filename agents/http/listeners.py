"""Who listens to a stream of events, each with a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

MOST_QUEUED: Final = 16
"""Messages that wait for one listener; at two a second those of 8 s."""


class Listener:
    """One reader of a stream: it gets all of the state, and then what changes.

    When it reads too slowly its oldest message must go. What is left would begin with a hole, so it goes, too, and
    the whole state, as it is when the listener reads again, comes in its place.

    Parameters
    ----------
    whole
        Makes the message with all of the state.
    most
        Messages that wait at most.
    """

    def __init__(self, whole: Callable[[], bytes], most: int = MOST_QUEUED) -> None:
        self._whole = whole
        self._queue: deque[bytes] = deque(maxlen=most)
        self._news = asyncio.Event()
        self._whole_next = True
        self._closed = False
        self.replaced = False
        """Whether its place is another's now."""
        self.dropped = 0
        """Messages that it has missed."""

    def put(self, message: bytes) -> None:
        """Hand a message over; never waits."""
        if self._whole_next:
            return  # all of it is in what comes next
        if len(self._queue) == self._queue.maxlen:
            self.dropped += 1 + len(self._queue)
            self.start_over()
        else:
            self._queue.append(message)
        self._news.set()

    def start_over(self) -> None:
        """Let the whole state come next, in place of all that waits."""
        self._queue.clear()
        self._whole_next = True
        self._news.set()

    def replace(self) -> None:
        """End the stream in favour of another one."""
        self.replaced = True
        self.close()

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self._news.set()

    async def get(self) -> bytes | None:
        """Wait for the next message; None at the end of the stream."""
        while not self._closed:
            if self._whole_next:
                self._whole_next = False
                return self._whole()
            if self._queue:
                return self._queue.popleft()
            self._news.clear()
            await self._news.wait()
        return None
