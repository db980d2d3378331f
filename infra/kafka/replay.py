"""Playing a file's events into the topics, in the order in which the world would have sent them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from typing import Any

from confluent_kafka import Producer

from infra.kafka.answers import PATIENCE_S, Answers
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import GroupOffsets, end_offsets
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.records import Outcome, Punctuation, Request
from schemas.topics import PARTITIONER, TaskTopics
from streams.datafile import Event
from streams.schedule import Sync, schedule

UNANSWERED = 80
"""Maximum number of unanswered requests, and of unread outcomes, in free mode: as if serving kept up."""


class Replay:
    """Produces requests and outcomes of one task.

    Parameters
    ----------
    connection, codec, topics
        Where to, and how.
    answers
        What has been answered.
    group
        The workers' consumer group, to see how far they have read the outcomes.
    json
        Write JSON instead of Avro.
    key
        Returns the key of a request; None: its id.
    """

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        topics: TaskTopics,
        answers: Answers,
        *,
        group: str = "",
        json: bool = False,
        key: Callable[[Request], str | None] = lambda request: None,
    ) -> None:
        self._connection, self._group = connection, group
        self._codec, self._topics, self.answers, self._json = codec, topics, answers, json
        self._key = key
        self._failed: list[str] = []
        self._producer = Producer(
            connection.config(
                **{
                    "enable.idempotence": True,
                    "linger.ms": 0,
                    "partitioner": PARTITIONER,
                    "message.max.bytes": 4 * 1024 * 1024,
                    "client.id": "riverloop-produce",
                }
            ),
            logger=CLIENT_LOG,
        )
        self.requests = 0
        self.outcomes = 0

    # ------------------------------------------------------------------ one record

    def _send(self, topic: str, key: str, record: Request | Outcome) -> None:
        value = self._codec.encode(record, json=self._json)
        while True:
            try:
                self._producer.produce(topic, value, key.encode(), on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}: {error.str()}")

    def flush(self) -> None:
        """Wait until everything sent is acknowledged.

        Raises
        ------
        BrokerError
            When a record could not be delivered.
        """
        left = self._producer.flush(60)
        if left or self._failed:
            raise BrokerError(
                "records could not be delivered: "
                + (self._failed[0] if self._failed else f"{left} are unsent")
            )

    def ask(self, request: Request) -> None:
        """Send a request."""
        self._send(self._topics.requests, self._key(request) or request.request_id, request)
        self.requests += 1

    def report(self, outcome: Outcome) -> None:
        """Send an outcome."""
        self._send(self._topics.outcomes, outcome.request_id, outcome)
        self.outcomes += 1

    def punctuate(self, ts: int) -> int:
        """Declare the input complete up to a time, in lockstep; gives the punctuation's offset on `T.outcomes`."""
        value = self._codec.encode(Punctuation(ts))
        placed: list[int] = []

        def delivered(error: Any, message: Any) -> None:
            self._delivered(error, message)
            placed.append(message.offset())

        self._producer.produce(self._topics.outcomes, value, None, partition=0, on_delivery=delivered)
        self.flush()
        return placed[0]

    # ------------------------------------------------------------------ whole streams

    def free(
        self,
        events: Iterable[Event],
        horizon_ms: int,
        *,
        speed: float | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Play events as they happened.

        A request goes out only after every outcome due before it is acknowledged, and while fewer than
        `UNANSWERED` requests wait for their answer. Nothing is sent at the end: what still waits, waits.

        Parameters
        ----------
        speed
            Ratio of event time to the clock; None: as fast as possible.
        tick
            Called often, for progress.
        """
        with closing(GroupOffsets(self._connection, self._group)) if self._group else nullcontext() as read:
            self._free(events, horizon_ms, speed, tick, read)

    def _free(
        self,
        events: Iterable[Event],
        horizon_ms: int,
        speed: float | None,
        tick: Callable[[], None],
        read: GroupOffsets | None,
    ) -> None:
        started, first = time.monotonic(), None
        for step in schedule(events, horizon_ms):
            if speed is not None and isinstance(step, Request):
                first = step.ts if first is None else first
                due = started + (step.ts - first) / 1000 / speed
                while (wait := due - time.monotonic()) > 0:
                    self._producer.poll(min(wait, 0.1))
                    tick()
            if isinstance(step, Sync):
                for outcome in step.outcomes:
                    self.report(outcome)
                    if self.outcomes % UNANSWERED == 0:
                        self.flush()
                        self._until_read(read, tick)
                if step.outcomes:
                    self.flush()
            else:
                if self.requests - self.answers.count >= UNANSWERED:
                    self.answers.poll()
                    if self.requests - self.answers.count >= UNANSWERED:
                        self._producer.flush(60)
                        self.answers.wait(self.requests - UNANSWERED // 2, "produce", tick)
                self.ask(step)
            tick()
        self.flush()
        self.answers.wait(self.requests, "produce", tick)

    def _until_read(self, group: GroupOffsets | None, tick: Callable[[], None]) -> None:
        """Wait until the workers have read all but the newest outcomes."""
        places = [(self._topics.outcomes, number) for number in range(self.answers.partitions)]
        until = time.monotonic() + PATIENCE_S
        while group is not None and time.monotonic() < until:
            ends, read = end_offsets(self._connection, places), group.committed(places)
            if sum(end - read.get(place, 0) for place, end in ends.items()) <= UNANSWERED:
                return
            self.answers.poll()
            tick()
            time.sleep(0.01)

    def lockstep(
        self,
        events: Iterable[Event],
        horizon_ms: int,
        complete: Callable[[int], None],
        *,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """Play events so that each request is scored after everything due before it was learned.

        Parameters
        ----------
        complete
            Waits until the worker has applied everything up to the punctuation at an offset.
        tick
            Called often, for progress.
        """
        for step in schedule(events, horizon_ms):
            if isinstance(step, Sync):
                self._producer.flush(60)
                self.answers.wait(self.requests, "lockstep", tick)
                for outcome in step.outcomes:
                    self.report(outcome)
                complete(self.punctuate(step.ts))
            else:
                self.ask(step)
                if self.requests - self.answers.count >= UNANSWERED:
                    self.answers.poll()
            tick()
        self.flush()
        self.answers.wait(self.requests, "lockstep", tick)
