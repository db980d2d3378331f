"""The batch consumer: records of several channels as batches, each fenced by the generation it was fetched in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from infra.hooks import reached
from infra.kafka.batches import Batches
from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel import Batch, Channel
from infra.kafka.channel_state import ChannelState, ChannelStates
from infra.kafka.connection import Connection
from infra.kafka.dispatch import Dispatcher
from infra.kafka.fetching import Fetched, FetchThread
from infra.kafka.membership import is_member
from infra.kafka.read_progress import ReadProgress
from infra.kafka.reading import consumer_config
from infra.kafka.stable import StableOffsets
from schemas.errors import RecordsGone

Partitions = frozenset[Partition]
RebalanceCallback = Callable[[Partitions], Awaitable[None]]

DRAIN_S = 8.0

log = logging.getLogger(__name__)


async def nothing_to_do(partitions: Partitions) -> None:
    """Do nothing about a rebalance."""


class BatchConsumer:
    """Consumes several channels of topics in one consumer group, one batch of each at a time.

    All methods and callbacks belong to the event loop that runs when `start` is called.

    Parameters
    ----------
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
        Called with the error that ended consuming; nothing is delivered after it.
    properties
        Further librdkafka properties, such as ``group.protocol``.
    stamps
        By topic: its id, which transactions write beside their offsets. Where it is given, a rewind ignores an
        offset of the group without it: another tool has moved it.
    on_gone
        Called with a partition whose next record no longer exists, and with the client's message; the partition is
        not fetched any more. Without it, `on_error` is called.
    drain_s
        How long a revocation waits for batches at work (s). One that is not being committed by then is taken
        back: committing it raises TransactionAborted.

    Notes
    -----
    The default is the classic protocol with the eager `range` assignor, which gives partitions of equal number of
    all topics to the same consumer. ``group.protocol=consumer`` with ``group.remote.assignor=range`` does so, too,
    and takes over more slowly. ``cooperative-sticky`` works, but does not keep co-partitioned topics together.

    A record is delivered once per read from the committed offset. The transaction makes it count once: see
    `Batches.commit`.
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
        """Offsets given to `start_at`."""
        self.error: BaseException | None = None
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_error = on_error
        self._on_gone = on_gone
        self._started = False
        self._states = ChannelStates(channels, group_id)
        config = consumer_config(connection, group_id, properties or {})
        self._thread = FetchThread(config, self._states.by_topic, self, stamps)
        self._stable = StableOffsets(connection)
        self._dispatcher = Dispatcher(self._states, self._stable, deliver, self.failed)
        self.batches = Batches(self._states, self._dispatcher.wake, self._thread.seek_to_committed, drain_s)
        """Commits and ends the batches that were delivered."""
        self.progress = ReadProgress(self._states, self._stable, self._thread.call)
        """How far the assigned partitions are read."""

    def __repr__(self) -> str:
        names = ", ".join(state.channel.name for state in self._states.all)
        return f"<BatchConsumer {self.group_id}: {names}; {len(self.assignment)} partitions>"

    @property
    def assignment(self) -> Partitions:
        """The partitions that are assigned here."""
        return frozenset(buffer.partition for buffer in self._states.buffers())

    @property
    def metadata(self) -> bytes:
        """The group's metadata now: a transaction without input is fenced by it."""
        return self._dispatcher.metadata

    async def start(self) -> None:
        """Join the group and begin to consume."""
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
        self.pause()
        await self.batches.drain(self._states.all)

    def start_at(self, partition: Partition, offset: int) -> None:
        """Begin with a partition at an offset; to be called in `on_assigned`.

        The local state may know better than the group which offset comes next.
        """
        self.starts[partition] = offset

    def rejoin(self, client_id: str = "") -> None:
        """Give all partitions up and take them again, soon: topics have changed, or the client's id."""
        self._thread.rejoin(client_id)

    def subscribe(self) -> None:
        """Subscribe to the topics of channels that join by now."""
        new = [state for state in self._states.all if not state.joins and state.channel.joins()]
        for state in new:
            state.joins = True
        if new and self._started:
            self._thread.subscribe()

    def pause(self) -> None:
        """Deliver nothing more until `resume`; fetching goes on until the buffers are full."""
        self._dispatcher.paused = True

    def resume(self) -> None:
        """Deliver again."""
        self._dispatcher.paused = False
        if self._started:
            self.wake()

    def wake(self) -> None:
        """Check again which batches may be delivered: the result of a channel's `may` has changed."""
        self._dispatcher.wake_all()

    # ---- called by the consumer's thread

    def fetched(self, fetched: list[Fetched], arrived: float) -> None:
        """Buffer records."""
        try:
            for buffer, messages, end in fetched:
                state = self._states.by_topic[buffer.partition.topic]
                if state.buffers.get(buffer.partition) is buffer:
                    buffer.extend(messages, state.channel.decode, arrived)
                    if end >= 0:
                        buffer.reach(end)
                    self._dispatcher.wake(state)
        except Exception as error:  # a decode that raises: nothing of it is committed, so nothing is lost
            self.failed(error)

    def membership(self, metadata: bytes) -> None:
        """Go on in a new generation."""
        self._dispatcher.metadata = metadata
        self.wake()

    async def assigned(self, buffers: list[tuple[ChannelState, PartitionBuffer]], metadata: bytes) -> None:
        """Take up partitions; the thread waits."""
        self._dispatcher.metadata = metadata if is_member(metadata) else b""
        for state, buffer in buffers:
            state.add(buffer)
            self.starts.pop(buffer.partition, None)
        await self._on_assigned(frozenset(buffer.partition for _, buffer in buffers))
        self.wake()

    async def revoked(self, partitions: Partitions) -> None:
        """Give up partitions; the thread waits."""
        states = [state for state in self._states.all if not partitions.isdisjoint(state.buffers)]
        for state in states:
            state.suspended += 1
        try:
            taken_back = await self.batches.drain(
                state
                for state in states
                if state.batch is not None and not partitions.isdisjoint(state.batch.offsets)
            )
            for state in states:
                for partition in partitions:
                    state.remove(partition)
            for state in taken_back:
                self.batches.seek(state)
            reached("in-revoke")
            await self._on_revoked(partitions)
        finally:
            for state in states:
                state.suspended -= 1
                self._dispatcher.wake(state)

    def gone(self, partition: Partition, text: str) -> None:
        """Stop, or call `on_gone`: a partition's next record no longer exists."""
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
        """Deliver nothing more."""
        self.pause()
        if self.error is None:
            self.error = error
            log.error("consumer group %s: %r", self.group_id, error, exc_info=error)
            if self._on_error is not None:
                self._on_error(error)
