"""The look-ups of a task in a worker: its store, what fills it, and what reads it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from infra.features.filler import FeatureFiller
from infra.features.reader import LookupReader
from infra.features.redis_store import RedisFeatures
from infra.features.store import FeatureStore, MemoryFeatures
from infra.kafka.connection import Connection
from infra.redis_client import Address
from schemas.topics import TaskTopics
from streams.lookup import Lookups
from streams.task import Task

LOOK_S: Final = 0.2
"""A thread that waits can be left after so long."""


def store_of(task: Task, address: Address | None) -> FeatureStore:
    """Return the store at an address; without one, an empty one in memory.

    Raises
    ------
    UsageError
        See `RedisFeatures`.
    """
    if address is None:
        return MemoryFeatures()
    return RedisFeatures(address, Lookups(task.lookup, task.features).timeout_s)


class FeatureServing:
    """What of look-ups runs in a worker.

    Parameters
    ----------
    owns
        Whether the worker owns the task's log.
    """

    def __init__(
        self,
        task: Task,
        connection: Connection,
        store: FeatureStore,
        owns: Callable[[], bool],
        counts: Counter[str],
    ) -> None:
        lookups = Lookups(task.lookup, task.features)
        self.reader = LookupReader(task.name, lookups, store, counts)
        self._filler = FeatureFiller(
            connection, TaskTopics(task.name).features, store, lookups.names, owns, counts
        )

    async def start(self) -> None:
        """Fill the store; a store in memory has what lies on the topic when this returns."""
        self._filler.start()
        loop = asyncio.get_running_loop()
        while not await loop.run_in_executor(None, self._filler.caught_up.wait, LOOK_S):
            pass

    def close(self) -> None:
        """End the threads, and close the store."""
        self._filler.stop()
        self.reader.close()
