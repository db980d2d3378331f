"""The batch consumer: records of several channels as batches, each fenced by the generation it was fetched in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from confluent_kafka import Consumer, TopicPartition

from infra.hooks import reached
from infra.kafka.aborted import GenerationLost, ProducerFenced
from infra.kafka.buffers import NEVER, Partition, PartitionBuffer, Record
from infra.kafka.channel import Batch, Channel, Lane
from infra.kafka.connection import Connection
from infra.kafka.fetching import Fetched, FetchThread, succeed
from infra.kafka.membership import is_member
from infra.kafka.reading import consumer_config
from infra.kafka.stable import StableOffsets
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import RecordsGone, TransactionAborted, UsageError

Partitions = frozenset[Partition]
RebalanceCallback = Callable[[Partitions], Awaitable[None]]

DRAIN_S = 8.0
ASK_AGAIN_S = 0.1
FENCED_WAIT_S = 3.0

log = logging.getLogger(__name__)


async def nothing_to_do(partitions: Partitions) -> None:
    """Do nothing about a rebalance."""


class BatchConsumer:
    """Consumes several channels of topics in one consumer group, one batch of each at a time.

    All methods and callbacks belong to the event loop that runs when `start` is called.

    Parameters
    ----------
    connection
        The cluster.
    group_id
        The consumer group.
    channels
        What is consumed. Each topic belongs to exactly one of them.
    deliver
        Called with each batch. The next batch of its channel comes after `done` or `rewind`; the other channels
        go on meanwhile. It must not raise.
    on_assigned
        Awaited with newly assigned partitions, before anything of them is fetched: restore their state here.
    on_revoked
        Awaited with partitions that go to another consumer (or are lost already), after their batches at work
        have ended and before the other one gets them.
    on_error
        Called with what made consuming impossible; nothing is delivered after it.
    properties
        Further librdkafka properties, such as ``group.protocol``.
    stamps
        By topic: its id, as transactions write it with their offsets. Where it is given, an offset of the group
        without it is not gone back to: it was moved by somebody else.
    on_gone
        Called with a partition whose next record is not there, and with the cluster's words for it; nothing of it
        is fetched any more. Without it that is an error as any other.
    drain_s
        How long a revocation waits for batches at work (s). One that is not being committed by then is taken
        back: committing it raises TransactionAborted.

    Notes
    -----
    The default is the classic protocol with the eager `range` assignor, which gives partitions of equal number of
    all topics to the same consumer. ``group.protocol=consumer`` with ``group.remote.assignor=range`` does so, too,
    and takes over more slowly. ``cooperative-sticky`` works, but does not keep co-partitioned topics together.

    A record is delivered once per read from the committed offset; that it counts once is the transaction's work,
    see `commit`.
    """

    def __init__(
        self,
        connection: Connection,
        group_id: str,
        channels: Iterable[Channel],
        deliver: Callable[[Batch[Any]], None],
        *,
        on_assigned: RebalanceCallback = nothing_to_do,
        on_revoked: RebalanceCallback = nothing_to_do,
        on_error: Callable[[BaseException], None] | None = None,
        properties: Mapping[str, Any] | None = None,
        drain_s: float = DRAIN_S,
        stamps: Mapping[str, str] = MappingProxyType({}),
        on_gone: Callable[[Partition, str], None] | None = None,
    ) -> None:
        self.group_id = group_id
        self.starts: dict[Partition, int] = {}
        """Where to begin with partitions, as `start_at` was told."""
        self._on_gone = on_gone
        self.error: BaseException | None = None
        self._deliver = deliver
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_error = on_error
        self._drain_s = drain_s
        self._lanes = [Lane(channel) for channel in channels]
        self._by_topic: dict[str, Lane] = {}
        for lane in self._lanes:
            for topic in lane.channel.topics:
                if topic in self._by_topic:
                    raise UsageError(f"topic {topic} is in two channels of the consumer group {group_id}")
                self._by_topic[topic] = lane
        self._thread = FetchThread(
            consumer_config(connection, group_id, properties or {}), self._by_topic, self, stamps
        )
        self._stable = StableOffsets(connection)
        self._metadata = b""
        self._epoch = 0
        self._paused = self._started = False
        self._wanted: set[Partition] = set()
        self._asking = False

    def __repr__(self) -> str:
        names = ", ".join(lane.channel.name for lane in self._lanes)
        return f"<BatchConsumer {self.group_id}: {names}; {len(self.assignment)} partitions>"

    @property
    def assignment(self) -> Partitions:
        """The partitions that are assigned here."""
        return frozenset(partition for lane in self._lanes for partition in lane.buffers)

    @property
    def epoch(self) -> int:
        """How many rebalances there were."""
        return self._epoch

    async def start(self) -> None:
        """Join the group and begin to consume."""
        self._loop = asyncio.get_running_loop()
        self._started = True
        self._thread.start()

    async def stop(self) -> None:
        """Deliver nothing more, wait for batches at work as a revocation does, and leave the group."""
        await self.drain()
        if self._started:
            await self._thread.stop()
        self._stable.close()

    async def drain(self) -> None:
        """Deliver nothing more, and wait for batches at work as a revocation does."""
        self._paused = True
        await self._drain(self._lanes)

    def start_at(self, partition: Partition, offset: int) -> None:
        """Begin with a partition at an offset; to be called in `on_assigned`.

        The state of whoever consumes knows better than the group how far it is.
        """
        self.starts[partition] = offset

    def rejoin(self) -> None:
        """Give all partitions up and take them again, soon: topics have changed."""
        self._thread.rejoin()

    def pause(self) -> None:
        """Deliver nothing more until `resume`; fetching goes on until the buffers are full."""
        self._paused = True

    def resume(self) -> None:
        """Deliver again."""
        self._paused = False
        if self._started:
            self.wake()

    def done(self, batch: Batch[Any]) -> None:
        """Release the channel for its next batch; the batch's offsets are committed."""
        lane = self._lane_of(batch)
        if lane.batch is batch:
            batch.state = "committed"
            lane.finish()
            self._wake(lane)

    def rewind(self, batch: Batch[Any]) -> None:
        """Read the channel's partitions again from what is committed; the batch did not count."""
        lane = self._lane_of(batch)
        if lane.batch is batch:
            batch.state = "dropped"
            lane.finish()
            self._seek(lane)

    def finish(self, batch: Batch[Any]) -> None:
        """End a batch that nobody works on any more: `done` if it was committed, else `rewind`."""
        if batch.state == "committed":
            self.done(batch)
        elif batch.state == "at work":
            if self._lane_of(batch).batch is batch:
                log.warning("%r ended without a commit and is read again", batch)
            self.rewind(batch)

    def keep(self, batch: Batch[Any], records: list[Record[Any]]) -> None:
        """Keep a part of a batch at work; the others are delivered again, in order.

        Parameters
        ----------
        records
            Of each partition the first ones.
        """
        lane = self._lane_of(batch)
        if len(records) == len(batch.records) or lane.batch is not batch:
            return
        kept = set(map(id, records))
        for record in reversed(batch.records):
            if id(record) not in kept and record.partition in lane.queues:
                lane.queues[record.partition].appendleft(record)
        batch.keep(records)

    async def commit(
        self, batch: Batch[Any], runner: TransactionRunner, records: Iterable[OutRecord]
    ) -> None:
        """Write a batch's outputs and its offsets in one transaction.

        The batch is still at work afterwards: apply it to local state, then call `done`.

        Raises
        ------
        TransactionAborted
            Nothing of it counts, local state must not change, and the batch is rewound already.

        Notes
        -----
        A caller that is cancelled does not learn whether the transaction committed: it must drop its local state
        and restore it. The channel waits for the transaction's end in any case.
        """
        if self._lane_of(batch).batch is not batch or batch.state != "at work":
            text = f"{batch!r} was taken back; its records are read again"
            raise TransactionAborted(text, certain=True)
        batch.state = "committing"
        transaction = asyncio.ensure_future(runner.commit(records, batch.offsets, batch.metadata))
        try:
            await asyncio.shield(transaction)
        except asyncio.CancelledError:
            transaction.add_done_callback(lambda ended: self._abandoned(batch, ended))
            raise
        except BaseException as error:
            self._refused(batch, error)
            raise
        batch.state = "committed"

    @property
    def metadata(self) -> bytes:
        """The group's metadata now: what a transaction without input is fenced by."""
        return self._metadata

    def wake(self) -> None:
        """Ask again what may be delivered: whatever a picker or `may` goes by has changed."""
        for lane in self._lanes:
            self._wake(lane)

    async def ends(self, topic: str) -> dict[Partition, int]:
        """Give the ends, of what is committed now, of the partitions of a topic that are assigned here."""
        mine = [each for each in self._by_topic[topic].buffers if each.topic == topic]
        if not mine:
            return {}
        answer: asyncio.Future[dict[Partition, int]] = self._loop.create_future()
        self._stable.ask(mine, partial(succeed, answer))
        return await answer

    def quiet(self, ends: Mapping[Partition, int]) -> frozenset[int]:
        """Give the partitions of which everything below their `ends` is worked off, and nothing more is here."""
        return frozenset(
            buffer.partition.number
            for buffer in map(self._rested, ends)
            if buffer is not None and buffer.read_to >= ends[buffer.partition]
        )

    def passed(self, topic: str) -> dict[int, int]:
        """Give up to which offset partitions are worked off, where nothing of them is buffered or at work.

        It lies behind the marks of transactions, where the offset after a record never gets.
        """
        return {
            buffer.partition.number: buffer.read_to
            for buffer in map(self._rested, list(self._by_topic[topic].buffers))
            if buffer is not None and buffer.partition.topic == topic and buffer.handed == buffer.received
        }

    def _rested(self, partition: Partition) -> PartitionBuffer | None:
        """Give a partition's buffer, if nothing of it is buffered or at work."""
        lane = self._by_topic[partition.topic]
        buffer = lane.buffers.get(partition)
        at_work = lane.batch is not None and partition in lane.batch.offsets
        return None if buffer is None or buffer.queue or at_work or lane.seeking else buffer

    async def extents(self) -> dict[Partition, tuple[int, int]]:
        """Give for each partition the first offset that was not picked yet, and its end; markers count, too."""
        buffers = [buffer for lane in self._lanes for buffer in lane.buffers.values()]
        if not buffers:
            return {}  # perhaps its thread has not even started

        def ends(consumer: Consumer) -> list[int]:
            places = [TopicPartition(*buffer.partition) for buffer in buffers]
            return [consumer.get_watermark_offsets(place, cached=True)[1] for place in places]

        found = {}
        for buffer, end in zip(buffers, await self._thread.call(ends), strict=True):
            next_offset = buffer.queue[0].offset if buffer.queue else buffer.read_to
            if end >= 0 and next_offset >= 0:
                found[buffer.partition] = min(next_offset, end), end
        return found

    # ---- what the consumer's thread reports

    def fetched(self, fetched: list[Fetched], arrived: float) -> None:
        """Buffer what was fetched (the consumer's thread calls)."""
        try:
            for buffer, messages, end in fetched:
                lane = self._by_topic[buffer.partition.topic]
                if lane.buffers.get(buffer.partition) is buffer:
                    buffer.extend(messages, lane.channel.decode, arrived)
                    if end >= 0:
                        buffer.reach(end)
                    self._wake(lane)
        except Exception as error:  # a decode that raises: nothing of it is committed, so nothing is lost
            self.failed(error)

    def membership(self, metadata: bytes) -> None:
        """Go on in a new generation (the consumer's thread calls)."""
        self._metadata = metadata
        self.wake()

    async def assigned(self, buffers: list[tuple[Lane, PartitionBuffer]], metadata: bytes) -> None:
        """Take up partitions (the consumer's thread calls and waits)."""
        self._epoch += 1
        self._metadata = metadata if is_member(metadata) else b""
        for lane, buffer in buffers:
            lane.add(buffer)
            self.starts.pop(buffer.partition, None)
        await self._on_assigned(frozenset(buffer.partition for _, buffer in buffers))
        self.wake()

    async def revoked(self, partitions: Partitions) -> None:
        """Give up partitions (the consumer's thread calls and waits)."""
        self._epoch += 1
        lanes = [lane for lane in self._lanes if not partitions.isdisjoint(lane.buffers)]
        for lane in lanes:
            lane.suspended += 1
        try:
            taken_back = await self._drain(
                [lane for lane in lanes if lane.batch and not partitions.isdisjoint(lane.batch.offsets)]
            )
            for lane in lanes:
                for partition in partitions:
                    lane.remove(partition)
            for lane in taken_back:
                self._seek(lane)
            reached("in-revoke")
            await self._on_revoked(partitions)
        finally:
            for lane in lanes:
                lane.suspended -= 1
                self._wake(lane)

    def gone(self, partition: Partition, text: str) -> None:
        """Learn that a partition cannot be read on (the consumer's thread calls)."""
        if self._on_gone is not None:
            self._on_gone(partition, text)
            return
        self.failed(
            RecordsGone(
                f"{partition}: the next record of the consumer group no longer exists ({text}): it was "
                "deleted, by retention or by hand, before it was read"
            )
        )

    def failed(self, error: BaseException) -> None:
        """Deliver nothing more (the consumer's thread calls)."""
        self._paused = True
        if self.error is None:
            self.error = error
            log.error("consumer group %s: %r", self.group_id, error, exc_info=error)
            if self._on_error is not None:
                self._on_error(error)

    # ---- batches

    def _lane_of(self, batch: Batch[Any]) -> Lane:
        return self._by_topic[batch.channel.topics[0]]

    def _wake(self, lane: Lane) -> None:
        if not lane.scheduled:
            lane.scheduled = True
            self._loop.call_soon(self._dispatch, lane)

    def _dispatch(self, lane: Lane) -> None:
        lane.scheduled = False
        if self._paused or not lane.open or not self._metadata or lane.refused == self._metadata:
            return
        if not lane.channel.may():
            return
        now = time.monotonic()
        if (rest_s := lane.rest_s(now)) > 0:
            lane.scheduled = True
            self._loop.call_later(rest_s, self._dispatch, lane)
            return

        def caught_up(partition: tuple[str, int], since: float) -> bool:
            buffer = lane.buffers[cast(Partition, partition)]
            if buffer.known_through < since and buffer.asked < since:
                self._wanted.add(buffer.partition)
            return buffer.known_through >= since

        try:
            records = lane.picker.pick(lane.queues, caught_up, lane.channel.max_batch)
            lane.waiting = not records and any(lane.queues.values())
            if records:
                batch = Batch(lane.channel, records, self._metadata, self._epoch)
                lane.start(batch)
                lane.picked = now
                reached("after-poll")
                self._deliver(batch)
        except Exception as error:  # a picker or deliver that raises: no batch of this lane is committed
            self.failed(error)
            return
        if self._wanted:
            self._ask()

    def _ask(self) -> None:
        """Ask for the ends of partitions that pickers wait for, one question at a time."""
        if self._asking:
            return
        asked, wanted = time.monotonic(), self._wanted
        self._asking, self._wanted = True, set()
        for partition in wanted:
            self._mark_asked(partition, asked)
        self._stable.ask(wanted, lambda ends: self._answer(asked, wanted, ends))

    def _mark_asked(self, partition: Partition, asked: float) -> None:
        buffer = self._by_topic[partition.topic].buffers.get(partition)
        if buffer is not None:
            buffer.asked = asked

    def _answer(self, asked: float, wanted: set[Partition], ends: dict[Partition, int]) -> None:
        self._asking = False
        for partition in wanted:
            lane = self._by_topic[partition.topic]
            buffer = lane.buffers.get(partition)
            if buffer is None:
                continue
            if partition in ends:
                buffer.answer(asked, ends[partition])
                self._wake(lane)
            else:
                buffer.asked = NEVER
                self._loop.call_later(ASK_AGAIN_S, self._wake, lane)
        if self._wanted:
            self._ask()

    # ---- ends of batches

    def _refused(self, batch: Batch[Any], error: BaseException) -> None:
        lane = self._lane_of(batch)
        if isinstance(error, GenerationLost | ProducerFenced):
            # Never at once again: the group will tell this consumer that it has lost its place.
            lane.refused = batch.metadata
        if isinstance(error, ProducerFenced):
            # Unless it has not, and only the transactional id was taken over.
            self._loop.call_later(FENCED_WAIT_S, self._forgive, lane)
        batch.state = "at work"
        self.rewind(batch)

    def _forgive(self, lane: Lane) -> None:
        lane.refused = None
        self._wake(lane)

    def _abandoned(self, batch: Batch[Any], ended: asyncio.Future[None]) -> None:
        error = asyncio.CancelledError() if ended.cancelled() else ended.exception()
        if error is None:
            self.done(batch)
        else:
            self._refused(batch, error)

    def _seek(self, lane: Lane) -> None:
        lane.seeking += 1

        def sought(partitions: list[Partition]) -> None:
            for partition in partitions:
                if partition in lane.buffers:
                    lane.buffers[partition].drop()
            lane.seeking -= 1
            self._wake(lane)

        self._thread.seek_to_committed(list(lane.buffers), sought)

    async def _drain(self, lanes: list[Lane]) -> list[Lane]:
        """Wait for batches at work; take back those that are not being committed after the time."""
        waiting = [asyncio.ensure_future(lane.idle.wait()) for lane in lanes if lane.batch is not None]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=self._drain_s)
            for task in late:
                task.cancel()
        taken_back = []
        for lane in lanes:
            if lane.batch is not None:
                log.warning("%r did not end within %g s of a rebalance", lane.batch, self._drain_s)
                if lane.batch.state == "at work":
                    lane.batch.state = "dropped"
                    lane.finish()
                    taken_back.append(lane)
        return taken_back
