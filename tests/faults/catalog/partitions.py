"""Partitions are added to the inputs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # public

from infra.kafka.admin import client_of, partition_count
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError
from tests.faults.context import FaultContext
from tests.faults.fault import Fault

CONSUMED_S: Final = 60.0
"""Within which added partitions are consumed; five seconds are the promise."""


def add_partitions(context: FaultContext) -> None:
    """Add partitions to requests and outcomes while both are written and read."""
    if context.partitions_added:
        # Kafka keeps no order between an outcome and its correction on two further partitions.
        with context.paused():
            new = _grow(context)
    else:
        # Earlier outcomes are on their joins' partitions already; forwarded ones follow them there.
        context.sender.scattered = context.partitions_added = True
        new = _grow(context)
    until = time.monotonic() + CONSUMED_S
    while not _written(context, new) and context.sender.keep_sending():
        if time.monotonic() > until:
            raise BrokerError(f"nothing was sent to the new partitions {new}")
        time.sleep(0.1)
    began = time.monotonic()
    while not all(place in context.progress.consumed() for place in new) and context.sender.keep_sending():
        if time.monotonic() > until:
            raise BrokerError(f"the new partitions {new} are not consumed")
        time.sleep(0.1)
    context.echo(f"the new partitions are consumed after {time.monotonic() - began:.1f} s")


def _written(context: FaultContext, places: Sequence[tuple[str, int]]) -> bool:
    try:
        return all(end_offsets(context.connection, places, committed=False).values())
    except BrokerError:  # a partition that was added a moment ago has no leader yet
        return False


def _grow(context: FaultContext) -> list[tuple[str, int]]:
    new = []
    for topic in (context.topics.requests, context.topics.outcomes):
        before = partition_count(context.connection, topic)
        after = before + context.random.randrange(1, 3)
        with client_of(context.connection) as admin:
            for future in admin.create_partitions([NewPartitions(topic, after)]).values():
                future.result(20)
        until = time.monotonic() + CONSUMED_S
        while partition_count(context.connection, topic) < after and time.monotonic() < until:
            time.sleep(0.1)  # not every answer contains them at once
        new += [(topic, number) for number in range(before, after)]
    return new


FAULTS: Final = (
    Fault(
        "partitions-added",
        "Requests and outcomes get more partitions than joins: outcomes are forwarded.",
        add_partitions,
    ),
)
