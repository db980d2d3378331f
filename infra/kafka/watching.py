"""A task's topics as the cluster has them now, and where partitions begin and end (all of it blocks)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but re-exported without __all__
    ConfigResource,
    ResourceType,
)

from infra.kafka.admin import client_of, code_of, failed
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets, first_offsets
from streams.positions import OffsetRange, Place, TopicSeen

TIMEOUT_S = 5.0
ABSENT = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID}


def seen_topics(connection: Connection, names: Sequence[str]) -> dict[str, TopicSeen]:
    """Describe topics; those that do not exist are left out.

    Raises
    ------
    BrokerError
        The cluster does not answer: nothing is known then, and nothing is missing.
    """
    found = {}
    with client_of(connection) as admin:
        described = admin.describe_topics(TopicCollection([*names]), request_timeout=TIMEOUT_S)
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        configs = admin.describe_configs(resources, request_timeout=TIMEOUT_S)
        policies = {}
        for resource, future in configs.items():
            try:
                policies[resource.name] = str(future.result()["cleanup.policy"].value)
            except KafkaException as error:
                if code_of(error) not in ABSENT:
                    raise failed(connection, f"topic {resource.name} is unknown", error) from error
        for name, described_one in described.items():
            try:
                topic = described_one.result()
            except KafkaException as error:
                if code_of(error) not in ABSENT:
                    raise failed(connection, f"topic {name} is unknown", error) from error
                continue
            if name in policies:
                found[name] = TopicSeen(str(topic.topic_id), len(topic.partitions), policies[name])
    return found


def extents(connection: Connection, places: Iterable[Place]) -> dict[Place, OffsetRange]:
    """Give where partitions begin and end, open transactions included.

    Raises
    ------
    BrokerError
        As `end_offsets`.
    """
    asked = [*places]
    first, end = first_offsets(connection, asked), end_offsets(connection, asked, committed=False)
    return {place: OffsetRange(first[place], end[place]) for place in asked}
