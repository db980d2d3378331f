"""Batches for Faust agents: each agent takes those of one channel, one after the other.

Faust's own consumption is not used: it takes 68 µs per message, acknowledges what failed, and loses on hard kills.
What is kept of Faust is the app, its agents, timers and life cycle. The batches of a `BatchConsumer` are the values
of in-memory Faust channels, a public part of Faust; `tests/contracts/test_faust.py` says what is expected of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from typing import Any

import faust
from mode import Service

from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer

Work = Callable[[Batch[Any]], Awaitable[None]]
"""Commits a batch with what it causes. A batch that it has not committed when it ends is read again."""


class Feed(Service):  # type: ignore[misc]  # mode has no types
    """Consumes channels in a group, and lets an agent for each work on its batches.

    Parameters
    ----------
    app
        The app that gets the agents.
    agents
        What is done with the batches of each channel.
    consumer_options
        Further ones of `BatchConsumer`.

    Examples
    --------
    ::

        async def serve(batch):
            await feed.consumer.batches.commit(batch, runner, outputs_of(batch))
            ...  # apply to local state

        feed = Feed(app, connection, "group", {Channel(name="serve", topics=("task.requests",)): serve})
        app.service(feed)
    """

    def __init__(
        self,
        app: faust.App,
        connection: Connection,
        group_id: str,
        agents: Mapping[Channel, Work],
        **consumer_options: Any,
    ) -> None:
        super().__init__()
        self._app = app
        self._delivered: asyncio.Queue[Batch[Any]] = asyncio.Queue()
        self.consumer = BatchConsumer(
            connection,
            group_id,
            agents,
            self._delivered.put_nowait,
            on_error=lambda error: self.add_future(self.crash(error)),
            **consumer_options,
        )
        self._channels = {}
        for channel, work in agents.items():
            self._channels[channel.name] = app.channel(maxsize=0)
            app.agent(self._channels[channel.name], name=channel.name)(self._agent(work))

    def _agent(self, work: Work) -> Callable[[AsyncIterable[Batch[Any]]], Awaitable[None]]:
        async def agent(stream: AsyncIterable[Batch[Any]]) -> None:
            async for batch in stream:
                try:
                    await work(batch)
                finally:
                    self.consumer.batches.finish(batch)

        return agent

    async def on_start(self) -> None:
        """Join the group."""
        self._app.flow_control.resume()  # Faust opens its queues after a rebalance of its own consumer
        await self.consumer.start()

    async def on_stop(self) -> None:
        """Leave the group."""
        await self.consumer.stop()

    @Service.task  # type: ignore[untyped-decorator]  # mode has no types
    async def _feed(self) -> None:
        while not self.should_stop:
            batch = await self._delivered.get()
            channel = self._channels[batch.channel.name]
            # Without an agent that has begun to listen, Faust would drop it.
            while not channel.subscriber_count:
                await self.sleep(0.01)
            await channel.put(batch)
