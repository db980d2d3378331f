"""Where partitions end, and how far a consumer group has come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # public, but re-exported without __all__

from infra.kafka.admin import TIMEOUT_S, client_of, code_of, failed
from infra.kafka.connection import Connection
from schemas.errors import BrokerError, RecordsGone

# Said of a partition that is new or moves; `KafkaError.retriable` speaks of transactions only.
PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}


def end_offsets(
    connection: Connection, partitions: Iterable[tuple[str, int]], committed: bool = True
) -> dict[tuple[str, int], int]:
    """Return the offset after the last record of each partition.

    Parameters
    ----------
    partitions
        Topic and partition.
    committed
        Up to the oldest open transaction only (the last stable offset), as a reader of committed records gets
        it; False for the end of all that was written. The last stable offset follows a commit by a moment:
        the broker answers the producer before it has marked the partitions.

    Raises
    ------
    BrokerError
        A partition does not exist, or the cluster refuses or does not answer within 20 s.
    """
    isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent-kafka left it without types
    return _offsets(connection, partitions, latest, isolation)


def refuse_if_gone(connection: Connection, needed: Mapping[tuple[str, int], int], what_to_do: str) -> None:
    """Check that partitions still hold what somebody has to read (blocks).

    Parameters
    ----------
    needed
        By topic and partition: the first offset that was not read yet.
    what_to_do
        A sentence for the error.

    Raises
    ------
    RecordsGone
        A partition begins behind that offset.
    BrokerError
        As `end_offsets`.
    """
    earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent-kafka left it without types
    for (topic, number), start in _offsets(connection, needed, earliest).items():
        if start > needed[topic, number]:
            raise RecordsGone(
                f"{topic}[{number}] begins at offset {start} and must be read from {needed[topic, number]} on: "
                f"what lay between was deleted, by retention or by hand. {what_to_do}"
            )


def _offsets(
    connection: Connection,
    partitions: Iterable[tuple[str, int]],
    spec: OffsetSpec,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> dict[tuple[str, int], int]:
    wanted = {TopicPartition(topic, partition): spec for topic, partition in partitions}
    if not wanted:
        return {}
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        # A client goes on asking with the leaders that it has known: each attempt gets its own.
        admin = client_of(connection)
        futures = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=TIMEOUT_S)
        try:
            return {
                (place.topic, place.partition): int(future.result().offset)
                for place, future in futures.items()
            }
        except KafkaException as error:
            # A partition without a leader gets one; a topic that does not exist stays missing.
            if code_of(error) not in PASSING or time.monotonic() > deadline:
                asked = ", ".join(f"{place.topic}/{place.partition}" for place in wanted)
                raise failed(connection, f"the offsets of {asked} are not known", error) from error
            time.sleep(0.1)


def committed_offsets(
    connection: Connection, group: str, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Ask what a consumer group has committed, after the decision on its open transactions (blocks).

    Returns
    -------
    dict
        Only the places for which something is committed.

    Raises
    ------
    BrokerError
        When the cluster does not answer.
    """
    wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(*place) for place in places])
    admin = client_of(connection)
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            answer = admin.list_consumer_group_offsets([wanted], require_stable=True)[group].result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            raise BrokerError(f"the offsets of group {group} are not known: {error.args[0].str()}") from error
        except TimeoutError as error:  # of the future: the client itself has not answered
            raise BrokerError(f"the offsets of group {group} are not known: no answer") from error
        unknown = [place for place in answer.topic_partitions if place.error is not None]
        if not unknown:
            return {
                (place.topic, place.partition): place.offset
                for place in answer.topic_partitions
                if place.offset >= 0
            }
        # Never to be taken for a place where nothing is committed: an owner would begin with nothing.
        undecided = all(place.error.code() == KafkaError.UNSTABLE_OFFSET_COMMIT for place in unknown)
        if not undecided or time.monotonic() > deadline:
            place = unknown[0]
            what = f"{place.topic}/{place.partition}: {place.error.str()}"
            raise BrokerError(f"the offsets of group {group} are not known: {what}")
        time.sleep(0.05)
