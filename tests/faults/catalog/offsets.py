"""The groups' committed offsets are deleted or reset."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition

from infra.kafka.admin import client_of, code_of, partition_count
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError
from tests.faults.catalog.input import poison
from tests.faults.context import FaultContext
from tests.faults.fault import Fault

EMPTY_S: Final = 60.0
"""Within which the group of workers that were killed is empty."""
WAYS: Final = ("deleted", "earliest", "latest", "moved")
"""Where the offsets go; `moved` is any offset."""


def lose_offsets(context: FaultContext) -> None:
    """Delete or reset both groups' offsets while no worker runs; requests continue.

    It is tried while workers run as well: Kafka rejects that, unless all of them are just rejoining.
    """
    way, workers = context.random.choice(WAYS), context.running()
    rejected = _is_rejected(context)
    context.echo(f"the offsets are {way}; while workers run Kafka {'rejects' if rejected else 'allows'} it")
    for worker in workers:
        # No failover is measured: no worker is left to take over.
        (worker.kill if context.random.random() < 0.5 else worker.stop)()
    until = time.monotonic() + EMPTY_S
    while True:
        try:
            _lose(context, way)
            break
        except KafkaException as error:  # the sessions of killed workers last some seconds
            if time.monotonic() > until:
                raise BrokerError(f"the groups' offsets could not be {way}: {error}") from error
            time.sleep(0.5)
    for worker in workers:
        context.start(worker)
    for worker in workers:
        context.wait_ready(worker)
    # No offset is committed on a partition without new records, and the groups would not show the progress.
    poison(context)
    context.wait_for_entries(300)


def _places(context: FaultContext) -> dict[str, list[tuple[str, int]]]:
    names = context.topics
    shared = [
        (topic, number)
        for topic in (names.requests, names.predictions, names.outcomes, names.quality)
        for number in range(partition_count(context.connection, topic))
    ]
    return {context.group: shared, context.log_group: [(names.log, 0)]}


def _is_rejected(context: FaultContext) -> bool:
    """Whether Kafka rejects moved offsets of a group with members."""
    try:
        _move(context, context.group, [(context.topics.requests, 0)], "earliest")
    except KafkaException:
        return True
    return False


def _lose(context: FaultContext, way: str) -> None:
    if way == "deleted":
        with client_of(context.connection) as admin:
            for future in admin.delete_consumer_groups([context.group, context.log_group]).values():
                try:
                    future.result(20)
                except KafkaException as error:
                    if code_of(error) != KafkaError.GROUP_ID_NOT_FOUND:  # an earlier attempt deleted it
                        raise
        return
    for group, places in _places(context).items():
        _move(context, group, places, way)


def _move(context: FaultContext, group: str, places: Sequence[tuple[str, int]], way: str) -> None:
    ends = end_offsets(context.connection, places, committed=False)
    moved = [
        TopicPartition(*place, {"earliest": 0, "latest": end}.get(way, context.random.randrange(end + 1)))
        for place, end in ends.items()
    ]
    with client_of(context.connection) as admin:
        changes = [ConsumerGroupTopicPartitions(group, moved)]
        for future in admin.alter_consumer_group_offsets(changes).values():
            for place in future.result(20).topic_partitions:
                if place.error is not None:
                    raise KafkaException(place.error)


FAULTS: Final = (
    Fault(
        "offsets-lost",
        "All workers are stopped or killed, and their groups' offsets are deleted or reset.",
        lose_offsets,
    ),
)
