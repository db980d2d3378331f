"""The one thread that touches librdkafka's consumer: it fetches, seeks, pauses and goes through rebalances.

Calls on one consumer from several threads are serialised inside confluent-kafka, so a second thread would wait
for seconds behind a fetch. So everything else sends this thread a call, and the thread hands over to the event
loop in the order of what happened: a seek or a revocation comes between the records before and after it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, Message

from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel_state import ChannelState
from infra.kafka.client_log import CLIENT_LOG
from infra.kafka.fetch_position import FetchPositions, offset_of, partition_of
from infra.kafka.flow_control import FlowControl
from infra.kafka.loop_bridge import LoopBridge
from infra.kafka.membership import is_member
from infra.kafka.rebalances import RebalanceListener, Rebalances
from infra.kafka.rewinds import Rewinds
from schemas.errors import BrokerError

A = TypeVar("A")

POLL_S = 0.02
POLL_PAUSED_S = 0.002
FETCH_AT_MOST = 500
"""Records that the event loop decodes at once."""

# A consumer that meets these can never read its topics.
HOPELESS = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

log = logging.getLogger(__name__)


class Fetched(NamedTuple):
    """What one fetch brought of one partition."""

    buffer: PartitionBuffer
    messages: list[Message]
    end: int
    """The partition's end, if the fetch reached it, else -1."""


class Owner(RebalanceListener, Protocol):
    """The event loop's side of the consumer; called there, in the order of what happened."""

    def fetched(self, fetched: list[Fetched], arrived: float) -> None:
        """Take records and partition ends; `arrived` in s, monotonic."""

    def membership(self, metadata: bytes) -> None:
        """Take the metadata of a new generation in which all assigned partitions are still ours."""

    def gone(self, partition: Partition, text: str) -> None:
        """Take note that a partition's next record no longer exists."""

    def failed(self, error: BaseException) -> None:
        """Take the error of which the thread has died."""


class FetchThread:
    """Owns a librdkafka consumer in a thread of its own.

    Parameters
    ----------
    config
        librdkafka's configuration of the consumer.
    channels
        The channel of each topic; the topics are subscribed to.
    owner
        Called on the event loop that runs when `start` is called.
    """

    def __init__(
        self,
        config: dict[str, Any],
        channels: Mapping[str, ChannelState],
        owner: Owner,
        stamps: Mapping[str, str] = NOTHING,
    ) -> None:
        self._config = config
        self._owner = owner
        self._bridge = LoopBridge()
        self._positions: FetchPositions = {}
        self._rewinds = Rewinds(self._positions, stamps, self._bridge)
        self._flow = FlowControl(self._positions, self._rewinds, self._bridge)
        self._rebalances = Rebalances(config, channels, owner, self._positions, self._rewinds, self._bridge)
        self._fetched = False
        """Whether something was handed over in this turn."""
        self._rejoin = self._opened = self._subscribe = False
        self._thread = threading.Thread(target=self._run, name="kafka-consumer", daemon=True)

    # ---- on the event loop

    def start(self) -> None:
        """Begin to consume."""
        self._bridge.open()
        self._ended = asyncio.Event()
        self._thread.start()

    async def stop(self) -> None:
        """Leave the group and end the thread, which closes the consumer itself."""
        self._bridge.stopping = True
        await self._ended.wait()
        self._thread.join()

    def call(self, function: Callable[[Consumer], A]) -> Awaitable[A]:
        """Run a short function in the thread; also while a rebalance waits for the event loop."""
        return self._bridge.call(function)

    def rejoin(self, client_id: str = "") -> None:
        """Leave the group and join it again, soon: all partitions are given up and taken up anew."""
        if client_id:
            self._config = {**self._config, "client.id": client_id}
        self._rejoin = True

    def subscribe(self) -> None:
        """Subscribe anew, soon: a channel joins."""
        self._subscribe = True

    def seek_to_committed(
        self, partitions: Collection[Partition], then: Callable[[list[Partition]], None]
    ) -> None:
        """Read partitions again from what the group has committed.

        Parameters
        ----------
        then
            Called on the event loop after everything that was fetched before the seek, and before anything
            that is fetched after it, with those partitions of which anything had been fetched. The others stay
            where they are; their ends would not be reported again.
        """
        self._rewinds.seek_to_committed(partitions, then)

    # ---- in the thread

    def _run(self) -> None:
        try:
            self._open()
            while not self._bridge.stopping:
                self._turn(self._consumer)
                self._wait_until_taken(self._consumer)
        except BaseException as error:  # it dies alone in its thread otherwise
            self._bridge.post(self._owner.failed, error)
        finally:
            self._bridge.stopping = True
            if self._opened:
                self._consumer.close()
            self._bridge.reject_calls()
            self._bridge.post(self._ended.set)

    def _open(self) -> None:
        self._rejoin = False
        self._consumer = Consumer(self._config, logger=CLIENT_LOG)
        self._opened = True
        self._rebalances.subscribe(self._consumer)

    def _turn(self, consumer: Consumer) -> None:
        if self._rejoin:  # here, and not as a call: those run within rebalances, too
            # A client of its own for topics that were made again: librdkafka goes on asking with the leader's epoch
            # of the topic from before, and gets no record where that was higher (2.16). Closing gives all up.
            self._opened = False
            consumer.close()
            self._open()
            consumer = self._consumer
        if self._subscribe:
            self._subscribe = False
            self._rebalances.subscribe(consumer)
        self._bridge.serve(consumer)
        self._rebalances.resume_new(consumer)
        self._rewinds.put_back(consumer)
        self._rewinds.seek_back(consumer)
        self._flow.make_room(consumer)
        self._fetch(consumer)

    def _wait_until_taken(self, consumer: Consumer) -> None:
        """Wait until the event loop has what was fetched last.

        It decodes what it is given at once. Everything that lies in front of a worker that starts would hold it for
        seconds.
        """
        if self._fetched:
            self._fetched = False
            self._bridge.wait_until_taken(consumer)

    def _fetch(self, consumer: Consumer) -> None:
        wait_s = POLL_PAUSED_S if self._flow.any_paused else POLL_S
        self._rebalances.happened = False
        # The first record is waited for, further ones are only collected: `consume(n, t)` would wait t to fill n.
        messages = consumer.consume(1, wait_s)
        if messages:
            messages += consumer.consume(FETCH_AT_MOST - 1, 0)
        if self._rebalances.happened:
            # Some of these records may be from before, some from after the rebalance that happened meanwhile.
            self._rewinds.undo(messages)
        arrived = time.monotonic()
        self._watch_membership(consumer)
        if messages:
            fetched = self._sort(messages)
            if fetched:
                self._bridge.post(self._owner.fetched, fetched, arrived)
                self._fetched = True

    def _watch_membership(self, consumer: Consumer) -> None:
        # A generation may change while all partitions stay: no callback runs, and the old metadata is rejected.
        # It is safe to use the new one for records fetched before: librdkafka cannot be in a generation in which
        # somebody else owns one of our partitions before our revocation callback has returned.
        if not self._positions:
            return
        metadata = consumer.consumer_group_metadata()
        if metadata != self._rebalances.metadata and is_member(metadata):
            self._rebalances.metadata = metadata
            self._bridge.post(self._owner.membership, metadata)

    def _sort(self, messages: Iterable[Message]) -> list[Fetched]:
        records: dict[Partition, list[Message]] = {}
        ends: dict[Partition, int] = {}
        partition, append = Partition("", -1), None
        undone = self._rewinds.undone
        for message in messages:
            # Runs of one partition are the rule, and this loop runs for every record.
            if message.partition() != partition.number or message.topic() != partition.topic:
                partition = partition_of(message)
                append = None
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                self._report(error, partition)
            elif undone and partition in undone:
                undone[partition] = min(undone[partition], offset_of(message))
            elif error is None:
                if append is None:
                    append = records.setdefault(partition, []).append
                append(message)
            else:
                ends[partition] = offset_of(message)
        fetched = []
        for partition in records.keys() | ends.keys():
            position = self._positions.get(partition)
            if position is None:
                continue
            mine = records.get(partition, [])
            if mine:
                if position.first is None:
                    position.first = offset_of(mine[0])
                position.next = offset_of(mine[-1]) + 1
                position.buffer.handed += len(mine)
            fetched.append(Fetched(position.buffer, mine, ends.get(partition, -1)))
        return fetched

    def _report(self, error: KafkaError, partition: Partition) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._bridge.post(self._owner.gone, partition, error.str())
        elif error.fatal() or error.code() in HOPELESS:
            raise BrokerError(f"{partition} cannot be consumed: {error.str()}")
        else:
            log.warning("consumer: %s", error.str())
