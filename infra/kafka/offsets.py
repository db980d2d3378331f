"""Where partitions end, and how far a consumer group has come."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from infra.kafka.admin import TIMEOUT_S, code_of, failed
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from schemas.errors import BrokerError

Place = tuple[str, int]
"""Topic and partition."""
LATEST: Final = -1
EARLIEST: Final = -2
# Said of a partition that is new or moves; `KafkaError.retriable` speaks of transactions only.
PASSING = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}


class PartitionOffsets:
    """Asks where partitions begin and end. One client for many questions; to be closed.

    Parameters
    ----------
    connection
        The cluster.
    committed
        Whether a partition ends at its oldest open transaction (the last stable offset), as a reader of committed
        records gets it; False for the end of all that was written. The last stable offset follows a commit by a
        moment: the broker answers the producer before it has marked the partitions.

    Notes
    -----
    A consumer that joins nothing asks, with the protocol's times for the latest and the earliest offset. An admin
    client's `list_offsets` (librdkafka 2.16) ends the process by an assertion where a broker hangs for some seconds
    in the middle of it, and a new one waits 1 or 3 s for a timer now and then.
    """

    def __init__(self, connection: Connection, committed: bool = True) -> None:
        self._connection = connection
        isolation = "read_committed" if committed else "read_uncommitted"
        config = {"group.id": "riverloop-offsets", "isolation.level": isolation}
        self._consumer = Consumer(connection.config(**config), logger=CLIENT_LOG)

    def ends(self, places: Iterable[Place], timeout_s: float = TIMEOUT_S) -> dict[Place, int]:
        """Return the offset after the last record of each partition (blocks).

        Raises
        ------
        BrokerError
            A partition does not exist, or the cluster refuses or does not answer in time.
        """
        return self._ask(places, LATEST, timeout_s)

    def firsts(self, places: Iterable[Place], timeout_s: float = TIMEOUT_S) -> dict[Place, int]:
        """Return the oldest offset of each partition; raises as `ends` does."""
        return self._ask(places, EARLIEST, timeout_s)

    def since(self, places: Iterable[Place], since_ms: int) -> dict[Place, int]:
        """Return the first offset of each partition whose record has a time, or later; negative where none has."""
        return self._ask(places, since_ms, TIMEOUT_S)

    def _ask(self, places: Iterable[Place], moment: int, timeout_s: float) -> dict[Place, int]:
        wanted = [*dict.fromkeys(places)]
        deadline = time.monotonic() + timeout_s
        found: dict[Place, int] = {}
        while len(found) < len(wanted):
            left = [place for place in wanted if place not in found]
            try:
                asked = [TopicPartition(*place, moment) for place in left]
                errors = []
                for place in self._consumer.offsets_for_times(asked, max(deadline - time.monotonic(), 0.1)):
                    if place.error is None:
                        found[place.topic, place.partition] = place.offset
                    else:
                        errors.append(KafkaException(place.error))
                if errors:
                    raise errors[0]
            except KafkaException as error:
                # A partition without a leader gets one; a topic that does not exist stays missing.
                passing = code_of(error) in PASSING or self._without_leader(left, error, deadline)
                if not passing or time.monotonic() > deadline:
                    unknown = ", ".join(f"{topic}/{partition}" for topic, partition in left)
                    raise failed(self._connection, f"the offsets of {unknown} are unknown", error) from error
                time.sleep(0.1)
        return found

    def _without_leader(self, places: list[Place], error: KafkaException, deadline: float) -> bool:
        """Say whether the cluster has partitions that this client does not know, since they had no leader."""
        if code_of(error) != KafkaError._UNKNOWN_PARTITION:
            return False
        try:
            topics = self._consumer.list_topics(timeout=max(deadline - time.monotonic(), 0.1)).topics
        except KafkaException:  # not known yet
            return True
        return all(topic in topics and partition in topics[topic].partitions for topic, partition in places)

    def close(self) -> None:
        """End the client."""
        self._consumer.close()


def end_offsets(
    connection: Connection, partitions: Iterable[Place], committed: bool = True
) -> dict[Place, int]:
    """Ask once with a client of its own; see `PartitionOffsets`, whose `ends` raises the same."""
    with closing(PartitionOffsets(connection, committed)) as offsets:
        return offsets.ends(partitions)


def first_offsets(connection: Connection, partitions: Iterable[Place]) -> dict[Place, int]:
    """Return the oldest offset of each partition; raises as `end_offsets` does."""
    with closing(PartitionOffsets(connection)) as offsets:
        return offsets.firsts(partitions)


def offsets_since(
    connection: Connection, partitions: Iterable[Place], since_ms: int
) -> dict[Place, int | None]:
    """Return the first offset of each partition whose record has a time (ms), or later; None where none has.

    Raises as `end_offsets` does.
    """
    with closing(PartitionOffsets(connection)) as offsets:
        found = offsets.since(partitions, since_ms)
    return {place: None if offset < 0 else offset for place, offset in found.items()}


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

    def committed(self, places: Sequence[Place]) -> dict[Place, int]:
        """See `committed_offsets`."""
        return {place: each.offset for place, each in self.stamped(places).items()}

    def stamped(self, places: Sequence[Place]) -> dict[Place, Committed]:
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


def committed_offsets(connection: Connection, group: str, places: Sequence[Place]) -> dict[Place, int]:
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


def stamped_offsets(connection: Connection, group: str, places: Sequence[Place]) -> dict[Place, Committed]:
    """Do as `committed_offsets`, and say of each offset which topic it was written for."""
    with closing(GroupOffsets(connection, group)) as offsets:
        return offsets.stamped(places)
