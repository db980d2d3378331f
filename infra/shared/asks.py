"""Steps of callers that wait, in a thread: for a store whose client has no event loop, such as a cluster's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from infra.shared.lane import Lane
from infra.shared.store import SharedStore, Step
from schemas.errors import FeaturesUnavailable

MOST: Final = 10_000
"""Steps that wait for their answers."""


class Asks(Protocol):
    """Takes steps for callers that wait."""

    async def run(self, steps: Sequence[Step], timeout_s: float) -> list[bytes | None]:
        """See `SharedStore.run`.

        Raises
        ------
        FeaturesUnavailable
            When the store does not answer in time, or refuses; some steps may be taken.
        """

    def close(self) -> None:
        """Close connections; any thread may call it."""


class _Asked(NamedTuple):
    steps: Sequence[Step]
    answer: asyncio.Future[list[bytes | None]]
    until: float


class ThreadAsks:
    """Takes the steps of all callers that wait at a moment in one call."""

    def __init__(self, store: SharedStore) -> None:
        self._store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lane = Lane[_Asked]("ask", self._ask, lambda job: 0, most=MOST, most_bytes=1)

    async def run(self, steps: Sequence[Step], timeout_s: float) -> list[bytes | None]:
        """See `Asks.run`."""
        self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[bytes | None]] = self._loop.create_future()
        self._lane.add([_Asked(steps, answer, time.monotonic() + timeout_s)])
        await asyncio.wait({answer}, timeout=timeout_s)
        if not answer.done():
            answer.cancel()
            raise late(timeout_s)
        return answer.result()

    def _ask(self, jobs: Sequence[_Asked]) -> bool:
        """Take steps (in a thread); those that nobody waits for any more are left out."""
        now = time.monotonic()
        jobs = [each for each in jobs if each.until > now]
        found: list[bytes | None] | FeaturesUnavailable
        try:
            found = self._store.run([step for each in jobs for step in each.steps]) if jobs else []
        except FeaturesUnavailable as error:
            found = error
        if self._loop is not None and jobs and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, jobs, found)
        return True

    def close(self) -> None:
        """See `Asks.close`."""
        self._lane.close(0.0)
        self._store.close()


def late(timeout_s: float) -> FeaturesUnavailable:
    """Return the error of a store that does not answer in time."""
    return FeaturesUnavailable(f"no answer within {timeout_s * 1000:g} ms")


def _settle(jobs: Sequence[_Asked], found: list[bytes | None] | FeaturesUnavailable) -> None:
    at = 0
    for each in jobs:
        start, at = at, at + len(each.steps)
        if each.answer.done():
            continue
        if isinstance(found, FeaturesUnavailable):
            each.answer.set_exception(found)
            each.answer.exception()  # whoever waited for it may be gone
        else:
            each.answer.set_result(found[start:at])
