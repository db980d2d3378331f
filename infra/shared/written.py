"""What a worker that died after a claim had written: the topic of predictions says it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from infra.inbound import SERVED, header
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets, offsets_since
from infra.kafka.partitioner import partition_of
from infra.shared.lane import Lane
from infra.task.context import TaskContext
from schemas.errors import RiverloopError

EARLY_MS: Final = 1_000
"""A record is looked for from this long before its claim on: a clock may be set back meanwhile."""
MOST: Final = 10_000
WAIT_S: Final = 3.0
"""How long a caller waits; the bound of a call is longer."""
log = logging.getLogger(__name__)


class _Wanted(NamedTuple):
    request_id: str
    since_ms: int
    found: asyncio.Future[bytes | None]
    until: float


class WrittenPredictions:
    """Finds served predictions on their topic; several that are asked for at once are found in one reading."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lane: Lane[_Wanted] | None = None

    async def find(self, request_id: str, since_ms: int) -> bytes | None:
        """Return the first prediction of a request; None where there is none, or Kafka does not say in time.

        Parameters
        ----------
        since_ms
            When its worker claimed it, by that worker's clock, which also stamps its records.
        """
        self._loop = asyncio.get_running_loop()
        if self._lane is None:
            name = f"written {self._context.task.name}"
            self._lane = Lane(name, self._read, lambda wanted: 0, most=MOST, most_bytes=1)
        found: asyncio.Future[bytes | None] = self._loop.create_future()
        self._lane.add([_Wanted(request_id, since_ms, found, time.monotonic() + WAIT_S)])
        await asyncio.wait({found}, timeout=WAIT_S)
        return found.result() if found.done() else None

    def _read(self, jobs: Sequence[_Wanted]) -> bool:
        now = time.monotonic()
        values: dict[str, bytes] = {}
        try:
            self._scan([each for each in jobs if each.until > now], values)
        except RiverloopError as error:
            name = self._context.task.name
            log.warning("%s: predictions of a worker that is gone are not found: %s", name, error)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, jobs, values)
        return True

    def _scan(self, jobs: Sequence[_Wanted], values: dict[str, bytes]) -> None:
        """Read the partitions of requests from their claims on, committed records only."""
        context, topic = self._context, self._context.topics.predictions
        wanted: dict[int, set[bytes]] = {}
        for each in jobs:
            key = each.request_id.encode()
            wanted.setdefault(partition_of(key, context.partitions), set()).add(key)
        if not wanted:
            return
        places = [(topic, number) for number in wanted]
        ends = end_offsets(context.connection, places, committed=False)
        since_ms = min(each.since_ms for each in jobs) - EARLY_MS
        starts = offsets_since(context.connection, places, since_ms)
        for (_, number), start in starts.items():
            if start is None:
                continue
            for message in read_all(context.connection, topic, number, start, ends[topic, number]):
                key, value = message.key() or b"", message.value()
                # One from outside may hold in plain what is personal.
                if key not in wanted[number] or value is None or header(message, SERVED) is None:
                    continue
                frame = context.frame
                values.setdefault(key.decode(), value if frame is None else frame.without(value))

    def close(self) -> None:
        """End the thread."""
        if self._lane is not None:
            self._lane.close(0.0)


def _settle(jobs: Sequence[_Wanted], values: dict[str, bytes]) -> None:
    for each in jobs:
        if not each.found.done():
            each.found.set_result(values.get(each.request_id))
