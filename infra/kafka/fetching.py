"""The one thread that touches librdkafka's consumer: it fetches, seeks, pauses and goes through rebalances.

Calls on one consumer from several threads are serialised inside confluent-kafka, so a second thread would wait
for seconds behind a fetch. Everything else therefore sends this thread a command, and everything fetched is
handed over to the event loop in the order in which it was fetched: what the loop hears of a seek or a
revocation it hears between the records before and after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel import Lane
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.membership import is_member
from infra.kafka.offsets import stamp_and_note
from schemas.errors import BrokerError

A = TypeVar("A")

POLL_S = 0.02
POLL_PAUSED_S = 0.002
FETCH_AT_MOST = 500
"""Records that the event loop decodes at once."""
HOLD_S = 0.25
SLOW_S = 5.0
RETRY_S = 0.1
WAKE_TIMEOUT_S = 0.2
COMMITTED_TIMEOUT_S = 2.0

# A consumer that meets these can never read what it was told to.
HOPELESS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

log = logging.getLogger(__name__)


class Fetched(NamedTuple):
    """What one fetch brought of one partition."""

    buffer: PartitionBuffer
    messages: list[Message]
    end: int
    """The partition's end, if the fetch reached it, else -1."""


class Owner(Protocol):
    """Who runs the thread; all of it is called on the event loop, in the order of what happened."""

    starts: dict[Partition, int]
    """Where to begin with partitions that were just assigned, where that is known better than by the group."""

    def fetched(self, fetched: list[Fetched], arrived: float) -> None:
        """Take records and partition ends; `arrived` in s, monotonic."""

    def membership(self, metadata: bytes) -> None:
        """Take the metadata of a new generation in which all assigned partitions are still ours."""

    async def assigned(self, buffers: list[tuple[Lane, PartitionBuffer]], metadata: bytes) -> None:
        """Prepare for new partitions; nothing of them is fetched before this returns."""

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        """Give partitions up; they are ours, unless lost, until this returns."""

    def gone(self, partition: Partition, text: str) -> None:
        """Learn that a partition's next record is not there any more."""

    def failed(self, error: BaseException) -> None:
        """Learn that the thread has died of an error."""


@dataclass(slots=True)
class Progress:
    """What the thread knows of an assigned partition."""

    buffer: PartitionBuffer
    lane: Lane
    first: int | None = None
    """The first offset fetched, where a seek goes while the group has committed nothing."""
    next: int | None = None
    """The offset after the last record handed over."""
    paused: bool = False


@dataclass(slots=True)
class _Seek:
    """Positions that are to go back to what the group has committed."""

    partitions: Collection[Partition]
    then: Callable[[list[Partition]], None]
    not_before: float = field(default=0.0)


class FetchThread:
    """Owns a librdkafka consumer in a thread of its own.

    Parameters
    ----------
    config
        librdkafka's configuration of the consumer.
    lanes
        The lane of each topic; the topics are subscribed to.
    owner
        Takes what happens, on the event loop that runs when `start` is called.
    stamps
        See `BatchConsumer`.
    """

    def __init__(
        self,
        config: dict[str, Any],
        lanes: dict[str, Lane],
        owner: Owner,
        stamps: Mapping[str, str] = NOTHING,
    ) -> None:
        self._config = config
        self._stamps = stamps
        self._followed: dict[Partition, list[Partition]] = {}
        """By partition that the group has assigned: those that came with it."""
        self._lanes = lanes
        self._owner = owner
        self._commands: queue.SimpleQueue[tuple[Callable[[Consumer], Any], asyncio.Future[Any]]] = (
            queue.SimpleQueue()
        )
        self._seeks: deque[_Seek] = deque()
        self._progress: dict[Partition, Progress] = {}
        self._undone: dict[Partition, int] = {}
        self._new: list[Partition] = []
        self._rebalanced = False
        self._fetched = False
        """Whether something was handed over in this turn."""
        self._rejoin = self._opened = False
        self._metadata = b""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)

    # ---- on the event loop

    def start(self) -> None:
        """Begin to consume."""
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._thread.start()

    async def stop(self) -> None:
        """Leave the group and end the thread, which closes the consumer itself."""
        self._stopping = True
        await self._ended.wait()
        self._thread.join()

    async def call(self, function: Callable[[Consumer], A]) -> A:
        """Run a short function in the thread; also while a rebalance waits for the event loop."""
        answer: asyncio.Future[A] = self._loop.create_future()
        self._commands.put((function, answer))
        return await answer

    def rejoin(self) -> None:
        """Leave the group and join it again, soon: all partitions are given up and taken up anew."""
        self._rejoin = True

    def seek_to_committed(
        self, partitions: Collection[Partition], then: Callable[[list[Partition]], None]
    ) -> None:
        """Read partitions again from what the group has committed.

        Parameters
        ----------
        then
            Called on the event loop after everything that was fetched before the seek, and before anything
            that is fetched after it, with those partitions of which anything had been fetched. The others stay
            where they are, and nobody would be told again that they have ended.
        """
        self._seeks.append(_Seek(partitions, then))

    # ---- in the thread

    def _post(self, function: Callable[..., None], *arguments: object) -> None:
        # A loop that is closed has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        try:
            self._open()
            while not self._stopping:
                self._turn(self._consumer)
                self._wait_until_taken()
        except BaseException as error:  # it dies alone in its thread otherwise
            self._post(self._owner.failed, error)
        finally:
            self._stopping = True
            if self._opened:
                self._consumer.close()
            self._refuse_commands()
            self._post(self._ended.set)

    def _open(self) -> None:
        consumer = self._consumer = Consumer(self._config, logger=CLIENT_LOG)
        self._opened = True
        consumer.subscribe(
            [topic for topic, lane in self._lanes.items() if topic not in lane.channel.followers],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def _turn(self, consumer: Consumer) -> None:
        if self._rejoin:  # here, and not as a command: those run within rebalances, too
            self._rejoin = False
            # A client of its own for topics that were made again: librdkafka goes on asking with the leader's epoch
            # of the topic from before, and gets no record where that was higher (2.16). Closing gives all up.
            self._opened = False
            consumer.close()
            self._open()
            consumer = self._consumer
        self._serve(0.0)
        self._resume_new(consumer)
        self._put_back(consumer)
        self._seek_back(consumer)
        self._make_room(consumer)
        self._fetch(consumer)

    def _wait_until_taken(self) -> None:
        """Wait until the event loop has what was fetched last.

        It decodes what it is given at once. Everything that lies in front of a worker that starts would hold it for
        seconds.
        """
        if not self._fetched:
            return
        self._fetched, taken = False, threading.Event()
        self._post(taken.set)
        while not (taken.wait(0.002) or self._stopping or self._loop.is_closed()):
            self._serve(0.0)

    def _serve(self, wait_s: float) -> None:
        while True:
            try:
                function, answer = self._commands.get(wait_s > 0, wait_s or None)
            except queue.Empty:
                return
            try:
                result = function(self._consumer)
            except Exception as error:  # it belongs to whoever asked
                self._post(_fail, answer, error)
            else:
                self._post(succeed, answer, result)
            wait_s = 0.0

    def _refuse_commands(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                _, answer = self._commands.get(False)
                self._post(_fail, answer, BrokerError("the consumer has stopped"))

    def _wait_for(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Let the event loop do its part of a rebalance, serving commands meanwhile."""
        try:
            done = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed
            coroutine.close()
            return
        while not done.done() and self._loop.is_running():
            self._serve(0.002)
        if done.done():
            done.result()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        new = [Partition(place.topic, place.partition) for place in partitions]
        self._rebalanced = True
        if self._stopping:
            return
        for partition in [*new]:
            follows = self._lanes[partition.topic].channel.follows
            self._followed[partition] = [] if follows is None else [*follows(partition)]
            new += self._followed[partition]
        self._metadata = consumer.consumer_group_metadata()
        buffers = [(self._lanes[partition.topic], PartitionBuffer(partition)) for partition in new]
        self._wait_for(self._owner.assigned(buffers, self._metadata))
        self._assign(consumer, new)
        self._progress.update((buffer.partition, Progress(buffer, lane)) for lane, buffer in buffers)
        self._new += [partition for partition in new if self._lanes[partition.topic].channel.fetched]

    def _assign(self, consumer: Consumer, partitions: list[Partition]) -> None:
        """Begin where the group has committed, or else at the oldest record.

        Not left to librdkafka: its reset to the oldest record would also pass, in silence, over records that
        retention has deleted before they were read.
        """
        committed: dict[Partition, int] = {}
        while not self._stopping:
            try:
                committed = self._committed(consumer, partitions, any_stamp=True)
                break
            except KafkaException as error:
                log.info("partitions are assigned as soon as the cluster allows: %s", error)
                self._serve(RETRY_S)
        starts = {**committed, **self._owner.starts}
        places = [TopicPartition(*each, starts.get(each, OFFSET_BEGINNING)) for each in partitions]
        if is_incremental(self._config):
            consumer.incremental_assign(places)
        else:
            consumer.assign(places)
        unread = [place for place in places if not self._lanes[place.topic].channel.fetched]
        if unread:
            consumer.pause(unread)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        named = [Partition(place.topic, place.partition) for place in partitions]
        gone = frozenset(
            each for partition in named for each in (partition, *self._followed.pop(partition, ()))
        )
        self._rebalanced = True
        if not self._stopping:
            self._wait_for(self._owner.revoked(gone))
        if len(gone) > len(named) and is_incremental(self._config):
            consumer.incremental_unassign([TopicPartition(*partition) for partition in gone])
        for partition in gone:
            self._progress.pop(partition, None)
            self._undone.pop(partition, None)
        self._new = [partition for partition in self._new if partition not in gone]

    def _resume_new(self, consumer: Consumer) -> None:
        # librdkafka keeps a partition paused across its revocation and the next assignment.
        if self._new:
            consumer.resume([TopicPartition(*partition) for partition in self._new])
            self._new = []

    def _make_room(self, consumer: Consumer) -> None:
        """Pause full partitions and resume drained ones.

        A pause throws away what librdkafka has fetched ahead, a short wait costs nothing: so a channel that is
        at work gets a moment to make room first, unless it did not use the last one.
        """
        drained, full = [], []
        for partition, progress in self._progress.items():
            size, high = progress.buffer.size, progress.lane.channel.high_water
            if progress.paused and size < high // 4:
                progress.paused = False
                drained.append(TopicPartition(*partition))
            elif not progress.paused and size >= high:
                full.append(progress)
        if drained:
            consumer.resume(drained)
            self._wake_brokers(consumer, drained)
        until = time.monotonic() + HOLD_S
        while any(self._may_make_room(progress) for progress in full):
            if time.monotonic() > until:
                for progress in full:
                    if self._is_full(progress):
                        progress.lane.slow_until = until + SLOW_S
                break
            self._serve(0.001)
        full = [progress for progress in full if self._is_full(progress)]
        if full and not self._stopping:
            consumer.pause([TopicPartition(*progress.buffer.partition) for progress in full])
            for progress in full:
                progress.paused = True

    def _wake_brokers(self, consumer: Consumer, places: Iterable[TopicPartition]) -> None:
        # A broker of which all partitions were paused sleeps for up to a second, and `resume` does not wake it
        # (librdkafka 2.12 to 2.16); any request to it does.
        for place in places:
            with contextlib.suppress(KafkaException):
                consumer.get_watermark_offsets(place, WAKE_TIMEOUT_S, cached=False)

    def _is_full(self, progress: Progress) -> bool:
        return progress.buffer.size >= progress.lane.channel.high_water

    def _may_make_room(self, progress: Progress) -> bool:
        # A lane without a batch waits for another partition, which this thread must go on to fetch.
        lane = progress.lane
        at_work = lane.batch is not None or not lane.waiting
        return (
            self._is_full(progress)
            and at_work
            and time.monotonic() > lane.slow_until
            and not self._seeks
            and not self._stopping
        )

    def _fetch(self, consumer: Consumer) -> None:
        paused = any(progress.paused for progress in self._progress.values())
        self._rebalanced = False
        # The first record is waited for, further ones are only collected: `consume(n, t)` would wait t to fill n.
        messages = consumer.consume(1, POLL_PAUSED_S if paused else POLL_S)
        if messages:
            messages += consumer.consume(FETCH_AT_MOST - 1, 0)
        if self._rebalanced:
            # Some of these records may be from before, some from after the rebalance that happened meanwhile.
            self._undo(messages)
        arrived = time.monotonic()
        self._watch_membership(consumer)
        if messages:
            fetched = self._sort(messages)
            if fetched:
                self._post(self._owner.fetched, fetched, arrived)
                self._fetched = True

    def _watch_membership(self, consumer: Consumer) -> None:
        # A generation may change while all partitions stay: then nobody is told, and the old metadata is refused.
        # It is safe to use the new one for records fetched before: librdkafka cannot be in a generation in which
        # somebody else owns one of our partitions before our revocation callback has returned.
        if not self._progress:
            return
        metadata = consumer.consumer_group_metadata()
        if metadata != self._metadata and is_member(metadata):
            self._metadata = metadata
            self._post(self._owner.membership, metadata)

    def _sort(self, messages: Iterable[Message]) -> list[Fetched]:
        records: dict[Partition, list[Message]] = {}
        ends: dict[Partition, int] = {}
        partition, append = Partition("", -1), None
        for message in messages:
            # Runs of one partition are the rule, and this loop runs for every record.
            if message.partition() != partition.number or message.topic() != partition.topic:
                partition = _partition(message)
                append = None
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                self._report(error, partition)
            elif self._undone and partition in self._undone:
                self._undone[partition] = min(self._undone[partition], _offset(message))
            elif error is None:
                if append is None:
                    append = records.setdefault(partition, []).append
                append(message)
            else:
                ends[partition] = _offset(message)
        fetched = []
        for partition in records.keys() | ends.keys():
            progress = self._progress.get(partition)
            if progress is None:
                continue
            mine = records.get(partition, [])
            if mine:
                if progress.first is None:
                    progress.first = _offset(mine[0])
                progress.next = _offset(mine[-1]) + 1
                progress.buffer.handed += len(mine)
            fetched.append(Fetched(progress.buffer, mine, ends.get(partition, -1)))
        return fetched

    def _report(self, error: KafkaError, partition: Partition) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._post(self._owner.gone, partition, error.str())
        elif error.fatal() or error.code() in HOPELESS:
            raise BrokerError(f"{partition} cannot be consumed: {error.str()}")
        else:
            log.warning("consumer: %s", error.str())

    def _undo(self, messages: Iterable[Message]) -> None:
        """Make all partitions of some messages be read again from where they stood before."""
        for message in messages:
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                partition = _partition(message)
                self._undone.setdefault(partition, _offset(message))

    def _put_back(self, consumer: Consumer) -> None:
        for partition in [partition for partition in self._undone if partition not in self._progress]:
            del self._undone[partition]
        if not self._undone:
            return
        try:
            unknown = [partition for partition in self._undone if self._progress[partition].next is None]
            targets = self._committed(consumer, unknown)
            for partition, lowest in self._undone.items():
                progress = self._progress[partition]
                if progress.next is None:
                    progress.first = progress.next = targets.get(partition, lowest)
                consumer.seek(TopicPartition(*partition, progress.next))
        except KafkaException as error:
            # What comes meanwhile is discarded and the fetching goes on: it may be that a revocation has to be
            # answered first.
            log.info("partitions are read again as soon as the cluster allows: %s", error)
            self._serve(RETRY_S)
        else:
            self._undone.clear()

    def _seek_back(self, consumer: Consumer) -> None:
        while self._seeks and self._seeks[0].not_before <= time.monotonic():
            seek = self._seeks[0]
            started = [
                partition
                for partition in seek.partitions
                if partition in self._progress and self._progress[partition].first is not None
            ]
            try:
                targets = self._committed(consumer, started)
                for partition in started:
                    progress = self._progress[partition]
                    progress.next = targets.get(partition, progress.first)
                    consumer.seek(TopicPartition(*partition, progress.next))  # type: ignore[arg-type]  # one of the two is set
            except KafkaException as error:
                log.info("reading again waits for the cluster: %s", error)
                seek.not_before = time.monotonic() + RETRY_S
                return
            self._seeks.popleft()
            self._post(seek.then, started)

    def _committed(
        self, consumer: Consumer, partitions: Iterable[Partition], *, any_stamp: bool = False
    ) -> dict[Partition, int]:
        """Ask what the group has committed; waits for the decision on open transactions (`read_committed`).

        Only offsets that a transaction for the topic as it is now has written, unless `any_stamp`.
        """
        places = [TopicPartition(*partition) for partition in partitions]
        committed = {}
        for place in consumer.committed(places, COMMITTED_TIMEOUT_S) if places else ():
            if place.error is not None:
                raise KafkaException(place.error)
            stamp = self._stamps.get(place.topic)
            if place.offset >= 0 and (
                any_stamp or stamp is None or stamp_and_note(place.metadata)[0] == stamp
            ):
                committed[Partition(place.topic, place.partition)] = place.offset
        return committed


def _partition(message: Message) -> Partition:
    return Partition(message.topic(), message.partition())  # type: ignore[arg-type]  # both are set


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def is_incremental(config: Mapping[str, Any]) -> bool:
    """Whether a group's protocol tells of the partitions that are new or gone, and not of all."""
    told = {config.get("group.protocol"), config.get("partition.assignment.strategy")}
    return not told.isdisjoint({"consumer", "cooperative-sticky"})


def succeed(answer: asyncio.Future[Any], result: object) -> None:
    """Give an answer, unless whoever asked has gone."""
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
