"""The newest records of several partitions, and what comes after them, for whoever looks on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from schemas.errors import BrokerError

AT_ONCE: Final = 500
POLL_S: Final = 0.1
AHEAD: Final = 4
"""Batches that are fetched ahead of whoever iterates."""
TAIL_BASE: Final = -2000
"""librdkafka's RD_KAFKA_OFFSET_TAIL_BASE: this less n is the place n offsets before a partition's end."""
log = logging.getLogger(__name__)


class TailBatch(NamedTuple):
    """Records, those of a partition in its order."""

    messages: list[Message]
    caught_up: bool
    """Whether each partition was read to its end once."""


class Tail:
    """Reads partitions from near their ends on, committed records only, in one thread, outside any group.

    It is for looking on: unlike `LogReader` it skips what retention deleted, and waits out whatever may
    pass. Compacted topics are read whole if `newest` says more than they hold.

    Parameters
    ----------
    newest
        By topic and partition: how many offsets before the end to begin, 1 or more.

    Notes
    -----
    Iterating raises BrokerError when the cluster refuses.
    """

    def __init__(self, connection: Connection, newest: Mapping[tuple[str, int], int]) -> None:
        self._connection = connection
        self._places = [TopicPartition(*place, TAIL_BASE - count) for place, count in newest.items()]
        self._ends = set(newest)
        """Places whose end was not seen yet."""
        self._room = threading.Semaphore(AHEAD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tail", daemon=True)

    async def __aenter__(self) -> Tail:
        self._loop = asyncio.get_running_loop()
        self._batches: asyncio.Queue[TailBatch | BaseException] = asyncio.Queue()
        self._thread.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        # Nobody waits for the thread: it ends within a poll, and a worker that stops must not hang on a broker.
        self._stopping.set()
        self._room.release()

    async def __aiter__(self) -> AsyncIterator[TailBatch]:
        while True:
            batch = await self._batches.get()
            if isinstance(batch, BaseException):
                raise batch
            self._room.release()
            yield batch

    def _post(self, news: TailBatch | BaseException) -> None:
        with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody left to tell
            self._loop.call_soon_threadsafe(self._batches.put_nowait, news)

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # it dies alone in its thread otherwise
            self._post(error)

    def _read(self) -> None:
        config: dict[str, Any] = {
            # librdkafka wants a name although no group is joined and nothing is committed.
            "group.id": "riverloop-onlookers",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 4096,
        }
        consumer = Consumer(self._connection.config(**config), logger=CLIENT_LOG)
        try:
            consumer.assign(self._places)
            while not self._stopping.is_set():
                lagging = bool(self._ends)
                records = self._records(consumer.consume(AT_ONCE, POLL_S))
                if records or lagging != bool(self._ends):
                    self._room.acquire()
                    self._post(TailBatch(records, not self._ends))
        finally:
            consumer.close()

    def _records(self, messages: list[Message]) -> list[Message]:
        records = []
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ends.discard((str(message.topic()), message.partition() or 0))
            elif error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise BrokerError(f"{message.topic()} cannot be read: {self._connection.hide(error.str())}")
            else:
                log.info("looking on %s: %s", message.topic(), error.str())
        return records
