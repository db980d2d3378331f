"""Sending with futures: records that Kafka acknowledges, and requests that a prediction answers."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from infra.client.contract import Contract
from infra.client.predictions import decode, open_at_end
from infra.kafka.connection import Connection
from schemas.errors import BrokerError, UsageError

POLL_S = 0.1
log = logging.getLogger(__name__)


class Exchange:
    """A producer and, once something is asked, a consumer of the answers; each with a thread of its own.

    Parameters
    ----------
    contract
        The task's exported contract.
    connection
        The cluster.
    timeout_s
        How long Kafka may take to acknowledge a record, in s.
    """

    def __init__(self, contract: Contract, connection: Connection, timeout_s: float) -> None:
        self._contract, self._connection, self._timeout_s = contract, connection, timeout_s
        self._producer = Producer(
            connection.config(
                **{
                    "partitioner": contract.partitioner,
                    "enable.idempotence": True,
                    "message.timeout.ms": max(1, round(timeout_s * 1000)),
                }
            )
        )
        self._waiting: dict[str, Future[dict[str, Any]]] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._failed: Exception | None = None
        self._threads = [self._thread(self._deliver)]
        self._reading = False

    def _thread(self, run: Any, *arguments: Any) -> threading.Thread:
        made = threading.Thread(target=run, args=arguments, name="riverloop-client", daemon=True)
        made.start()
        return made

    def send(self, topic: str, key: str, data: bytes) -> Future[None]:
        """Send a record; the future ends when Kafka has acknowledged it, or with a BrokerError."""
        sent: Future[None] = Future()
        sent.set_running_or_notify_cancel()  # from now on nobody can cancel it

        def acknowledged(error: KafkaError | None, _: Message) -> None:
            if error is None:
                sent.set_result(None)
            else:
                sent.set_exception(BrokerError(f"{topic}: {key} was not acknowledged: {error}"))

        try:
            self._producer.produce(topic, data, key, on_delivery=acknowledged)
        except BufferError:
            sent.set_exception(BrokerError(f"{topic}: {key} was not sent, too many records wait for Kafka"))
        return sent

    def ask(self, request_id: str, data: bytes) -> Future[dict[str, Any]]:
        """Send a request; the future ends with the prediction's fields, or with a BrokerError."""
        with self._lock:
            if not self._reading:
                consumer = open_at_end(self._contract, self._connection)
                self._threads.append(self._thread(self._read, consumer))
                self._reading = True
            if self._failed is not None:
                raise self._failed
            # Two callers with one request id wait for the same prediction.
            answered = self._waiting.get(request_id)
            if answered is None:
                answered = self._waiting[request_id] = Future()
                answered.set_running_or_notify_cancel()

        def failed(sent: Future[None]) -> None:
            if (error := sent.exception()) is not None:
                self._end(request_id, error)

        self.send(self._contract.topic("requests"), request_id, data).add_done_callback(failed)
        return answered

    def forget(self, request_id: str, answered: Future[dict[str, Any]]) -> None:
        """Wait no longer for a prediction."""
        with self._lock:
            if self._waiting.get(request_id) is answered:
                del self._waiting[request_id]

    def close(self) -> None:
        """Wait for acknowledgements, for `timeout_s` at most, and end the threads."""
        self._producer.flush(self._timeout_s)
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _end(self, request_id: str, found: dict[str, Any] | BaseException) -> None:
        with self._lock:
            answered = self._waiting.pop(request_id, None)
        if answered is not None:
            if isinstance(found, BaseException):
                answered.set_exception(found)
            else:
                answered.set_result(found)

    def _deliver(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(POLL_S)

    def _read(self, consumer: Any) -> None:
        try:
            while not self._ended.is_set():
                message = consumer.poll(POLL_S)
                if message is None:
                    continue
                # Others' predictions are not decoded.
                request_id = (message.key() or b"").decode(errors="replace")
                if message.error() is None and request_id not in self._waiting:
                    continue
                try:
                    self._end(request_id, decode(self._contract, message))
                except UsageError as error:
                    self._end(request_id, error)
        except BrokerError as error:
            log.error("no more predictions are read: %s", error)
            with self._lock:
                self._failed = error
                waiting = list(self._waiting)
            for each in waiting:
                self._end(each, error)
        finally:
            with suppress(RuntimeError):
                consumer.close()
