"""Reading a partition outside any consumer group: the training log as it grows, a changelog up to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets, first_offsets
from infra.kafka.reading import COMMITTED, FETCH_WAIT_MS
from schemas.errors import BrokerError, RecordsGone

AT_ONCE = 1000
POLL_S = 0.02
BOUNDED_WAIT_MS = 10
"""The broker answers a bounded read at the end of a partition after this time. The last offsets may be commit
markers, so a record does not tell the reader that it has reached the end."""
STALLED_S = 60.0
SETTLE_S = 12.0
"""A reader that follows waits at most so long for transactions that are open when it starts: longer than any of
ours may stay open (`TIMEOUT_MS` in `infra.kafka.transaction`)."""
NEWER_SNAPSHOT = (
    "What was folded from it is only in snapshots: put one from the log's oldest offset or later into the "
    "snapshot store (a copy of it, or another worker's), or restore the log, and start again"
)

log = logging.getLogger(__name__)


class LogBatch(NamedTuple):
    """Records that follow on those of the batch before."""

    messages: list[Message]
    """The records; empty when the only news is `caught_up`."""
    caught_up: bool
    """Whether all that was committed when the reader started is in this batch or came before it, also what was
    not visible yet: see `LogReader`."""


class LogReader:
    """Reads one partition from an offset on, committed records only, in a thread of its own.

    Parameters
    ----------
    topic, partition
        What is read.
    start
        The first offset; None for the oldest record there is.
    buffer
        About how many records are fetched ahead of whoever iterates.

    Notes
    -----
    Iterating raises RecordsGone when `start` is not on the partition any more, BrokerError when the cluster
    rejects.
    Offsets have gaps: commit markers and aborted records occupy some.

    A commit that has returned is not visible at once: its markers are written afterwards, and they wait behind
    older transactions. So the reader has caught up when it has passed all that was written when it started.
    A transaction that stays open for 12 s is not waited for any longer, with a warning.

    Examples
    --------
    ::

        async with LogReader(connection, "task.log", start=position) as reader:
            async for batch in reader:
                ...
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        partition: int = 0,
        start: int | None = None,
        buffer: int = 4000,
    ) -> None:
        self._connection = connection
        self._place, self._start = (topic, partition), start
        self._buffer = buffer
        self._waiting = 0
        self.position = -1
        """Everything below this offset was fetched; -1: unknown."""
        self.end = -1
        """The end of all that was written when it started; -1: unknown."""
        self._room = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"log-{topic}-{partition}", daemon=True)

    def __repr__(self) -> str:
        return f"<LogReader {self._place[0]}[{self._place[1]}]>"

    @property
    def waiting(self) -> int:
        """How many records were fetched and not yet taken."""
        return self._waiting

    async def start(self) -> None:
        """Begin to fetch."""
        self._loop = asyncio.get_running_loop()
        self._batches: asyncio.Queue[LogBatch | BaseException | None] = asyncio.Queue()
        self._ended = asyncio.Event()
        self._thread.start()

    async def stop(self) -> None:
        """End the thread; who iterates gets what was fetched already, and then the end."""
        with self._room:
            self._stopping = True
            self._room.notify()
        await self._ended.wait()
        self._thread.join()

    async def __aenter__(self) -> LogReader:
        await self.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.stop()

    async def __aiter__(self) -> AsyncIterator[LogBatch]:
        while True:
            batch = await self._batches.get()
            if batch is None:
                return
            if isinstance(batch, BaseException):
                raise batch
            with self._room:
                self._waiting -= len(batch.messages)
                self._room.notify()
            yield batch

    def _post(self, news: LogBatch | BaseException | None) -> None:
        with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody left to tell
            self._loop.call_soon_threadsafe(self._batches.put_nowait, news)

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # it dies alone in its thread otherwise
            self._post(error)
        finally:
            self._post(None)
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended.set)

    def _read(self) -> None:
        topic, partition = place = self._place
        stable = end_offsets(self._connection, [place])[place]
        end = self.end = end_offsets(self._connection, [place], committed=False)[place]
        caught_up = False
        until = time.monotonic() + SETTLE_S
        with _Reading(self._connection, topic, partition, self._start) as reading:
            while self._wait_for_room():
                messages, reached = reading.fetch()
                position = max(self.position, reached)
                news = not caught_up and position >= end
                if not (caught_up or news) and position >= stable and time.monotonic() > until:
                    log.warning(
                        "%s[%d] is read to offset %d of %d: a transaction has been open there for %.0f s, and "
                        "is not waited for any longer",
                        *(topic, partition, position, end, SETTLE_S),
                    )
                    news = True
                caught_up = caught_up or news
                if messages or news:
                    with self._room:
                        self._waiting += len(messages)
                    self._post(LogBatch(messages, caught_up))
                self.position = position  # after `waiting`, which says what of it is not taken yet

    def _wait_for_room(self) -> bool:
        with self._room:
            self._room.wait_for(lambda: self._stopping or self._waiting < self._buffer)
            return not self._stopping


def read_all(
    connection: Connection, topic: str, partition: int = 0, start: int | None = None, end: int | None = None
) -> Iterator[Message]:
    """Read the committed records of a partition up to an end; blocks.

    Parameters
    ----------
    start
        The first offset; None for the oldest record there is.
    end
        The offset before which to stop; by default the end of all that is written at the call. Transactions that
        are open there are waited for, and their records come, too, if they commit: a commit that has returned
        may still be among them, since the broker answers before it has marked the partitions, and the marks wait
        behind older transactions.

    Raises
    ------
    RecordsGone
        `start` is not on the partition any more.
    BrokerError
        The cluster refuses, or nothing happens for 60 s: somebody has left a transaction open.
    """
    if end is None:
        end = end_offsets(connection, [(topic, partition)], committed=False)[topic, partition]
    with _Reading(connection, topic, partition, start, BOUNDED_WAIT_MS) as reading:
        position, moved = reading.start, time.monotonic()
        while position < end:
            messages, reached = reading.fetch()
            for message in messages:
                if _offset(message) >= end:
                    return
                yield message
            if reached > position:
                position, moved = reached, time.monotonic()
            elif time.monotonic() > moved + STALLED_S:
                raise BrokerError(
                    f"{topic}[{partition}] was read to offset {position} of {end}, then nothing came for "
                    f"{STALLED_S:.0f} s: is a transaction left open, or the broker gone? "
                    f"`kafka-transactions.sh find-hanging --topic {topic} --partition {partition}` names it"
                )


class _Reading:
    """A consumer of one partition from an offset on; None stands for the oldest record.

    The oldest offset is asked for explicitly. librdkafka (2.16) takes half a second longer to find it.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        partition: int,
        start: int | None,
        wait_ms: int = FETCH_WAIT_MS,
    ) -> None:
        self._connection, self._place, self._oldest = connection, (topic, partition), start is None
        self.start = self._first() if start is None else start
        # librdkafka wants a name although no group is joined and nothing is committed.
        config = {**COMMITTED, "group.id": f"{topic}-readers", "fetch.wait.max.ms": wait_ms}
        self._consumer = Consumer(connection.config(**config), logger=CLIENT_LOG)

    def __enter__(self) -> _Reading:
        self._assign()
        return self

    def __exit__(self, *failure: object) -> None:
        self._consumer.close()

    def _first(self) -> int:
        return first_offsets(self._connection, [self._place])[self._place]

    def _assign(self) -> None:
        self._consumer.assign([TopicPartition(*self._place, self.start)])

    def fetch(self) -> tuple[list[Message], int]:
        """Fetch what there is, and up to which offset everything was fetched (-1 when nothing came)."""
        messages = self._consumer.consume(1, POLL_S)
        if messages:
            messages += self._consumer.consume(AT_ONCE - 1, 0)
        records, position = [], -1
        for message in messages:
            error = message.error()
            if error is None:
                records.append(message)
                position = _offset(message) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                position = _offset(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET and self._oldest:
                # What was the oldest record has been deleted since it was asked for.
                self.start = self._first()
                self._assign()
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise RecordsGone(
                    f"{message.topic()}[{message.partition()}]: the next offset to read no longer exists "
                    f"({error.str()}): it was deleted, by retention or by hand. {NEWER_SNAPSHOT}"
                )
            elif error.retriable() or not _hopeless(error):
                log.warning("reading %s: %s", message.topic(), error.str())
            else:
                raise KafkaException(error)
        self._oldest = self._oldest and position < 0
        return records, position


def _hopeless(error: KafkaError) -> bool:
    return error.fatal() or error.code() in {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset
