"""Turns on the event loop: no batch holds it for long, and between two turns everything else is served."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T")

TURN_S: Final = 0.01
"""A turn ends after the first step at which it has lasted this long. A step is one record: one prediction, one
entry of the log. So the loop is held for this long plus one step."""
BREATHS: Final = 8
"""Iterations of the event loop between two turns. Accepting a connection, reading a request and answering it takes
four to six of them; with one only, a health check would take as many turns."""


class Portion:
    """How many items go into one step, so that it lasts no longer than a turn: one at first, then what has fitted.

    For items whose cost is the user's code, which may take a microsecond or a second, and change.

    Parameters
    ----------
    most
        Items in a step, at most.

    Examples
    --------
    >>> portion = Portion(most=16)
    >>> portion.took(1, 0.000_1)
    >>> portion.count
    16
    >>> portion.took(16, 4.8)
    >>> portion.count
    1
    """

    def __init__(self, most: int) -> None:
        self.count, self._most = 1, most

    def took(self, count: int, seconds: float) -> None:
        """Take how long some items took."""
        fitting = count * TURN_S / seconds if seconds > 0 else self._most
        self.count = max(1, min(self._most, int(fitting)))


@dataclass(frozen=True, slots=True)
class Long:
    """A step that takes long: it is taken in a thread, within the turn of the steps before it."""

    function: Callable[[], object]


class Turns:
    """Shares the event loop among all that works on records: serving, joining, learning, publishing, HTTP.

    One for each worker. Work is taken one turn at a time, first come, first served. Alone, a turn costs
    about a microsecond and never suspends.

    Examples
    --------
    >>> asyncio.run(Turns().run(number * 2 for number in range(3)))
    [0, 2, 4]
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        # Of its own: the others' threads may all wait for the cluster.
        self._thread = ThreadPoolExecutor(1, "turn")
        self._spent_s = 0.0
        """Work since the last pause."""
        self._since = 0.0
        self.steps = 0
        """Odd while a step holds the event loop, another number each time: for other threads."""

    async def __aenter__(self) -> None:
        """Wait for a turn. Nothing may be awaited in it that needs another one."""
        await self._lock.acquire()
        try:
            if self._spent_s >= TURN_S:
                for _ in range(BREATHS):
                    await asyncio.sleep(0)
                self._spent_s = 0.0
        except BaseException:
            self._lock.release()
            raise
        self._since = time.monotonic()

    async def __aexit__(self, *failure: object) -> None:
        """End the turn."""
        self._spent_s += time.monotonic() - self._since
        self._lock.release()

    async def apart(self, function: Callable[[], T]) -> T:
        """Run one long step in a thread, while nobody else has a turn: models stand still, and the loop is free.

        Notes
        -----
        A caller that is cancelled waits for its end: what the function reads must not change under it.
        """
        async with self:
            return await self._in_thread(function)

    async def _in_thread(self, function: Callable[[], T]) -> T:
        working = asyncio.get_running_loop().run_in_executor(self._thread, function)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait({working})
            raise

    async def run(self, steps: Iterable[T]) -> list[T]:
        """Take all steps, in as many turns as they need; one that is `Long` has ended before the next begins.

        Any step may be the last of its turn, also a `Long` one: others must be able to use what it leaves.

        Returns
        -------
        list
            What the steps gave, in order.
        """
        iterator, done = iter(steps), []
        while True:
            async with self:
                until = self._since + TURN_S - self._spent_s
                self.steps += 1
                try:
                    for step in iterator:
                        if isinstance(step, Long):
                            self.steps += 1  # the loop is free meanwhile
                            try:
                                await self._in_thread(step.function)
                            finally:
                                self.steps += 1
                        done.append(step)
                        if time.monotonic() >= until:
                            break
                    else:
                        return done
                finally:
                    self.steps += 1
