"""Sends a ledger's workload as the world would, round by round, while anything may break."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import Producer

from infra.kafka.admin import partition_count
from infra.kafka.answers import Answers
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.connection import Connection
from infra.kafka.offsets import committed_offsets, end_offsets
from infra.kafka.partitioner import partition_of
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.records import Prediction
from schemas.topics import PARTITIONER, TaskTopics
from streams.ledger.facts import OF_A_FAULT
from streams.ledger.plan import Sending
from streams.ledger.workload import Block

log = logging.getLogger(__name__)

WINDOW: Final = 500
"""At most so many requests are unanswered, and while outcomes are misplaced twice as many records not yet joined.

Together far below the requests in a grace period: an outcome that went astray is then still in time.
"""
STOP_S: Final = 10.0
TRICKLE: Final = 100
"""Requests sent beyond the limit at a time: at least a block."""
TRICKLE_S: Final = 0.5
"""And how long until the next ones."""
PATIENCE_S: Final = 300.0
"""How long nothing may come before the run is given up: longer than any fault lasts."""


class Sender:
    """Sends the blocks of a workload, in a thread of its own, up to a limit that is raised round by round.

    Parameters
    ----------
    connection, codec, topics, partitions
        Where to, and how.
    group
        The workers' consumer group: how far they have read is asked of it.
    blocks
        The workload.
    seed
        Of the choice which outcomes are misplaced.
    give_up_s
        After so long without an answer what is unanswered counts as lost, and sending goes on; None: it is an
        error after `PATIENCE_S`. For loops that may lose requests.
    settle
        Waits until the workers have taken everything that was sent. It is called before the closing requests: on
        topics with further partitions they could otherwise overtake what is still to be forwarded.
    """

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        topics: TaskTopics,
        partitions: int,
        group: str,
        blocks: Iterable[Block],
        seed: int = 0,
        give_up_s: float | None = None,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        self.misplaced = 0.0
        """Share of the outcomes that go to a wrong partition, of those that may."""
        self.scattered = False
        """Whether the inputs have more partitions than the joins, so that outcomes are forwarded."""
        self.sent = 0
        """Planned requests sent."""
        self.records = 0
        """Records sent."""
        self.moved = 0
        """Outcomes sent to a wrong partition."""
        self.event_time = 0
        """Of the newest request sent (ms UTC)."""
        self.pauses: list[tuple[int, int]] = []
        """When nothing was sent because the limit was reached (ms UTC, wall clock)."""
        self._connection, self._codec, self._topics = connection, codec, topics
        self._partitions, self._group, self._blocks = partitions, group, blocks
        self._random = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.asked_elsewhere = 0
        """Records that faults have written to the requests' topic; each is answered, too."""
        self.of_faults = 0
        """Answers to requests that faults have sent."""
        self._over_http = 0
        """Those of them that came over HTTP."""
        self._settle = settle
        self._answers = Answers(connection, codec, topics, partitions, self._seen)
        self._answered_before = 0
        """Answers that earlier readers of them have counted."""
        self._producer = self._client()
        self._asked = 0
        self._written_off = 0
        self._give_up_s = give_up_s
        self._joined_at = 0
        self._going_until = 0.0
        """Until when it goes on slowly by itself (s, monotonic)."""
        self._trickled = 0.0
        """When the limit was last raised by `go_on` (s, monotonic)."""
        self._watched_until = 0
        self._failed: list[str] = []
        self._limit: int | None = 0
        self._waiting = self._closing = self._resting = False
        self._quiet = threading.Event()
        self._raised = threading.Condition()
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="ledger-sender", daemon=True)

    # ------------------------------------------------------------------ for others

    def start(self) -> None:
        """Begin; nothing is sent before the limit is raised."""
        self._thread.start()

    def release(self, limit: int | None) -> None:
        """Raise the limit to so many planned requests; None: send all, and the closing ones."""
        with self._raised:
            if limit is None or (self._limit is not None and limit > self._limit):
                self._limit = limit
            self._raised.notify()

    def go_on(self) -> bool:
        """Keep sending, beyond the limit if need be, but slowly: faults may take long.

        Gives False once all planned requests are sent.
        """
        now = time.monotonic()
        if self.idle and not self._closing and now > self._trickled + TRICKLE_S:
            self._trickled = now
            self.release(self.sent + TRICKLE)
        return not self._closing

    def keep_going(self, seconds: float) -> None:
        """Go on slowly for so long, whatever the limit: whether others answer shows only where requests come."""
        with self._raised:
            self._going_until = time.monotonic() + seconds
            self._raised.notify()

    def stop(self) -> None:
        """End the thread, whatever is left."""
        with self._raised:
            self._stopped = True
            self._raised.notify()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        if not self._thread.is_alive():  # else it waits for workers that are gone, and ends with the process
            self._answers.close()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Send nothing for a while, once all that was sent is answered; topics may be others afterwards.

        Raises
        ------
        BrokerError
            When sending has failed, or the answers do not come.
        """
        self._quiet.clear()
        with self._raised:
            self._resting = True
            self._raised.notify()
        until = time.monotonic() + PATIENCE_S
        while not self._quiet.wait(0.1):
            self.check()
            if time.monotonic() > until or not self._thread.is_alive():
                raise BrokerError(f"{self.unanswered} of {self._asked} requests have no answer")
        try:
            yield
        finally:
            with self._raised:
                self._resting = False
                self._raised.notify()

    @property
    def idle(self) -> bool:
        """Whether it has sent what it may."""
        return self._waiting or not self._thread.is_alive()

    @property
    def answered(self) -> int:
        """How many requests have a prediction or a dead letter, those of faults included."""
        return self._answered_before + self._answers.count

    @property
    def unanswered(self) -> int:
        """How many requests were sent and have no prediction or dead letter."""
        asked = self._asked + self.asked_elsewhere + self._over_http
        return asked - self.answered - self._written_off

    def check(self) -> None:
        """Raise what ended the thread before its time."""
        if self._error is not None:
            raise self._error

    def wait(self, count: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until so many planned requests are sent.

        Raises
        ------
        BrokerError
            When sending has failed, or nothing goes on for so long.
        """
        heard, before = time.monotonic(), -1
        while self.sent < count:
            self.check()
            if self.sent > before:
                heard, before = time.monotonic(), self.sent
            elif time.monotonic() - heard > timeout_s:
                raise BrokerError(f"only {self.sent} of {count} requests could be sent in {timeout_s:.0f} s")
            time.sleep(0.02)

    def join(self) -> None:
        """Wait until everything is sent and acknowledged, and raise what went wrong."""
        self._thread.join()
        self.check()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        try:
            for block in self._blocks:
                self._closing = block.end == self.sent and self.sent > 0
                if not self._may(None if self._closing else block.end):
                    return
                if self._closing:
                    self._until_all_answered()
                    self._settle()
                for sending in block.outcomes:
                    self._tell(sending)
                if block.outcomes:
                    self._flush()
                    if self._closing:
                        self._settle()
                self._until_answered()
                for sending in block.requests:
                    self._produce(self._topics.requests, sending)
                    self._asked += 1
                    self.event_time = max(self.event_time, sending.ts)
                self.sent = block.end
            self._flush()
        except BaseException as error:  # it dies alone in its thread otherwise
            self._error = error

    def _may(self, end: int | None) -> bool:
        """Wait until the limit allows a block; gives False when the thread is to end."""

        def allowed() -> bool:
            return self._stopped or self._limit is None or (end is not None and end <= self._limit)

        def going() -> bool:
            return end is not None and time.monotonic() < self._going_until

        while True:
            going_on = False
            if self._resting:
                self._rest()
            with self._raised:
                if not self._resting and not allowed():
                    since = time.time_ns() // 1_000_000
                    self._waiting = True
                    self._raised.wait_for(lambda: allowed() or self._resting or going())
                    self._waiting = False
                    going_on = going() and not (allowed() or self._resting)
                    if going_on:
                        self._raised.wait_for(lambda: self._stopped, TRICKLE_S)
                    self.pauses.append((since, time.time_ns() // 1_000_000))
                if self._stopped:
                    return False
                if going_on or not self._resting:
                    return True

    def _rest(self) -> None:
        """Say that all is answered, and wait until sending goes on; clients are made anew, as topics may be."""
        self._flush()
        self._until_all_answered()
        since = time.time_ns() // 1_000_000
        self._quiet.set()
        with self._raised:
            self._raised.wait_for(lambda: self._stopped or not self._resting)
        if self._stopped:
            return
        self._answered_before += self._answers.count
        self._answers.close()
        self._answers = Answers(self._connection, self._codec, self._topics, self._partitions, self._seen)
        self._producer = self._client()
        self.pauses.append((since, time.time_ns() // 1_000_000))

    def _seen(self, prediction: Prediction) -> None:
        self._over_http += prediction.source is None
        self.of_faults += prediction.request_id.startswith(OF_A_FAULT)

    def _client(self) -> Producer:
        settings = {
            "enable.idempotence": True,
            "linger.ms": 2,
            "partitioner": PARTITIONER,
            "message.max.bytes": 4 * 1024 * 1024,
            "client.id": "riverloop-ledger",
            "delivery.report.only.error": True,
            # Partitions that are added are used at once; librdkafka's default is five minutes.
            "topic.metadata.refresh.interval.ms": 1000,
        }
        return Producer(self._connection.config(**settings), logger=CLIENT_LOG)

    def _tell(self, sending: Sending) -> None:
        partition = -1
        if sending.movable and self.misplaced and self._random.random() < self.misplaced:
            right = partition_of(sending.key.encode(), self._partitions)
            partition = (right + 1) % self._partitions
            self.moved += partition != right
        self._produce(self._topics.outcomes, sending, partition)

    def _produce(self, topic: str, sending: Sending, partition: int = -1) -> None:
        record = sending.record
        value = record if isinstance(record, bytes) else self._codec.encode(record, json=sending.json)
        while True:
            try:
                self._producer.produce(topic, value, sending.key.encode(), partition, self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self.records += 1

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append(f"{message.topic()}: {error.str()}")

    def _flush(self) -> None:
        self._wait(lambda: self._producer.flush(1.0) == 0, "records are not acknowledged")
        if self._failed:
            raise BrokerError(f"records could not be delivered: {self._failed[0]}")

    def _until_all_answered(self) -> None:
        def reached() -> bool:
            self._answers.poll(0.05)
            return self.unanswered <= 0

        if self._give_up_s is None:
            self._wait(reached, "not all requests are answered")

    def _until_answered(self) -> None:
        answers = self._answers
        answers.poll()
        heard, before = time.monotonic(), -1
        while self.unanswered >= WINDOW and not self._stopped:
            if answers.count != before:
                heard, before = time.monotonic(), answers.count
            elif time.monotonic() - heard > (self._give_up_s or PATIENCE_S):
                if self._give_up_s is None:
                    text = f"{self.unanswered} of {self._asked} requests have no prediction"
                    raise BrokerError(f"{text} after {PATIENCE_S:.0f} s")
                self._written_off += self.unanswered
            answers.poll(0.05)
        if self.misplaced or self.scattered:
            # What is under way to its own partition when the share is back at nought must not be late either.
            self._watched_until = self._asked + 10 * WINDOW
        if self._asked < self._watched_until and self._asked - self._joined_at >= WINDOW:
            self._joined_at = self._asked
            self._wait(lambda: self._behind() <= 2 * WINDOW, "predictions and outcomes are not joined")

    def _behind(self) -> int:
        """How many records of both sides the joins have yet to take."""
        topics = (self._topics.predictions, self._topics.outcomes)
        try:
            places = [
                (topic, number)
                for topic in topics
                for number in range(partition_count(self._connection, topic))
            ]
            ends = end_offsets(self._connection, places)
            read = committed_offsets(self._connection, self._group, places)
        except BrokerError as error:
            log.info("%s", error)
            return 2**31
        return sum(end - read.get(place, 0) for place, end in ends.items())

    def _wait(self, reached: Callable[[], bool], otherwise: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not (reached() or self._stopped):
            if time.monotonic() > until:
                raise BrokerError(f"{otherwise} after {PATIENCE_S:.0f} s; {self._asked} were asked")
            time.sleep(0.005)
