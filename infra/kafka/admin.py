"""Administration of topics: create, check, delete records.

All functions raise BrokerError when the cluster refuses or does not answer within 20 s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but re-exported without __all__
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicDescription,
)

from infra.kafka.connection import Connection
from schemas.errors import BrokerError, UsageError
from schemas.topics import TopicSpec

TIMEOUT_S = 20.0
# Compaction skips a partition's newest segment: small ones keep what a restart has to read bounded.
COMPACTED_SEGMENT_BYTES = 64 * 1024 * 1024


def topic_config(spec: TopicSpec) -> dict[str, str]:
    """Return the topic properties that a specification stands for, named as Kafka names them."""
    config = {
        "cleanup.policy": spec.cleanup,
        "max.message.bytes": str(spec.max_message_bytes),
        # Kafka's timestamp is arrival; event time lives in the record only.
        "message.timestamp.type": "LogAppendTime",
    }
    if spec.cleanup == "compact":
        config["segment.bytes"] = str(COMPACTED_SEGMENT_BYTES)
        # State on a worker's disk that is younger cannot have missed a deletion (Kafka's default, said aloud).
        config["delete.retention.ms"] = str(24 * 3600 * 1000)
        if spec.compacted_after_ms:
            config["min.compaction.lag.ms"] = str(spec.compacted_after_ms)
    else:
        config["retention.ms"] = str(-1 if spec.retention_ms is None else spec.retention_ms)
        # The size limit is a cluster's default that could cut what is to be kept.
        config["retention.bytes"] = "-1"
    return config


def create_topics(connection: Connection, specs: Iterable[TopicSpec], replication: int = -1) -> list[str]:
    """Create those topics that do not exist, and wait until they can be written.

    Parameters
    ----------
    replication
        Copies of each partition; -1 for the cluster's default.

    Returns
    -------
    list of str
        The names of the topics that were made. An existing topic is left as it is: see `check_topics`.
    """
    with client_of(connection) as admin:
        wanted = list(specs)
        new = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                replication_factor=replication,
                config=topic_config(spec),
            )
            for spec in wanted
        ]
        created = []
        futures = (
            admin.create_topics(new, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S) if new else {}
        )
        for name, future in futures.items():
            try:
                future.result()
                created.append(name)
            except KafkaException as error:
                if code_of(error) != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise failed(connection, f"topic {name} could not be created", error) from error

        def usable() -> bool:
            described = _describe(connection, admin, created)
            # A new topic is not known to every broker at once.
            return len(described) == len(created) and all(map(_has_leaders, described.values()))

        _until(usable, f"the new topics {', '.join(created)} on {connection.bootstrap} have no leader")
        return created


def check_topics(connection: Connection, specs: Iterable[TopicSpec]) -> list[str]:
    """Compare the cluster's topics with what they must be.

    Returns
    -------
    list of str
        One sentence per difference, with what to do; empty when all is as it must be.
    """
    wanted = {spec.name: spec for spec in specs}
    with client_of(connection) as admin:
        described = _describe(connection, admin, list(wanted))
        configs = _configs(connection, admin, [name for name in wanted if name in described])
    differences = []
    for name, spec in wanted.items():
        if name not in described:
            differences.append(f"topic {name} is missing; run: riverloop topics create")
            continue
        partitions = len(described[name].partitions)
        if partitions < spec.partitions:
            differences.append(
                f"topic {name} has {partitions} partitions, not {spec.partitions}; run: kafka-topics --alter "
                f"--topic {name} --partitions {spec.partitions}"
            )
    for name, config in configs.items():
        for key, value in topic_config(wanted[name]).items():
            if config.get(key) != value:
                differences.append(
                    f"topic {name} has {key}={config.get(key)}, not {value}; run: kafka-configs --alter "
                    f"--topic {name} --add-config {key}={value}"
                )
    return differences


def delete_records(
    connection: Connection, before: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """Delete the records of partitions below an offset.

    No reader gets them from then on. The broker keeps their bytes on its disk until the segment that they lie in
    is closed, and lies whole below the offset.

    Parameters
    ----------
    before
        By topic and partition: the first offset that stays, at most the high watermark.

    Returns
    -------
    dict
        By topic and partition: the oldest offset that is left.
    """
    wanted = [TopicPartition(topic, number, offset) for (topic, number), offset in before.items()]
    if not wanted:
        return {}
    found = {}
    with client_of(connection) as admin:
        for place, future in admin.delete_records(wanted, request_timeout=TIMEOUT_S).items():
            try:
                found[place.topic, place.partition] = int(future.result().low_watermark)
            except KafkaException as error:
                what = f"records of {place.topic}[{place.partition}] could not be deleted"
                raise failed(connection, what, error) from error
    return found


def topic_id(connection: Connection, name: str) -> str:
    """Return the id that a topic got when it was created; a topic made anew under its name has another.

    Raises
    ------
    BrokerError
        The topic does not exist, or the cluster refuses or does not answer.
    """
    with client_of(connection) as admin:
        described = _describe(connection, admin, [name])
    if name not in described:
        raise BrokerError(f"topic {name} does not exist on {connection.bootstrap}")
    return str(described[name].topic_id)


def partition_count(connection: Connection, name: str) -> int:
    """Return a topic's number of partitions; 0 when there is no such topic."""
    try:
        with client_of(connection) as admin:
            topic = admin.list_topics(name, timeout=TIMEOUT_S).topics[name]
    except KafkaException as error:
        raise failed(connection, f"asking for topic {name}", error) from error
    return 0 if topic.error is not None else len(topic.partitions)


def client_of(connection: Connection) -> AdminClient:
    """Give a client for administration. To be closed, by `with`.

    Notes
    -----
    One that is only forgotten ends where its last reference goes, and that may be a thread of its own, which
    answers futures: librdkafka then aborts the process.

    Raises
    ------
    UsageError
        librdkafka does not take one of the connection's properties.
    """
    try:
        # The log line that librdkafka writes for every rejected attempt says nothing that our errors do not.
        return AdminClient(connection.config(log_level=0))
    except KafkaException as error:
        # Without the cause: its text may hold what was hidden.
        raise UsageError(
            f"librdkafka rejects a Kafka property: {connection.hide(error.args[0].str())}"
        ) from None


def _describe(connection: Connection, admin: AdminClient, names: list[str]) -> dict[str, TopicDescription]:
    found = {}
    futures = admin.describe_topics(TopicCollection(names), request_timeout=TIMEOUT_S) if names else {}
    for name, future in futures.items():
        try:
            found[name] = future.result()
        except KafkaException as error:
            if code_of(error) != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise failed(connection, f"topic {name} could not be described", error) from error
    return found


def _configs(connection: Connection, admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    found = {}
    futures = admin.describe_configs(resources, request_timeout=TIMEOUT_S) if resources else {}
    for resource, future in futures.items():
        try:
            entries = future.result()
        except KafkaException as error:
            what = f"the configuration of topic {resource.name} could not be read"
            raise failed(connection, what, error) from error
        found[resource.name] = {name: entry.value for name, entry in entries.items()}
    return found


def _has_leaders(topic: TopicDescription) -> bool:
    return all(partition.leader is not None for partition in topic.partitions)


def _until(reached: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not reached():
        if time.monotonic() > deadline:
            raise BrokerError(f"after {TIMEOUT_S:.0f} s {otherwise}")
        time.sleep(0.05)


def code_of(error: KafkaException) -> int:
    """Give Kafka's code of an error."""
    return int(error.args[0].code())


def failed(connection: Connection, what: str, error: KafkaException) -> BrokerError:
    """Make the error that says what failed on which cluster, without its secrets."""
    return BrokerError(f"{what} (cluster {connection.bootstrap}): {connection.hide(error.args[0].str())}")
