"""Spans for an OpenTelemetry collector, by a reader beside the loop: workers know nothing of it."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.inbound import ARRIVED, TRACEPARENT, header
from infra.kafka.admin import partition_count
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import committed_offsets, end_offsets, first_offsets
from infra.kafka.reading import COMMITTED
from schemas.codec import Codec
from schemas.errors import BadRecord, BrokerError
from schemas.records import Position
from schemas.topics import TaskTopics
from streams.native.turn import facts_of
from streams.tracing import (
    CONSUMER,
    SERVER,
    Caller,
    Span,
    caller_of,
    is_sampled,
    learning_spans,
    otlp,
    prediction_span,
)

AT_ONCE: Final = 1_000
COMMIT_S: Final = 5.0
REMEMBERED: Final = 100_000
"""Callers of requests whose outcomes may come; those of older ones are read from `T.requests` again."""
TIMEOUT_S: Final = 10.0
PATIENCE_S: Final = 60.0
"""The longest pause between two attempts."""
TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
"""Of the OTLP specification; another failure would come again."""
PASSING: Final = frozenset({KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE})

log = logging.getLogger(__name__)


class SpanReader:
    """Reads predictions and the training log of a task, and makes spans of a share of the requests.

    Parameters
    ----------
    share
        Of the requests, 0 to 1; chosen by id.
    group
        Consumer group for its offsets; it has no members. A new one begins with what is written from now on.
    """

    def __init__(self, connection: Connection, codec: Codec, share: float, group: str) -> None:
        self._connection, self._codec, self._share, self._group = connection, codec, share, group
        self._task, self._names = codec.task, TaskTopics(codec.task)
        self._scan = facts_of(codec)
        self._callers: OrderedDict[str, Caller | None] = OrderedDict()
        config = {**COMMITTED, "group.id": group, "enable.partition.eof": False}
        self._consumer = Consumer(connection.config(**config), logger=CLIENT_LOG)
        # One record at a time, from anywhere.
        config |= {"queued.min.messages": 1, "fetch.message.max.bytes": 65_536}
        self._requests = Consumer(connection.config(**config), logger=CLIENT_LOG)
        self._next = self._starts()
        self._committed: dict[tuple[str, int], int] = {}
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])

    def _starts(self) -> dict[tuple[str, int], int]:
        topics = (self._names.predictions, self._names.log)
        places = [
            (topic, number) for topic in topics for number in range(partition_count(self._connection, topic))
        ]
        if not places:
            raise BrokerError(f"task {self._task} has no topics; run: riverloop topics create")
        ends, firsts = (each(self._connection, places) for each in (end_offsets, first_offsets))
        known = committed_offsets(self._connection, self._group, places)
        return {
            place: min(ends[place], max(firsts[place], known.get(place, ends[place]))) for place in places
        }

    def read(self, timeout_s: float = 0.5) -> list[Span]:
        """Return the spans of what was written since the last call (blocks); not yet committed."""
        spans: list[Span] = []
        for message in self._consumer.consume(AT_ONCE, timeout_s):
            error = message.error()
            if error is not None:
                if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise BrokerError(f"{message.topic()} cannot be read: {error.str()}")
                log.warning("reading %s: %s", message.topic(), error.str())
                continue
            topic, number, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
            self._next[topic, number] = offset + 1
            try:
                spans += self._of_log(message) if topic == self._names.log else self._of_prediction(message)
            except BadRecord as bad:
                log.warning("%s[%d]@%d has no spans: %s", topic, number, offset, bad.message)
        return spans

    @property
    def position(self) -> dict[tuple[str, int], int]:
        """By topic and partition the offset before which all was read."""
        return dict(self._next)

    def commit(self) -> None:
        """Commit that all that was read is sent (blocks)."""
        if self._next == self._committed:
            return
        offsets = [TopicPartition(*place, offset) for place, offset in self._next.items()]
        until = time.monotonic() + 2 * TIMEOUT_S
        while True:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=False)
                self._committed = dict(self._next)
                return
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() > until:
                    raise BrokerError(f"the progress of {self._group} is not committed: {error}") from error
            time.sleep(0.2)

    def close(self) -> None:
        """Leave the cluster."""
        self._consumer.close()
        self._requests.close()

    def _of_prediction(self, message: Message) -> list[Span]:
        if not is_sampled(message.key() or b"", self._share):
            return []
        prediction, written = self._codec.decode_prediction(message.value()), message.timestamp()[1]
        kind = SERVER if prediction.source is None else CONSUMER
        if prediction.source is None:
            caller, arrived = caller_of(header(message, TRACEPARENT)), _arrived(message, written)
        else:
            caller, arrived = self._request(prediction.source, written)
        self._callers[prediction.request_id] = caller
        if len(self._callers) > REMEMBERED:
            self._callers.popitem(last=False)
        version = prediction.scores[0].version if prediction.scores else ""
        about = (prediction.request_id, caller, arrived, written, version, kind)
        return [prediction_span(self._task, *about)]

    def _of_log(self, message: Message) -> tuple[Span, ...]:
        value = message.value() or b""
        fact = None if self._scan is None else self._scan.facts([value]).fact(0)
        if fact is not None and not is_sampled(fact.request_id.encode(), self._share):
            return ()
        entry = self._codec.decode_entry(value)
        prediction = entry.prediction
        if entry.kind != "labelled" or prediction is None or entry.arrived is None:
            return ()
        request_id, logged = prediction.request_id, message.timestamp()[1]
        if not is_sampled(request_id.encode(), self._share):
            return ()
        if request_id in self._callers:
            caller = self._callers.pop(request_id)
        else:
            caller = None if prediction.source is None else self._request(prediction.source, logged)[0]
        times = (prediction.ts, entry.arrived, logged)
        return learning_spans(self._task, request_id, caller, *times, message.offset() or 0)

    def _request(self, at: Position, otherwise: int) -> tuple[Caller | None, int]:
        """Return the caller of a request and its arrival; where it is gone, none and another time."""
        self._requests.assign([TopicPartition(self._names.requests, at.partition, at.offset)])
        for message in self._requests.consume(1, TIMEOUT_S):
            if message.error() is None and message.offset() == at.offset:
                return caller_of(header(message, TRACEPARENT)), message.timestamp()[1]
        return None, otherwise


def _arrived(message: Message, otherwise: int) -> int:
    """Return when the call over HTTP came that a prediction answers (ms)."""
    found = header(message, ARRIVED) or b""
    return min(int(found), otherwise) if found.isdigit() and len(found) < 16 else otherwise


class Collector:
    """Sends spans to a collector, by OTLP over HTTP in JSON.

    Parameters
    ----------
    endpoint
        Base URL, such as `http://127.0.0.1:4318`.
    headers
        Further headers, such as an authorization.
    service
        `service.name` of the spans.
    pause
        Waits so many seconds; returns whether to end.
    """

    def __init__(
        self, endpoint: str, headers: Mapping[str, str], service: str, pause: Callable[[float], bool]
    ) -> None:
        self._url = endpoint.rstrip("/") + "/v1/traces"
        self._headers = {"Content-Type": "application/json", **headers}
        self._service, self._pause = service, pause
        self.sent = self.dropped = 0

    def send(self, spans: list[Span]) -> bool:
        """Send spans, again until the collector takes or rejects them (blocks); returns whether that is done."""
        body = json.dumps(otlp(spans, self._service)).encode()
        wait = 1.0
        while (why := self._attempt(body)) is not None:
            again, failure = why
            if not again:
                log.error("%d spans are dropped: %s", len(spans), failure)
                self.dropped += len(spans)
                return True
            log.warning("%s; next attempt in %.0f s", failure, wait)
            if self._pause(wait):
                return False
            wait = min(PATIENCE_S, wait * 2)
        self.sent += len(spans)
        return True

    def _attempt(self, body: bytes) -> tuple[bool, str] | None:
        """Return None when it was taken, else whether another attempt may help, and what failed."""
        call = urllib.request.Request(self._url, body, self._headers)  # noqa: S310  checked by the command
        try:
            with urllib.request.urlopen(call, timeout=TIMEOUT_S):  # noqa: S310
                return None
        except urllib.error.HTTPError as error:
            return error.code in TRY_AGAIN, f"the collector answered {error.code}"
        except OSError as error:
            return True, f"the collector cannot be reached ({type(error).__name__})"


def follow(reader: SpanReader, collector: Collector, ended: Callable[[], bool]) -> None:
    """Send spans until the end (blocks); offsets are committed when the spans before them are sent."""
    committed = time.monotonic()
    while not ended():
        spans = reader.read()
        if spans and not collector.send(spans):
            return
        if time.monotonic() > committed + COMMIT_S:
            reader.commit()
            committed = time.monotonic()
    reader.commit()
