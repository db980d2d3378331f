"""Playing a file's events into the topics, in the order in which the world would have sent them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import committed_offsets, end_offsets
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.records import Outcome, Prediction, Punctuation, Request
from schemas.topics import PARTITIONER, TaskTopics
from streams.datafile import Event
from streams.schedule import Sync, schedule

UNANSWERED = 80
"""Free mode keeps at most so many requests unanswered, and outcomes unread: as if serving kept up."""
PATIENCE_S = 120.0
SILENCE_S = 15.0
"""After so long without a record it is asked whether there are some; if so, they are read by a new client."""


class Answers:
    """Reads `T.predictions` and the dead letters of requests, from now on."""

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        topics: TaskTopics,
        partitions: int,
        seen: Callable[[Prediction], None] | None = None,
    ) -> None:
        self._codec, self._topics, self._seen = codec, topics, seen
        self.partitions = partitions
        self.count = 0
        """Requests that got a prediction or a dead letter."""
        self._connection = connection
        self._config = connection.config(
            **{
                "group.id": f"riverloop-answers-{time.time_ns()}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                # A broker that was killed may seem to have lost its newest records for a moment: those are read
                # again, and what was counted is passed over.
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 10,
                "fetch.queue.backoff.ms": 2,
            }
        )
        read = (topics.predictions, topics.dead_letters)
        ends = end_offsets(connection, [(topic, number) for topic in read for number in range(partitions)])
        self._next = dict(ends)
        """By place: the offset behind the last record counted."""
        self._consumer = self._reader()
        self._heard = time.monotonic()

    def _reader(self) -> Consumer:
        consumer = Consumer(self._config, logger=CLIENT_LOG)
        consumer.assign([TopicPartition(*place, offset) for place, offset in self._next.items()])
        return consumer

    def _look_again(self) -> None:
        """Read by a new client where the one at hand does not give what is there.

        Seen once after a broker's death, with predictions on the topic and nobody who was given them.
        """
        self._heard = time.monotonic()
        try:
            ends = end_offsets(self._connection, list(self._next))
        except BrokerError:
            return  # whoever waits for answers has a time-out
        if any(end > self._next[place] for place, end in ends.items()):
            self._consumer.close()
            self._consumer = self._reader()

    def poll(self, timeout_s: float = 0.0) -> int:
        """Take what has come; gives the count."""
        messages = self._consumer.consume(1, timeout_s)
        if messages:
            messages += self._consumer.consume(5000, 0)
        elif time.monotonic() > self._heard + SILENCE_S:
            self._look_again()
        for message in messages:
            if message.error() is not None:
                continue
            self._heard = time.monotonic()
            place = (message.topic() or "", message.partition() or 0)
            offset = message.offset() or 0
            if offset < self._next[place]:
                continue
            self._next[place] = offset + 1
            if message.topic() == self._topics.predictions:
                self.count += 1
                if self._seen is not None:
                    self._seen(self._codec.decode_prediction(message.value()))
            else:
                source = self._codec.decode_dead_letter(message.value()).source
                self.count += source is not None and source.topic == self._topics.requests
        return self.count

    def wait(self, count: int, what: str, tick: Callable[[], None] = lambda: None) -> None:
        """Wait until so many requests are answered; `tick` is called meanwhile.

        Raises
        ------
        BrokerError
            When nothing comes for two minutes.
        """
        heard = time.monotonic()
        while self.count < count:
            before = self.count
            tick()
            if self.poll(0.05) > before:
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE_S:
                raise BrokerError(
                    f"{what}: {count - self.count} of {count} requests have no prediction after "
                    f"{PATIENCE_S:.0f} s; is a worker for task {self._topics.task} running?"
                )

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


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
    ) -> None:
        self._connection, self._group = connection, group
        self._codec, self._topics, self.answers, self._json = codec, topics, answers, json
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
        self._send(self._topics.requests, request.request_id, request)
        self.requests += 1

    def tell(self, outcome: Outcome) -> None:
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
            Event time runs so many times faster than the clock; None: as fast as possible.
        tick
            Called often, for progress.
        """
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
                    self.tell(outcome)
                    if self.outcomes % UNANSWERED == 0:
                        self.flush()
                        self._until_read(tick)
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

    def _until_read(self, tick: Callable[[], None]) -> None:
        """Wait until the workers have read all but the newest outcomes."""
        places = [(self._topics.outcomes, number) for number in range(self.answers.partitions)]
        until = time.monotonic() + PATIENCE_S
        while self._group and time.monotonic() < until:
            ends = end_offsets(self._connection, places)
            read = committed_offsets(self._connection, self._group, places)
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
                    self.tell(outcome)
                complete(self.punctuate(step.ts))
            else:
                self.ask(step)
                if self.requests - self.answers.count >= UNANSWERED:
                    self.answers.poll()
            tick()
        self.flush()
        self.answers.wait(self.requests, "lockstep", tick)
