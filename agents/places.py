"""How far a worker is behind its topics, for its exporter."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence

from agents.loop import TaskLoop
from infra.exporter import Places
from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError

log = logging.getLogger(__name__)


async def places(loop: TaskLoop, consumers: Sequence[BatchConsumer]) -> Places:
    """Ask how far the consumers of a task lag, and where its log ends.

    What the cluster does not tell now is missing: an old number would look like a good one.
    """
    lag: Counter[str] = Counter()
    mine = {loop.topics.requests, loop.topics.predictions, loop.topics.outcomes}
    mine |= {loop.topics.quality, loop.topics.log}
    for consumer in consumers:
        for partition, behind in (await consumer.lag()).items():
            if partition.topic in mine:
                lag[partition.topic] += behind
    place = (loop.topics.log, 0)

    def ends() -> tuple[int, int]:
        # The stable end first: asked for the other way round, it could lie beyond the end.
        stable = end_offsets(loop.connection, [place])[place]
        return end_offsets(loop.connection, [place], committed=False)[place], stable

    try:
        end, stable = await asyncio.get_running_loop().run_in_executor(None, ends)
    except BrokerError as error:
        log.info("%s: the end of the log is not known: %s", loop.task.name, error)
        return Places(lag)
    return Places(lag, end, stable)
