"""A second consumer group in a Faust app: the batches of a channel as the events of an in-memory Faust channel."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from types import MappingProxyType
from typing import Any

import faust
from mode import Service

from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer, RebalanceCallback, nothing_to_do


class Delivery:
    """A batch on its way to an agent; when Faust throws it away, the batch is read again."""

    __slots__ = ("__weakref__", "batch")

    def __init__(self, batch: Batch[Any]) -> None:
        self.batch = batch


class GroupFeed(Service):  # type: ignore[misc]  # mode has no types
    """Consumes one channel in a group of its own and feeds `channel`, for an agent to take.

    Parameters
    ----------
    app
        The app whose agent takes the batches.
    connection
        The cluster.
    group_id
        The consumer group, another one than the app's.
    source
        What is consumed.
    on_assigned, on_revoked, stamps, on_gone
        As for `BatchConsumer`.
    properties
        Further librdkafka properties.

    Examples
    --------
    ::

        feed = GroupFeed(app, connection, "task-owner", Channel(name="log", topics=("task.log",)))

        @app.agent(feed.channel, name="publish")
        async def publish(stream):
            async for batch in feed.batches(stream):
                await feed.consumer.commit(batch, runner, outputs)

        app.service(feed)  # or await app.add_runtime_dependency(feed)
    """

    def __init__(
        self,
        app: faust.App,
        connection: Connection,
        group_id: str,
        source: Channel,
        *,
        on_assigned: RebalanceCallback = nothing_to_do,
        on_revoked: RebalanceCallback = nothing_to_do,
        properties: Mapping[str, Any] | None = None,
        stamps: Mapping[str, str] = MappingProxyType({}),
        on_gone: Callable[[Partition, str], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._delivered: asyncio.Queue[Batch[Any]] = asyncio.Queue()
        self.channel = app.channel(maxsize=0)
        self.consumer = BatchConsumer(
            connection,
            group_id,
            [source],
            self._delivered.put_nowait,
            on_assigned=on_assigned,
            on_revoked=on_revoked,
            on_error=self._failed,
            properties=properties,
            stamps=stamps,
            on_gone=on_gone,
        )

    async def on_start(self) -> None:
        """Join the group."""
        self._loop = asyncio.get_running_loop()
        await self.consumer.start()

    async def on_stop(self) -> None:
        """Leave the group."""
        await self.consumer.stop()

    async def batches(self, stream: AsyncIterable[Delivery]) -> AsyncIterator[Batch[Any]]:
        """Give the batches of an agent's stream.

        One that is not committed when the next is asked for, or when the agent fails, is read again.
        """
        async for delivery in stream:
            try:
                yield delivery.batch
            finally:
                self.consumer.finish(delivery.batch)

    @Service.task  # type: ignore[untyped-decorator]  # mode has no types
    async def _feed(self) -> None:
        while not self.should_stop:
            batch = await self._delivered.get()
            # Without an agent that has begun to listen, Faust would drop it, again and again.
            while not self.channel.subscriber_count:
                await self.sleep(0.01)
            await self.channel.put(self._delivery(batch))

    def _delivery(self, batch: Batch[Any]) -> Delivery:
        delivery = Delivery(batch)
        weakref.finalize(delivery, self._vanished, batch).atexit = False
        return delivery

    def _vanished(self, batch: Batch[Any]) -> None:
        # The garbage collector may run in any thread.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.consumer.finish, batch)

    def _failed(self, error: BaseException) -> None:
        self.add_future(self.crash(error))
