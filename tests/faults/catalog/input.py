"""Producers write records that cannot be read, or put outcomes on the wrong partition."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Producer

from infra.kafka.admin import partition_count
from schemas.errors import BrokerError
from tests.faults.context import FaultContext
from tests.faults.fault import Fault

POISON: Final = (b"poison", b"", None)
"""Values that are no record."""


def poison(context: FaultContext) -> None:
    """Write records that cannot be read, on both inputs, among the good ones."""
    producer = Producer(context.connection.config())
    for topic in (context.topics.requests, context.topics.outcomes):
        for number in range(partition_count(context.connection, topic)):
            for value in POISON:
                producer.produce(topic, value, b"fault-poison", number)
                context.fault_dead_letters["unreadable"] += 1
                context.sender.extra_requests += topic == context.topics.requests
    if producer.flush(60):
        raise BrokerError("poison records could not be delivered")


def misplaced(context: FaultContext) -> None:
    """Put three of ten outcomes on the wrong partition, as librdkafka's default partitioner does."""
    context.sender.misplaced = 0.3
    context.wait_for_entries(1000)
    context.sender.misplaced = 0.0


FAULTS: Final = (
    Fault("poison", "Unreadable records arrive: each is one dead letter.", poison),
    Fault("misplaced", "A producer puts 30 % of the outcomes on a wrong partition.", misplaced),
)
