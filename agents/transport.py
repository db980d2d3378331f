"""Faust on the batch consumer: agents whose events are whole batches.

Faust's own consumption is not used: it takes 68 µs per message, acknowledges what failed, and loses on hard kills.
What is kept of Faust is the app, its agents, timers and life cycle. This module is all that stands
between the two; `tests/contracts/test_faust.py` has a test for each of Faust's internals that it leans on.

A batch that an agent gets ends in one of three ways. The agent commits it (`BatchConsumer.commit`) and takes the
next event: done. The agent takes the next event, or fails, without having committed: the batch is read again.
Faust throws the event away, which it does with queued ones at every rebalance: the batch is read again, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import faust
from faust.transport import base, consumer, producer
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from schemas.errors import UsageError

SCHEME = "riverloop"


class BatchSchema(faust.Schema):  # type: ignore[misc]  # Faust has no types
    """Says which channel a Faust topic stands for; passes batches through as they are.

    Parameters
    ----------
    channel
        The channel whose batches are the topic's events.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def loads_key(self, app: Any, message: Any, **options: Any) -> None:
        """Give no key: a batch has none."""

    def loads_value(self, app: Any, message: Any, **options: Any) -> Any:
        """Give the batch."""
        return message.value


def batches(app: faust.App, channel: Channel) -> Any:
    """Declare a channel as a topic of a Faust app; each event of it is a `Batch`.

    Examples
    --------
    ::

        @app.agent(batches(app, Channel(name="serve", topics=("task.requests",))), name="serve")
        async def serve(stream):
            async for batch in stream:
                outputs = ...
                await app.consumer.commit_batch(batch, runner, outputs)
                ...  # apply to local state
    """
    return app.topic(*channel.topics, schema=BatchSchema(channel), maxsize=1)


class Acknowledgements(defaultdict[TP, Any]):
    """What Faust's compiled stream does to acknowledge is `consumer._acked[tp].append(offset)`, and only that."""

    def __init__(self, append: Any) -> None:
        super().__init__()
        self.append = append

    def __missing__(self, partition: TP) -> Acknowledgements:
        return self


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Faust has no types
    """A Faust consumer that hands out the batches of a `BatchConsumer`.

    The app's attributes say how to consume, where they are set:

    - ``app.kafka_connection``: a `Connection`, instead of the address in the broker's URL;
    - ``app.kafka_properties``: further librdkafka properties of the consumer, such as its client.id;
    - ``app.kafka_stamps``, ``app.kafka_gone``: its `stamps` and `on_gone`.
    """

    consumer_stopped_errors = ()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.batches: BatchConsumer | None = None
        self._delivered: asyncio.Queue[Batch[Any]] = asyncio.Queue()
        self._at_work: dict[int, Batch[Any]] = {}
        self._number = 0
        self._acked = Acknowledgements(self._acknowledged)

    # ---- the batch consumer's life

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Begin to consume the channels of the app's topics."""
        channels = {topic.schema.channel.name: topic.schema.channel for topic in self.app.topics}
        if self.batches is not None:
            if {lane.channel.name for lane in self.batches._lanes} != set(channels):
                raise UsageError("an app's channels cannot change while it runs")
            return
        self.batches = BatchConsumer(
            self.transport.connection,
            self.app.conf.id,
            channels.values(),
            self._delivered.put_nowait,
            on_assigned=self._assigned,
            on_revoked=self._revoked,
            on_error=self._failed,
            properties=getattr(self.app, "kafka_properties", None),
            stamps=getattr(self.app, "kafka_stamps", {}),
            on_gone=getattr(self.app, "kafka_gone", None),
        )
        # Until Faust has gone through its first rebalance nobody could take a batch.
        self.batches.pause()
        await self.batches.start()

    async def on_stop(self) -> None:
        """Leave the group; the thread closes its consumer itself."""
        if self.batches is not None:
            await self.batches.stop()

    def _failed(self, error: BaseException) -> None:
        self.add_future(self.crash(error))

    # ---- rebalances

    async def _revoked(self, partitions: frozenset[Partition]) -> None:
        self._begin_rebalance()
        await self.on_partitions_revoked({TP(*partition) for partition in partitions})
        if self.assignment():
            # Incremental protocols promise no assignment after this, and Faust waits for one to go on.
            await self._go_on()

    async def _assigned(self, partitions: frozenset[Partition]) -> None:
        self._begin_rebalance()
        await self._go_on()

    def _begin_rebalance(self) -> None:
        if not self.app.rebalancing:
            self.app.on_rebalance_start()

    async def _go_on(self) -> None:
        assert self.batches is not None
        self.app.consumer_generation_id = self.batches.epoch
        await self.on_partitions_assigned(self.assignment(), self.batches.epoch)

    def assignment(self) -> set[TP]:
        """Return the assigned partitions, as Faust writes them."""
        return {TP(*partition) for partition in self.batches.assignment} if self.batches else set()

    # ---- events

    async def _drain_messages(self, fetcher: Any) -> None:
        """Pass batches to Faust (run by Faust's fetcher)."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await self.callback(self._message(await self._delivered.get()))
        except asyncio.CancelledError:
            # Of a fetcher that is stopped. In a rebalance Faust would take it for a restart, and crash.
            if not (self._stopped.is_set() or fetcher._stopped.is_set()):
                raise

    def _message(self, batch: Batch[Any]) -> ConsumerMessage:
        self._number += 1
        partition = TP(*next(iter(batch.offsets)))
        message = ConsumerMessage(
            partition.topic,
            partition.partition,
            self._number,  # in place of an offset: what Faust acknowledges is the batch
            0.0,
            0,
            [],
            None,
            batch,
            None,
            0,
            len(batch),
            partition,
            generation_id=self.app.consumer_generation_id,
        )
        self._at_work[self._number] = batch
        # Faust throws events away without a word. Whatever becomes of the message, the batch ends.
        weakref.finalize(message, self._vanished, self._number).atexit = False
        return message

    def _acknowledged(self, number: int) -> None:
        self._acked_index.clear()
        self._end(number)

    def _vanished(self, number: int) -> None:
        # The garbage collector may run in any thread.
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._end, number)

    def _end(self, number: int) -> None:
        batch = self._at_work.pop(number, None)
        if batch is not None and self.batches is not None:
            self.batches.finish(batch)

    def stop_flow(self) -> None:
        """Deliver nothing more; what no agent has got yet is read again."""
        super().stop_flow()
        if self.batches is not None:
            self.batches.pause()
            while not self._delivered.empty():
                self.batches.rewind(self._delivered.get_nowait())

    def resume_flow(self) -> None:
        """Deliver again."""
        super().resume_flow()
        if self.batches is not None:
            self.batches.resume()

    async def wait_empty(self) -> None:
        """Wait for batches at work when the app stops; a revocation has waited before Faust hears of it."""
        if self.app.should_stop and self.batches is not None:
            await self.batches.drain()

    # ---- what Faust would do with offsets is done by transactions

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit nothing: offsets go with the transaction of what they caused."""
        return False

    async def perform_seek(self) -> None:
        """Do nothing: positions are where the group has committed."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Do nothing, see `perform_seek`."""
        return {}

    async def position(self, tp: TP) -> int | None:
        """Return None: positions are nobody's business here."""
        return None

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Return nothing: Faust asks for changelogs, of which there are none."""
        return {}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return nothing, see `highwaters`."""
        return {}

    def highwater(self, tp: TP) -> int:
        """Return 0, see `highwaters`."""
        return 0

    def topic_partitions(self, topic: str) -> int | None:
        """Return None: Faust places no records here."""
        return None

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Return the partition as given."""
        return partition

    async def create_topic(self, topic: str, *arguments: Any, **options: Any) -> None:
        """Refuse: topics are created by `riverloop topics create`."""
        raise NotUsed(f"create_topic {topic}")

    def close(self) -> None:
        """Do nothing: Faust calls it within rebalances, and the consumer's thread closes it."""

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        return False

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotUsed("seek")

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Refuse."""
        raise NotUsed("seek_wait")

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109  Faust's name
        raise NotUsed("_getmany")

    def _to_message(self, tp: TP, record: Any) -> Any:
        raise NotUsed("_to_message")


class NotUsed(RuntimeError):
    """Faust called something that riverloop never uses: Faust has changed, or a feature of it was used."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Faust's {what} does not exist on riverloop's transport; see agents/transport.py")


class Producer(producer.Producer):  # type: ignore[misc]  # Faust has no types
    """No producer: what is written goes through a `TransactionRunner`."""

    async def send(self, topic: str, *arguments: Any, **options: Any) -> Any:
        """Refuse."""
        raise NotUsed(f"send to {topic}")

    async def send_and_wait(self, topic: str, *arguments: Any, **options: Any) -> Any:
        """Refuse."""
        raise NotUsed(f"send to {topic}")

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Refuse."""
        raise NotUsed("key_partition")


class Transport(base.Transport):  # type: ignore[misc]  # Faust has no types
    """The transport of the URL scheme ``riverloop://HOST:PORT``."""

    Consumer = Consumer
    Producer = Producer
    default_port = 9092
    driver_version = "riverloop"

    @property
    def connection(self) -> Connection:
        """How to reach the cluster: the app's connection, or else the addresses in the URL."""
        given = getattr(self.app, "kafka_connection", None)
        if given is not None:
            return given  # type: ignore[no-any-return]  # the app has no types
        return Connection(",".join(f"{url.host}:{url.port or self.default_port}" for url in self.url))


def register() -> None:
    """Make Faust know the scheme where riverloop is not installed, only checked out."""
    faust.transport.drivers.TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"
