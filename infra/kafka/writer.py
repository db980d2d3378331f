"""Single records, each with its acknowledgement: what HTTP promises is on the topic before it answers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any, Final

from confluent_kafka import KafkaException, Message, Producer

from infra.kafka.acknowledging import SILENCE, Acknowledging
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.transaction import OutRecord
from schemas.errors import BrokerError
from schemas.records import Position
from schemas.topics import MAX_TOPIC_RECORD_BYTES, PARTITIONER

DELIVERY_MS: Final = 5_000
"""After so long without an acknowledgement a record counts as not written; nobody waits for it any more."""
WAITING_RECORDS: Final = 100_000
WAITING_KBYTES: Final = 65_536
POLL_S: Final = 0.1
CLOSE_S: Final = 5.0

log = logging.getLogger(__name__)

Delivery = asyncio.Future[Position]


class Writer:
    """Writes records with an idempotent producer; each has a future that its acknowledgement resolves.

    Parameters
    ----------
    delivery_ms
        After how long without an acknowledgement a record counts as not written.
    cluster
        Learns what becomes of the records.

    Notes
    -----
    A record that failed by time-out may be on the topic all the same: its acknowledgement may be what got
    lost. Who writes it again writes the same bytes.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        delivery_ms: int = DELIVERY_MS,
        cluster: Acknowledging | None = None,
    ) -> None:
        self._cluster = cluster or Acknowledging()
        self._connection = connection
        self._config = connection.config(
            **{
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": PARTITIONER,
                # As clients have it now: one caller waits 5 ms longer, and of a thousand a second each waits for
                # less than half, since the broker gets a request for several (ADR 22).
                "linger.ms": 5,
                "socket.nagle.disable": True,
                "message.timeout.ms": delivery_ms,
                "message.max.bytes": MAX_TOPIC_RECORD_BYTES,
                "queue.buffering.max.messages": WAITING_RECORDS,
                "queue.buffering.max.kbytes": WAITING_KBYTES,
                "client.id": "riverloop-http",
            }
        )
        self._producer = self._new()
        self._settled: list[tuple[Delivery, Position | BrokerError]] = []
        self._fatal = False
        self._closing = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._poll, name="writer", daemon=True)

    def __repr__(self) -> str:
        return f"<Writer to {self._connection.bootstrap}, {len(self._producer)} unacknowledged>"

    def start(self) -> None:
        """Begin to take acknowledgements, on the event loop that will send; the first `send` does it, too."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def send(self, record: OutRecord) -> Delivery:
        """Hand a record over; gives the future of its place on the topic.

        The future's error is a `BrokerError`: then nothing may be promised.

        Raises
        ------
        BrokerError
            At once, when it cannot even wait: too many others do, or it is too large. It is not written.
        """
        if self._closing.is_set():
            raise BrokerError(f"{record.topic}: cannot be written: the worker is stopping")
        if self._loop is None:
            self.start()
        delivery: Delivery = asyncio.get_running_loop().create_future()

        def delivered(error: Any, message: Message) -> None:
            # In the polling thread, within its poll().
            if error is None:
                self._cluster.acknowledged("HTTP")
                place = Position(message.topic() or "", message.partition() or 0, message.offset() or 0)
                self._settled.append((delivery, place))
                return
            self._fatal = self._fatal or bool(error.fatal())
            if error.code() in SILENCE:
                self._cluster.failed("HTTP", time.monotonic(), error.str())
            self._settled.append((delivery, BrokerError(f"{record.topic}: not acknowledged: {error.str()}")))

        partition = -1 if record.partition is None else record.partition
        try:
            self._producer.produce(
                record.topic,
                record.value,
                record.key,
                partition,
                on_delivery=delivered,
                headers=record.headers or [],
            )
        except BufferError:
            raise BrokerError(f"{record.topic}: too many unacknowledged records") from None
        except KafkaException as error:
            self._fatal = self._fatal or bool(error.args[0].fatal())
            raise BrokerError(f"{record.topic}: cannot be written: {error.args[0].str()}") from error
        return delivery

    async def close(self) -> None:
        """Wait up to five seconds for what is unacknowledged, then give it up."""
        if self._loop is None:
            return
        await self._loop.run_in_executor(None, self._end)
        self._settle(self._taken())

    # ------------------------------------------------------------------ the polling thread

    def _new(self) -> Producer:
        return Producer(self._config, logger=CLIENT_LOG)

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(POLL_S)
            self._hand_over()
            if self._fatal:
                # An idempotent producer that cannot keep its promise writes nothing any more.
                broken, self._producer, self._fatal = self._producer, self._new(), False
                log.warning("%s: replacing the failed producer", self)
                broken.purge()
                broken.flush(CLOSE_S)
                self._hand_over()

    def _hand_over(self) -> None:
        if self._settled and self._loop is not None:
            # One wake-up for all that one poll() brought.
            self._loop.call_soon_threadsafe(self._settle, self._taken())

    def _taken(self) -> list[tuple[Delivery, Position | BrokerError]]:
        taken, self._settled = self._settled, []
        return taken

    def _settle(self, settled: list[tuple[Delivery, Position | BrokerError]]) -> None:
        failed = [result for _, result in settled if isinstance(result, BrokerError)]
        if failed:
            # One line for all: a broker that is down fails each record there is.
            log.warning("%d records: %s", len(failed), self._connection.hide(str(failed[-1])))
        for delivery, result in settled:
            if delivery.done():
                continue
            if isinstance(result, Position):
                delivery.set_result(result)
            else:
                delivery.set_exception(result)
                # Whoever waited for it may be gone; that is no news then.
                delivery.exception()

    def _end(self) -> None:
        self._closing.set()
        self._thread.join()
        if self._producer.flush(CLOSE_S):
            self._producer.purge()
            self._producer.flush(1)
