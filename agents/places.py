"""How far a worker is behind its topics, for its exporter."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter

from agents.loop import TaskLoop
from infra.exporter import Lag
from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import end_offsets
from infra.lag import EndTimes
from schemas.errors import BrokerError
from streams.positions import Place

log = logging.getLogger(__name__)


async def places(loop: TaskLoop, consumer: BatchConsumer, ends: EndTimes, published: int | None) -> Lag:
    """Ask how far a worker lags behind the topics of a task, and where its log ends.

    What the cluster does not tell now is missing: an old number would look like a good one.

    Parameters
    ----------
    loop
        The task's.
    consumer
        That of the worker's group.
    ends
        What was asked before; takes up what is told now.
    published
        Up to this offset of the log all is published; None where this worker does not own it.
    """
    lag: Counter[str] = Counter()
    lag_s: dict[str, float] = {}
    mine = {
        loop.context.topics.requests,
        loop.context.topics.predictions,
        loop.context.topics.outcomes,
        loop.context.topics.quality,
    }

    def note(partition: Place, next_offset: int, end: int, now_s: float) -> None:
        topic, _ = partition
        ends.note(partition, now_s, end)
        lag[topic] += end - next_offset
        lag_s[topic] = max(lag_s.get(topic, 0.0), ends.age_s(partition, next_offset, now_s))

    found, now_s = await consumer.extents(), time.monotonic()
    for partition, (next_offset, end) in found.items():
        if partition.topic in mine:
            note(partition, next_offset, end, now_s)
    place = (loop.context.topics.log, 0)

    def log_ends() -> tuple[int, int]:
        # The stable end first: asked for the other way round, it could lie beyond the end.
        stable = end_offsets(loop.context.connection, [place])[place]
        return end_offsets(loop.context.connection, [place], committed=False)[place], stable

    try:
        end, stable = await asyncio.get_running_loop().run_in_executor(None, log_ends)
    except BrokerError as error:
        log.info("%s: the end of the log is unknown: %s", loop.context.task.name, error)
        return Lag(lag, lag_s)
    if published is not None:
        note(place, min(published, end), end, time.monotonic())
    return Lag(lag, lag_s, end, stable)
