"""How far a destination has got: the offsets of a consumer group of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import metadata_of, stamp_and_note
from infra.notify.source import Source
from schemas.errors import BrokerError

T = TypeVar("T")
TIMEOUT_S: Final = 20.0
PASSING: Final = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


class Progress:
    """The progress of one destination.

    Parameters
    ----------
    group
        The consumer group; it has no members.
    """

    def __init__(self, connection: Connection, group: str) -> None:
        self.group = group
        config = {"group.id": group, "enable.auto.commit": False}
        self._consumer = Consumer(connection.config(**config), logger=CLIENT_LOG)

    def read(self, sources: Sequence[Source]) -> dict[str, int | None]:
        """Return by topic the offset before which all is delivered; None: nothing was ever committed.

        A topic that was deleted and created again begins at its first record.
        """
        places = [TopicPartition(each.topic, 0) for each in sources]
        found = self._patiently("unknown", lambda: self._consumer.committed(places, TIMEOUT_S))
        made = dict[str, int | None]()
        for source, place in zip(sources, found, strict=True):
            if place.error is not None:
                raise BrokerError(f"the progress of {self.group} is unknown: {place.error.str()}")
            stamp, _ = stamp_and_note(place.metadata)
            known = place.offset if stamp == source.topic_id else 0
            made[source.topic] = None if place.offset < 0 else known
        return made

    def write(self, source: Source, offset: int) -> None:
        """Commit that all before an offset is delivered (blocks).

        Raises
        ------
        BrokerError
            It is not committed: what was delivered is delivered again, under the same id.
        """
        place = TopicPartition(source.topic, 0, offset, metadata_of(source.topic_id, ""))
        self._patiently("not committed", lambda: self._consumer.commit(offsets=[place], asynchronous=False))

    def _patiently(self, what: str, ask: Callable[[], T]) -> T:
        """Ask again while the group's coordinator is being found: the first who asks for a group makes it."""
        until = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() > until:
                    raise BrokerError(
                        f"the progress of {self.group} is {what}: {error.args[0].str()}"
                    ) from error
            time.sleep(0.2)

    def close(self) -> None:
        """End the client."""
        self._consumer.close()


def group_of(group: str, task: str, destination: str) -> str:
    """Return the consumer group of a destination.

    Examples
    --------
    >>> group_of("riverloop", "hotel", "ci")
    'riverloop.hooks.hotel.ci'
    """
    return f"{group}.hooks.{task}.{destination}"
