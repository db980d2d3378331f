"""Who waits for answers: how many requests got a prediction or a dead letter."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from infra.kafka.admin import partition_count
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from infra.kafka.reading import FETCH_WAIT_MS
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.topics import TaskTopics
from streams.positions import plain

PATIENCE_S: Final = 120.0
"""How long nothing may come before waiting is given up."""
SILENCE_S = 15.0
"""After so long without a record it is asked whether there are some; if so, they are read by a new client."""


class Answers:
    """Reads `T.predictions` and the dead letters of requests, from now on."""

    def __init__(self, connection: Connection, codec: Codec, topics: TaskTopics, partitions: int) -> None:
        self._codec, self._topics = codec, topics
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
                # again, and what was counted is skipped.
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": FETCH_WAIT_MS,
                "fetch.queue.backoff.ms": 2,
            }
        )
        # Dead letters may have more partitions.
        letters = max(partitions, partition_count(connection, topics.dead_letters))
        read = ((topics.predictions, partitions), (topics.dead_letters, letters))
        places = [(topic, number) for topic, count in read for number in range(count)]
        # Answers of before may not be visible yet, and are none of ours.
        ends = end_offsets(connection, places, committed=False)
        self._next = dict(ends)
        """By place: the offset after the last record counted."""
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
            self.take(message)
        return self.count

    def take(self, message: Message) -> None:
        """Count a record if it is an answer."""
        if message.topic() == self._topics.predictions:
            self.count += 1
        else:
            source = self._codec.decode_dead_letter(message.value()).source
            self.count += source is not None and plain(source.topic) == self._topics.requests

    def wait(self, count: int, what: str, tick: Callable[[], None] = lambda: None) -> None:
        """Wait until `count` requests are answered; `tick` is called meanwhile.

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
