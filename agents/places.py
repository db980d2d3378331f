"""How far a worker is behind its topics, for its exporter."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence

from agents.loop import TaskLoop
from infra.exporter import Places
from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import end_offsets
from infra.lag import EndTimes
from schemas.errors import BrokerError

log = logging.getLogger(__name__)


async def places(loop: TaskLoop, consumers: Sequence[BatchConsumer], ends: EndTimes) -> Places:
    """Ask how far the consumers of a task lag, and where its log ends.

    What the cluster does not tell now is missing: an old number would look like a good one.

    Parameters
    ----------
    loop
        The task's.
    consumers
        Those of this worker.
    ends
        What was asked before; takes up what is told now.
    """
    lag: Counter[str] = Counter()
    lag_s: dict[str, float] = {}
    mine = {loop.topics.requests, loop.topics.predictions, loop.topics.outcomes}
    mine |= {loop.topics.quality, loop.topics.log}
    for consumer in consumers:
        found, now_s = await consumer.extents(), time.monotonic()
        for partition, (next_offset, end) in found.items():
            if (topic := partition.topic) in mine:
                ends.note(partition, now_s, end)
                lag[topic] += end - next_offset
                lag_s[topic] = max(lag_s.get(topic, 0.0), ends.age_s(partition, next_offset, now_s))
    place = (loop.topics.log, 0)

    def log_ends() -> tuple[int, int]:
        # The stable end first: asked for the other way round, it could lie beyond the end.
        stable = end_offsets(loop.connection, [place])[place]
        return end_offsets(loop.connection, [place], committed=False)[place], stable

    try:
        end, stable = await asyncio.get_running_loop().run_in_executor(None, log_ends)
    except BrokerError as error:
        log.info("%s: the end of the log is not known: %s", loop.task.name, error)
        return Places(lag, lag_s)
    return Places(lag, lag_s, end, stable)
