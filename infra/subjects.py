"""The keys of persons on Kafka: read before a task is served, followed while it is, written with what they made."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Final, Protocol

from confluent_kafka import Message

from infra.kafka.connection import Connection
from infra.kafka.log import LogReader, read_all
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Delivery
from schemas.dictionary import Dictionary
from schemas.errors import BadRecord, BrokerError, RecordsGone
from schemas.subject_keys import SALT_BYTES, SubjectKeys
from schemas.topics import TaskTopics

AGAIN_S: Final = 1.0
Salt = tuple[bytes, bytes]
"""A record of `T.keys`."""
log = logging.getLogger(__name__)


class Sends(Protocol):
    """What is needed of `infra.kafka.writer.Writer`."""

    def send(self, record: OutRecord) -> Delivery:
        """See `Writer.send`."""


class Subjects:
    """The subjects' keys of one task in one process.

    Parameters
    ----------
    keys
        None for a task that has no token, or whose token key is not given: then nothing is read or written.
    connection, topic
        Where `T.keys` lies.
    """

    def __init__(
        self, keys: SubjectKeys | None = None, connection: Connection | None = None, topic: str = ""
    ) -> None:
        self.keys = keys
        self._connection, self._topic = connection, topic
        self._next: int | None = None
        self._sent: dict[str, list[Salt]] = {}
        """By who writes transactions: the salts in the one at work."""
        self._under_way: dict[Salt, Delivery] = {}

    @classmethod
    def of(
        cls, connection: Connection, topics: TaskTopics, dictionary: Dictionary, token_key: bytes
    ) -> Subjects:
        """Make those of a task; none where its dictionary asks for no token."""
        keys = None
        if dictionary.tokenised and token_key:
            keys = SubjectKeys(token_key, lambda: secrets.token_bytes(SALT_BYTES))
        return cls(keys, connection, topics.keys)

    # ------------------------------------------------------------------ reading

    def load(self) -> None:
        """Read the topic to its end; open transactions are waited for (blocks).

        Raises
        ------
        BrokerError
            When the cluster does not answer, or has no such topic.
        """
        if self.keys is None or self._connection is None:
            return
        place = (self._topic, 0)
        end = end_offsets(self._connection, [place], committed=False)[place]
        for message in read_all(self._connection, *place, end=end) if end else ():
            self._read(message)

    async def follow(self) -> None:
        """Read what is written to the topic, for ever: new keys, and that some are forgotten."""
        if self.keys is None or self._connection is None:
            return
        while True:
            try:
                async with LogReader(self._connection, self._topic, 0, self._next) as reader:
                    async for batch in reader:
                        for message in batch.messages:
                            self._read(message)
                return
            except RecordsGone:
                # Somebody was forgotten while we were behind: all that counts lies at its beginning now.
                self._next = None
            except BrokerError as error:
                log.warning("%s: retrying in %g s: %s", self._topic, AGAIN_S, error)
                await asyncio.sleep(AGAIN_S)

    def _read(self, message: Message) -> None:
        assert self.keys is not None
        offset, value = message.offset() or 0, message.value()
        self._next = offset + 1
        try:
            self.keys.read(message.key(), value)
        except BadRecord as bad:
            log.warning("skipped %s[0]@%d: %s", self._topic, offset, bad.message)

    # ------------------------------------------------------------------ writing

    def records(self, writer: str) -> list[OutRecord]:
        """Give the records of new keys for a transaction: they are there if, and only if, its tokens are.

        Parameters
        ----------
        writer
            Whose transaction it is; `commit` says that it has committed.
        """
        if self.keys is None:
            return []
        self._sent[writer] = salts = self.keys.unwritten()
        return [self._record(salt) for salt in salts]

    def commit(self, writer: str) -> None:
        """Note that the transaction of a writer has committed."""
        if self.keys is not None and (salts := self._sent.pop(writer, None)):
            self.keys.written(salts)

    def send(self, writer: Sends) -> None:
        """Send the records of new keys, each of them until it is acknowledged.

        Raises
        ------
        BrokerError
            When one cannot be sent now.
        """
        for salt in () if self.keys is None else self.keys.unwritten():
            if salt in self._under_way:
                continue
            delivery = writer.send(self._record(salt))
            self._under_way[salt] = delivery
            delivery.add_done_callback(lambda done, salt=salt: self._delivered(salt, done))  # type: ignore[misc]

    def _delivered(self, salt: Salt, delivery: Delivery) -> None:
        self._under_way.pop(salt, None)
        if self.keys is not None and not delivery.cancelled() and delivery.exception() is None:
            self.keys.written([salt])

    def _record(self, salt: Salt) -> OutRecord:
        return OutRecord(self._topic, *salt, 0)
