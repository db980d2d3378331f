"""Reads the events of a task from `T.control` and `T.alerts`, in pieces."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from infra.audit.chain import ChainReader
from infra.inbound import Message
from infra.kafka.admin import topic_id
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets, first_offsets
from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError
from schemas.records import Position
from schemas.topics import TaskTopics
from streams.notify.events import Decided, Event, Place, of_alert

AT_ONCE: Final = 1_000
"""Offsets of one piece: a reader is not kept open while a destination is tried again."""
log = logging.getLogger(__name__)


class Found(NamedTuple):
    """An event, or a record that is none."""

    offset: int
    event: Event | None


class Source:
    """The events of one topic; further reading goes on where the last piece ended.

    Parameters
    ----------
    connection, codec
        Where the task's topics are, and what reads them.
    topic
        `T.control` or `T.alerts`.
    """

    def __init__(self, connection: Connection, codec: Codec, topic: str) -> None:
        self._connection, self._codec, self.topic = connection, codec, topic
        self.topic_id = topic_id(connection, topic)
        self.next_offset = 0
        """Everything before it was read."""
        control = topic == TaskTopics(codec.task).control
        self._chain = ChainReader(connection, codec) if control else None
        self._decided = Decided(codec.task)

    @property
    def end(self) -> int:
        """The end of what is committed (blocks)."""
        return end_offsets(self._connection, [(self.topic, 0)])[self.topic, 0]

    def go_to(self, offset: int) -> None:
        """Go on at an offset; decisions are read from the beginning in any case, since they are folded."""
        if self._chain is None:
            self.next_offset = offset

    def piece(self) -> list[Found]:
        """Read the next piece (blocks); empty where there is none.

        Raises
        ------
        BrokerError
            It cannot be read.
        """
        place = (self.topic, 0)
        end = self.end
        if end < self.next_offset:
            raise BrokerError(
                f"{self.topic} ends before offset {self.next_offset}: restart if the topic is a new one"
            )
        end = min(end, self.next_offset + AT_ONCE)
        first = first_offsets(self._connection, [place])[place]
        if first > self.next_offset:
            log.warning("%s begins at offset %d: what was before it is gone", self.topic, first)
            self.next_offset, end = first, max(first, end)
        if end <= self.next_offset:
            return []
        messages = list(read_all(self._connection, self.topic, 0, self.next_offset, end))
        self.next_offset = end
        return [Found(message.offset() or 0, self._event(message)) for message in messages]

    def _event(self, message: Message) -> Event | None:
        position = Position(self.topic, 0, message.offset() or 0)
        place = Place(position, self.topic_id, message.timestamp()[1])
        if self._chain is not None:
            linked = self._chain.take(message)
            return self._decided.take(place, linked.record, linked.line)
        try:
            return of_alert(self._codec.task, place, self._codec.decode_alert(message.value()))
        except BadRecord as bad:
            log.error("%s is no alert and is not sent: %s", position, bad.message)
            return None


def sources(connection: Connection, codec: Codec) -> list[Source]:
    """Return the sources of a task's events."""
    names = TaskTopics(codec.task)
    return [Source(connection, codec, topic) for topic in (names.control, names.alerts)]
