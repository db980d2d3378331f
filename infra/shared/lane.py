"""A thread that takes steps to a store, as many at once as wait."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")
AT_ONCE: Final = 500
CLOSING_S: Final = 0.05
"""The pause before a batch comes again at the end."""


class Lane(Generic[T]):
    """Takes jobs in order, in batches.

    Parameters
    ----------
    work
        Takes a batch; what fails comes again when it returns False.
    most, most_bytes
        Jobs that may wait, and their bytes.
    size
        Gives the bytes of a job.
    retry_s
        The pause before a batch comes again.
    linger_s
        How long a job waits for more of them.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], bool],
        size: Callable[[T], int],
        *,
        most: int,
        most_bytes: int,
        retry_s: float = 0.0,
        linger_s: float = 0.0,
    ) -> None:
        self._work, self._size, self._retry_s, self._linger_s = work, size, retry_s, linger_s
        self._most, self._room = most, most_bytes
        self._jobs: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing, self._until = False, float("inf")
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def add(self, jobs: Sequence[T]) -> int:
        """Add jobs; gives how many there was no room for: these are the last ones."""
        with self._changed:
            idle = not self._jobs
            for at, job in enumerate(jobs):
                size = self._size(job)
                if self._closing or len(self._jobs) >= self._most or size > self._room:
                    return len(jobs) - at
                self._jobs.append(job)
                self._room -= size
                if idle:
                    self._changed.notify()
                    idle = False
        return 0

    def close(self, timeout_s: float) -> int:
        """Work on what waits for up to a time, then end; gives how many jobs are left (blocks)."""
        with self._changed:
            self._closing, self._until = True, time.monotonic() + timeout_s
            self._changed.notify()
        self._thread.join(timeout_s + 0.1)
        return len(self._jobs)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._closing)
                if self._closing and (not self._jobs or time.monotonic() > self._until):
                    return
            if self._linger_s and not self._closing and len(self._jobs) < AT_ONCE:
                time.sleep(self._linger_s)
            with self._changed:
                batch = [self._jobs.popleft() for _ in range(min(AT_ONCE, len(self._jobs)))]
            if not self._work(batch):
                with self._changed:
                    self._jobs.extendleft(reversed(batch))
                    if self._closing:
                        self._changed.wait(CLOSING_S)
                    else:
                        self._changed.wait_for(lambda: self._closing, self._retry_s)
                continue
            with self._changed:
                self._room += sum(map(self._size, batch))
