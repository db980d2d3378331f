"""Answers of the topic that calls wait for: those of requests that the worker of their entity serves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaException, Message

from infra.inbound import SERVED, header
from infra.kafka.answers import Answers
from infra.task.context import TaskContext
from schemas.errors import BadRecord, BrokerError, RiverloopError
from streams.positions import plain

EXPIRY_S: Final = 60.0
"""A request is not waited for any longer: a repeated one is sent again."""
IDLE_S: Final = 60.0
"""The topics are followed for so long after the last call."""
MOST: Final = 100_000
"""Requests that wait at once."""
POLL_S: Final = 0.05
START_S: Final = 8.0
CLOSE_S: Final = 2.0
log = logging.getLogger(__name__)

Answer = asyncio.Future[bytes]
"""The prediction's bytes; a `BadRecord` where the request went to the dead letters."""
Found = tuple[Answer, "bytes | RiverloopError"]


class _Awaited(NamedTuple):
    sent: bytes
    answer: Answer
    until: float


class AwaitedAnswers:
    """Follows predictions and dead letters of a task while calls wait for them.

    Parameters
    ----------
    context
        Of the task.

    Notes
    -----
    `follow` comes before a request is sent, so that no answer can be missed. Any prediction of a request that a
    worker has served is its answer: the first on the topic is the one that the join keeps.
    """

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._awaited: dict[bytes, _Awaited] = {}
        """By request id."""
        self._ids: dict[bytes, bytes] = {}
        """Request ids by the bytes that were sent, as dead letters hold them."""
        self._lock = threading.Lock()
        self._used, self._ends = 0.0, threading.Event()
        self._thread: threading.Thread | None = None
        self._starting: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """Return how many requests wait."""
        return len(self._awaited)

    async def follow(self) -> None:
        """Begin to follow the topics, unless they are followed.

        Raises
        ------
        BrokerError
            The cluster does not answer in time.
        """
        with self._lock:
            self._used = time.monotonic()
            starting = self._starting
            if starting is None:
                self._loop = asyncio.get_running_loop()
                starting = self._starting = self._loop.create_future()
                starting.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._thread = threading.Thread(
                    target=self._run, args=(starting,), name="answers", daemon=True
                )
                self._thread.start()
        try:
            await asyncio.wait_for(asyncio.shield(starting), START_S)
        except TimeoutError:
            raise BrokerError(f"{self._context.topics.predictions}: its end is not known") from None

    def expect(self, request_id: str, sent: bytes) -> Answer:
        """Return the future of a request's answer, right before it is sent.

        Raises
        ------
        BrokerError
            Too many requests wait, or the topics are not followed.
        """
        answer: Answer = asyncio.get_running_loop().create_future()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        with self._lock:
            if len(self._awaited) >= MOST:
                raise BrokerError(
                    f"task {self._context.task.name}: too many requests wait for their predictions"
                )
            if self._starting is None:
                raise BrokerError(f"{self._context.topics.predictions} is not followed")
            key = request_id.encode()
            self._awaited[key] = _Awaited(sent, answer, time.monotonic() + EXPIRY_S)
            self._ids[sent] = key
        return answer

    def close(self) -> None:
        """Stop following (blocks for a moment)."""
        self._ends.set()
        if (thread := self._thread) is not None:
            thread.join(CLOSE_S)

    # ------------------------------------------------------------------ the thread

    def _run(self, starting: asyncio.Future[None]) -> None:
        why = BrokerError(f"{self._context.topics.predictions} is not followed any more")
        try:
            reading = _Reading(self._context)
            try:
                self._post(_started, starting, None)
                while self._in_use():
                    reading.poll(POLL_S)
                    self._settle(reading.taken())
            finally:
                reading.close()
        except (RiverloopError, KafkaException) as error:
            name = self._context.task.name
            log.warning("%s: the answers to requests over HTTP cannot be read: %s", name, error)
            why = BrokerError(f"{self._context.topics.predictions} cannot be read")
        finally:
            with self._lock:
                # After a silence nothing waits here; what does may be of a successor, which has begun.
                mine = self._starting is starting or self._ends.is_set()
                left = [*self._awaited.values()] if mine else []
                if mine:
                    self._starting, self._awaited, self._ids = None, {}, {}
            self._post(_started, starting, why)
            self._post(_hand_over, [(each.answer, why) for each in left])

    def _in_use(self) -> bool:
        """Drop what has waited too long; gives whether anything waits, or may come soon."""
        now, name = time.monotonic(), self._context.task.name
        late: list[Found] = []
        with self._lock:
            while self._awaited:
                key = next(iter(self._awaited))  # they lie in the order in which they came
                each = self._awaited[key]
                if each.until > now:
                    break
                del self._awaited[key]
                self._ids.pop(each.sent, None)
                late.append(
                    (each.answer, BrokerError(f"{name}: a request has no answer after {EXPIRY_S:g} s"))
                )
            in_use = not self._ends.is_set() and (bool(self._awaited) or now < self._used + IDLE_S)
            if not in_use:
                self._starting = None  # who comes now begins anew
        if late:
            self._post(_hand_over, late)
        return in_use

    def _settle(self, messages: Sequence[Message]) -> None:
        found: list[Found] = []
        for message in messages:
            value, of_prediction = message.value() or b"", message.topic() == self._context.topics.predictions
            answer: bytes | RiverloopError = value
            key = message.key() or b""
            if of_prediction:
                # One from outside may hold in plain what is personal.
                if key not in self._awaited or header(message, SERVED) is None:
                    continue
                if (frame := self._context.frame) is not None:
                    answer = frame.without(value)
            else:
                try:
                    letter = self._context.codec.decode_dead_letter(value)
                except BadRecord:
                    continue
                source = letter.source
                if source is None or plain(source.topic) != self._context.topics.requests:
                    continue
                key = self._ids.get(letter.value or b"", b"")
                answer = BadRecord(letter.reason, letter.message, letter.field)
            with self._lock:
                waiting = self._awaited.pop(key, None)
                if waiting is not None:
                    self._ids.pop(waiting.sent, None)
            if waiting is not None:
                found.append((waiting.answer, answer))
        if found:
            self._post(_hand_over, found)

    def _post(self, act: object, *about: object) -> None:
        with contextlib.suppress(RuntimeError):  # a loop that is closed has nobody left who waits
            self._loop.call_soon_threadsafe(act, *about)  # type: ignore[arg-type]  # one of two functions below


class _Reading(Answers):
    """Reads predictions and dead letters from now on."""

    def __init__(self, context: TaskContext) -> None:
        super().__init__(context.connection, context.codec, context.topics, context.partitions)
        self._taken: list[Message] = []

    def take(self, message: Message) -> None:
        self._taken.append(message)

    def taken(self) -> list[Message]:
        """Return what has come since the last call."""
        taken, self._taken = self._taken, []
        return taken


def _started(starting: asyncio.Future[None], why: BrokerError | None) -> None:
    if starting.done():
        return
    if why is None:
        starting.set_result(None)
    else:
        starting.set_exception(why)


def _hand_over(found: Sequence[Found]) -> None:
    for answer, each in found:
        if answer.done():
            continue
        if isinstance(each, bytes):
            answer.set_result(each)
        else:
            answer.set_exception(each)
