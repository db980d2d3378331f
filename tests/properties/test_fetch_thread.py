"""The consumer's thread against any interleaving of fetches, aborts, rebalances and a cluster that does not answer.

librdkafka and the group are simulated, and the event loop's half does the least that is right; that half itself is
held against everything in test_batch_consumer.py.
"""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.kafka import rebalances, rewinds
from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel import Channel
from infra.kafka.channel_state import ChannelState
from infra.kafka.fetching import Fetched, FetchThread
from infra.kafka.membership import MAGIC, is_member

TOPIC = "t"
PARTITIONS = [Partition(TOPIC, 0), Partition(TOPIC, 1)]
RECORDS = 12
# A commit marker lies behind each record: offsets have gaps.
GAP = 2


class Group:
    """What the group has committed, who is in it, and what counted."""

    def __init__(self) -> None:
        self.committed: dict[Partition, int] = {}
        self.generation = 0
        self.ours: set[Partition] = set()
        """What the coordinator thinks is ours."""
        self.output: list[tuple[Partition, int]] = []

    def metadata(self, *, member: bool = True) -> bytes:
        """Give this consumer's metadata, or what librdkafka gives out once it has lost its membership."""
        if member:
            return MAGIC + self.generation.to_bytes(4, sys.byteorder) + b"group\0me\0\0"
        return MAGIC + (-1).to_bytes(4, sys.byteorder, signed=True) + b"group\0\0\0"

    def commit(self, partition: Partition, offsets: list[int], metadata: bytes) -> bool:
        """Commit as the broker does: a stale generation is rejected, no membership at all is not."""
        if is_member_as_the_broker_asks(metadata) and metadata != self.metadata():
            return False
        self.output += [(partition, offset) for offset in offsets]
        self.committed[partition] = offsets[-1] + 1
        return True

    def work_elsewhere(self, count: int) -> None:
        """Let another member take the next records of what is not ours."""
        for partition in PARTITIONS:
            start = self.committed.get(partition, 0)
            offsets = [n for n in range(0, RECORDS * GAP, GAP) if n >= start][:count]
            if partition not in self.ours and offsets:
                self.output += [(partition, offset) for offset in offsets]
                self.committed[partition] = offsets[-1] + 1


def is_member_as_the_broker_asks(metadata: bytes) -> bool:
    """Whether the broker checks this metadata at all."""
    return metadata != Group().metadata(member=False)


class Client:
    """librdkafka's consumer as far as the thread uses it; it runs rebalances inside `consume`."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.positions: dict[Partition, int] = {}
        self.fetched: deque[Message] = deque()
        """Fetched ahead, for the next `consume`."""
        self.rebalances: deque[Callable[[], None]] = deque()
        self.lost = False
        self.silent = 0
        """So many questions are not answered."""
        self.after: int | None = 0
        """A rebalance runs behind so many records of a `consume`; None: not yet."""
        self.at_once = 0
        """So many records of each partition are fetched at once behind it."""

    def fetch_ahead(self, partition: Partition, count: int) -> None:
        if partition not in self.positions:
            return
        start = self.positions[partition]
        for offset in [n for n in range(0, RECORDS * GAP, GAP) if n >= start][:count]:
            self.fetched.append(Message(topic=TOPIC, partition=partition.number, offset=offset, value=b""))
            self.positions[partition] = offset + 1

    def consume(self, count: int, timeout: float) -> list[Message]:
        found: list[Message] = []
        while len(found) < count:
            due = self.after is not None and (len(found) >= self.after or not self.fetched)
            if self.rebalances and due:
                # What was returned before stays returned: it is from before the rebalance.
                self.rebalances.popleft()()
                # And what comes after it is fetched at once, or later.
                for partition in PARTITIONS:
                    self.fetch_ahead(partition, self.at_once)
            elif self.fetched:
                found.append(self.fetched.popleft())
            else:
                break
        return found

    def seek(self, place: TopicPartition) -> None:
        partition = Partition(place.topic, place.partition)
        self.positions[partition] = place.offset
        self._purge({partition})

    def _purge(self, partitions: Collection[Partition]) -> None:
        self.fetched = deque(
            m for m in self.fetched if Partition(TOPIC, m.partition() or 0) not in partitions
        )

    def committed(self, places: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if self.silent:
            self.silent -= 1
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        found = [self.group.committed.get(Partition(place.topic, place.partition), -1001) for place in places]
        return [TopicPartition(p.topic, p.partition, offset) for p, offset in zip(places, found, strict=True)]

    def consumer_group_metadata(self) -> bytes:
        return self.group.metadata(member=not self.lost)

    def resume(self, places: Any) -> None:
        """Nothing is paused."""

    # ---- rebalances

    def gone(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self.positions.pop(partition, None)
        self._purge(set(partitions))

    def assign(self, places: list[TopicPartition]) -> None:
        for place in places:
            start = 0 if place.offset == OFFSET_BEGINNING else place.offset
            self.positions[Partition(place.topic, place.partition)] = start


class Half:
    """The event loop's half: one buffer per partition, one record at a time, never during a seek."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.buffers: dict[Partition, PartitionBuffer] = {}
        self.metadata = b""
        self.seeking = 0
        self.starts: dict[Partition, int] = {}

    def gone(self, partition: Partition, text: str) -> None:
        raise AssertionError(f"{partition}: {text}")

    def fetched(self, fetched: list[Fetched], arrived: float) -> None:
        for buffer, messages, _ in fetched:
            assert self.buffers.get(buffer.partition) is buffer
            buffer.extend(messages, None, arrived)

    def membership(self, metadata: bytes) -> None:
        self.metadata = metadata

    async def assigned(self, buffers: list[tuple[ChannelState, PartitionBuffer]], metadata: bytes) -> None:
        self.metadata = metadata if is_member(metadata) else b""
        self.buffers |= {buffer.partition: buffer for _, buffer in buffers}

    async def revoked(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self.buffers.pop(partition, None)

    def failed(self, error: BaseException) -> None:
        raise error


class World:
    """The real thread's turns, taken one by one."""

    def __init__(self) -> None:
        self.group = Group()
        self.client = Client(self.group)
        self.half = Half(self.group)
        state = ChannelState(Channel(name="c", topics=(TOPIC,)))
        self.thread = FetchThread({}, {TOPIC: state}, self.half)
        self.posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        bridge = self.thread._bridge
        bridge.post = lambda function, *arguments: self.posted.append((function, arguments))  # type: ignore[method-assign]  # simulated
        bridge.wait_for = self.wait_for  # type: ignore[method-assign]  # simulated
        self.thread._consumer = self.client  # type: ignore[assignment]  # simulated

    def deliver(self) -> None:
        """Let the event loop hear of everything that was posted, in order."""
        while self.posted:
            function, arguments = self.posted.popleft()
            function(*arguments)

    def wait_for(self, coroutine: Coroutine[Any, Any, None], consumer: object) -> None:
        self.deliver()
        with pytest.raises(StopIteration):
            coroutine.send(None)

    # ---- what may happen

    def turn(self) -> None:
        self.thread._turn(self.client)  # type: ignore[arg-type]  # simulated

    def work(self, partition: Partition, count: int, fine: bool) -> None:
        """Process a few records of a partition, in a transaction that commits or aborts."""
        buffer = self.half.buffers.get(partition)
        if self.half.seeking or not self.half.metadata or buffer is None or not buffer.queue:
            return
        offsets = [buffer.queue.popleft().offset for _ in range(min(count, len(buffer.queue)))]
        if fine and self.group.commit(partition, offsets, self.half.metadata):
            return
        self.half.seeking += 1
        self.thread.seek_to_committed([*self.half.buffers], self.sought)

    def sought(self, partitions: list[Partition]) -> None:
        for partition in partitions:
            if partition in self.half.buffers:
                self.half.buffers[partition].drop()
        self.half.seeking -= 1

    def rebalance(self, number: int, *, lost: bool) -> None:
        """Lose partitions, all or one, and get all again, in callbacks that are yet to come."""
        client, group = self.client, self.group
        if client.rebalances:
            return
        going = {p for p in group.ours if number % 3 == 2 or p.number == number % 2}
        if lost:
            # The group goes on without this consumer, which is told afterwards.
            client.lost = True
            group.generation += 1
            going, group.ours = set(group.ours), set()

        def revoke() -> None:
            self.thread._rebalances.on_revoke(client, [TopicPartition(*p) for p in going])  # type: ignore[arg-type]  # simulated
            client.gone(going)
            group.ours -= going
            group.generation += not lost

        def assign() -> None:
            new = [p for p in PARTITIONS if p not in group.ours]
            group.generation += 1
            group.ours |= set(new)
            client.lost = False
            self.thread._rebalances.on_assign(client, [TopicPartition(*p) for p in new])  # type: ignore[arg-type]  # simulated

        if going:
            client.rebalances.append(revoke)
        # Meanwhile another member may work; it cannot while partitions are ours.
        client.rebalances.append(lambda: group.work_elsewhere(number % 4))
        client.rebalances.append(assign)

    def step(self, action: tuple[str, int, bool]) -> None:
        what, number, fine = action
        partition = PARTITIONS[number % 2]
        if what == "turn":
            self.client.after, self.client.at_once = (0, 1, 2, None)[number % 4], number // 4 % 3
            self.turn()
        elif what == "deliver":
            self.deliver()
        elif what == "fetch":
            self.client.fetch_ahead(partition, 1 + number % 5)
        elif what == "work":
            self.work(partition, 1 + number % 3, fine)
        elif what == "rebalance":
            self.rebalance(number, lost=fine)
        elif what == "elsewhere":
            self.group.work_elsewhere(1)
        elif what == "silent":
            self.client.silent = number % 4

    def finish(self) -> None:
        """Let everything go well until all is done."""
        self.client.silent, self.client.after = 0, 0
        for _ in range(200):
            self.turn()
            self.deliver()
            for partition in PARTITIONS:
                self.client.fetch_ahead(partition, 3)
                self.work(partition, 3, True)
            if self.client.lost or self.group.ours != set(PARTITIONS):
                self.rebalance(2, lost=False)


ACTIONS = ("turn", "deliver", "fetch", "work", "rebalance", "elsewhere", "silent")


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_every_record_is_handed_over_once_and_in_order_from_where_the_group_stands(seed: int) -> None:
    chance = random.Random(seed)
    weights = [8, 6, 6, 8, chance.choice((0, 1, 4)), chance.choice((0, 2)), chance.choice((0, 1))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebalances, "RETRY_S", 0.0)
        patch.setattr(rewinds, "RETRY_S", 0.0)
        world = World()
        world.rebalance(2, lost=False)
        for action in chance.choices(ACTIONS, weights, k=150):
            world.step((action, chance.randrange(24), chance.random() < 0.7))
        world.finish()
    for partition in PARTITIONS:
        assert [n for p, n in world.group.output if p == partition] == list(range(0, RECORDS * GAP, GAP))
