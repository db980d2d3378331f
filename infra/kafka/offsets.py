"""Where partitions end, and how far a consumer group has come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # public, but re-exported without __all__

from infra.kafka.admin import TIMEOUT_S, client_for_offsets, code_of, failed
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from schemas.errors import BrokerError

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


def first_offsets(
    connection: Connection, partitions: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Return the oldest offset of each partition; raises as `end_offsets` does."""
    earliest = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent-kafka left it without types
    return _offsets(connection, partitions, earliest)


def offsets_since(
    connection: Connection, partitions: Iterable[tuple[str, int]], since_ms: int
) -> dict[tuple[str, int], int | None]:
    """Return the first offset of each partition whose record has a time (ms), or later; None where none has.

    Raises as `end_offsets` does.
    """
    since = OffsetSpec.for_timestamp(since_ms)
    found = _offsets(connection, partitions, since)
    return {place: None if offset < 0 else offset for place, offset in found.items()}


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
        try:
            # A client goes on asking with the leaders that it has known: each attempt gets its own.
            with client_for_offsets(connection) as admin:
                futures = admin.list_offsets(wanted, isolation_level=isolation, request_timeout=TIMEOUT_S)
                return {
                    (place.topic, place.partition): int(future.result().offset)
                    for place, future in futures.items()
                }
        except KafkaException as error:
            # A partition without a leader gets one; a topic that does not exist stays missing.
            if code_of(error) not in PASSING or time.monotonic() > deadline:
                asked = ", ".join(f"{place.topic}/{place.partition}" for place in wanted)
                raise failed(connection, f"the offsets of {asked} are unknown", error) from error
            time.sleep(0.1)


class Committed(NamedTuple):
    """What a group has committed of a partition."""

    offset: int
    stamp: str
    """The id of the topic, where one of our transactions wrote it; a person's tool leaves it empty."""
    note: str = ""
    """What else that transaction said of its progress."""


def metadata_of(stamp: str, note: str) -> str:
    """Give what is written beside an offset.

    Examples
    --------
    >>> metadata_of("Fk3xZ", ""), metadata_of("Fk3xZ", "712")
    ('Fk3xZ', 'Fk3xZ 712')
    """
    return f"{stamp} {note}" if note else stamp


def stamp_and_note(metadata: str | None) -> tuple[str, str]:
    """Give the parts of what `metadata_of` gave.

    Examples
    --------
    >>> stamp_and_note("Fk3xZ 712"), stamp_and_note("Fk3xZ"), stamp_and_note(None)
    (('Fk3xZ', '712'), ('Fk3xZ', ''), ('', ''))
    """
    stamp, _, note = (metadata or "").partition(" ")
    return stamp, note


class GroupOffsets:
    """Asks what a consumer group has committed. One client for many questions; to be closed.

    Notes
    -----
    A consumer that joins nothing asks, and no admin client: in that one librdkafka (2.16; its issue 5315) follows a
    null pointer when the answer is that the coordinator has moved, and the process is gone.
    """

    def __init__(self, connection: Connection, group: str) -> None:
        self._group = group
        config = {"group.id": group, "enable.auto.commit": False, "isolation.level": "read_committed"}
        self._consumer = Consumer(connection.config(**config), logger=CLIENT_LOG)

    def committed(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """See `committed_offsets`."""
        return {place: each.offset for place, each in self.stamped(places).items()}

    def stamped(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Committed]:
        """Give what is committed with who wrote it; raises as `committed_offsets` does."""
        unknown = f"the offsets of group {self._group} are unknown"
        try:
            asked = [TopicPartition(*place) for place in places]
            found = self._consumer.committed(asked, TIMEOUT_S) if asked else []
        except KafkaException as error:
            raise BrokerError(f"{unknown}: {error.args[0].str()}") from error
        # Never to be taken for a place where nothing is committed: an owner would begin with nothing.
        for place in found:
            if place.error is not None:
                raise BrokerError(f"{unknown}: {place.topic}/{place.partition}: {place.error.str()}")
        return {
            (place.topic, place.partition): Committed(place.offset, *stamp_and_note(place.metadata))
            for place in found
            if place.offset >= 0
        }

    def close(self) -> None:
        """End the client."""
        self._consumer.close()


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
    with closing(GroupOffsets(connection, group)) as offsets:
        return offsets.committed(places)


def stamped_offsets(
    connection: Connection, group: str, places: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Committed]:
    """Do as `committed_offsets`, and say of each offset which topic it was written for."""
    with closing(GroupOffsets(connection, group)) as offsets:
        return offsets.stamped(places)
