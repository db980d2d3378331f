"""The batch consumer's event-loop half against any interleaving of fetches, seeks, aborts and rebalances.

The consumer's thread and the cluster are simulated, so that Hypothesis chooses the order of everything; the thread
itself is tested on a real broker in tests/integration/test_consumer.py.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.kafka import consumer as consumer_module
from infra.kafka.aborted import GenerationLost
from infra.kafka.buffers import Partition, PartitionBuffer
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import BatchConsumer
from infra.kafka.fetching import Fetched
from infra.kafka.membership import MAGIC
from schemas.errors import TransactionAborted
from streams.join.merge import MergeByTime

SIDES, LONE = ("outcomes", "predictions"), "requests"
NUMBERS = (0, 1)
PARTITIONS = [Partition(topic, number) for topic in (*SIDES, LONE) for number in NUMBERS]


class Item:
    """A decoded record: its time and where it lies."""

    def __init__(self, message: Message) -> None:
        self.place = Partition(str(message.topic()), int(message.partition() or 0))
        self.offset = int(message.offset() or 0)
        self.ts = int(message.value() or b"0")


def items(messages: Sequence[Message]) -> list[Item]:
    """Decode."""
    assert messages, "there is something to decode"
    return [*map(Item, messages)]


class Cluster:
    """Partitions with their records, what a group has committed of them, and one member of it."""

    def __init__(self, times: Mapping[Partition, list[int]]) -> None:
        self.times = times
        self.committed = dict.fromkeys(times, 0)
        self.generation = 0
        self.member = True
        self.output: list[tuple[Partition, int]] = []
        self.foreign: set[Partition] = set()
        """Partitions that another member has."""

    def work_elsewhere(self, number: int) -> None:
        """Let the other member merge the next record of its partitions with a number, and of its lone ones."""
        for topics in (SIDES, (LONE,)):
            heads = []
            for partition in (Partition(topic, number) for topic in topics):
                offset = self.committed[partition]
                if partition in self.foreign and offset < len(self.times[partition]):
                    heads.append((self.times[partition][offset], partition.topic, partition))
            if heads:
                partition = min(heads)[2]
                self.output.append((partition, self.committed[partition]))
                self.committed[partition] += 1

    @property
    def metadata(self) -> bytes:
        if not self.member:  # as librdkafka writes it once it has lost its membership
            return MAGIC + (-1).to_bytes(4, sys.byteorder, signed=True) + b"group\0\0\0"
        return MAGIC + self.generation.to_bytes(4, sys.byteorder) + b"group\0member\0\0"


class Runner:
    """Commits when told to, as a transaction does: outputs and offsets, or nothing; one after the other."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.verdict: asyncio.Future[bool] | None = None
        self.turn = asyncio.Lock()

    async def commit(self, records: Iterable[Any], offsets: Mapping[Partition, int], metadata: bytes) -> None:
        async with self.turn:
            self.verdict = asyncio.get_running_loop().create_future()
            fine = await self.verdict
        if metadata != self.cluster.metadata:
            raise GenerationLost("the group has gone on")
        if not fine:
            raise TransactionAborted("aborted on request")
        self.cluster.output += list(records)
        self.cluster.committed.update(offsets)


class Thread:
    """Does on the event loop, one step at a time, what the consumer's thread does."""

    def __init__(self, cluster: Cluster, consumer: BatchConsumer) -> None:
        self.cluster, self.consumer = cluster, consumer
        self.buffers: dict[Partition, PartitionBuffer] = {}
        self.positions: dict[Partition, int] = {}
        self.fetched: set[Partition] = set()
        self.ended: set[Partition] = set()
        self.seeks: list[tuple[Collection[Partition], Callable[[list[Partition]], None]]] = []
        self.callback: asyncio.Task[None] | None = None
        self.clock = 0.0

    def start(self) -> None:
        """There is nothing to start."""

    async def stop(self) -> None:
        """There is nothing to stop."""

    async def call(self, function: object) -> Any:
        raise AssertionError("nothing calls into the thread")

    def seek_to_committed(
        self, partitions: Collection[Partition], then: Callable[[list[Partition]], None]
    ) -> None:
        self.seeks.append((partitions, then))

    @property
    def in_callback(self) -> bool:
        if self.callback is not None and self.callback.done():
            self.callback.result()
            self.callback = None
        return self.callback is not None

    def fetch(self, partition: Partition, count: int) -> bool:
        """Hand over some records and, behind the last one, the partition's end."""
        if self.in_callback or partition not in self.buffers:
            return False
        start, times = self.positions[partition], self.cluster.times[partition]
        messages = [
            Message(topic=partition.topic, partition=partition.number, offset=start + n, value=b"%d" % ts)
            for n, ts in enumerate(times[start : start + count])
        ]
        ends = start + len(messages) == len(times) and partition not in self.ended
        if messages:
            self.fetched.add(partition)
        if ends:
            self.ended.add(partition)
        self.positions[partition] += len(messages)
        buffer = self.buffers[partition]
        buffer.handed += len(messages)
        self.clock += 1.0
        self.consumer.fetched([Fetched(buffer, messages, len(times) if ends else -1)], self.clock)
        return bool(messages) or ends

    def seek(self) -> bool:
        if self.in_callback or not self.seeks:
            return False
        partitions, then = self.seeks.pop(0)
        started = [partition for partition in partitions if partition in self.fetched]
        for partition in started:
            self.positions[partition] = self.cluster.committed[partition]
            self.ended.discard(partition)
        then(started)
        return True

    def revoke(self, number: int, fine: bool) -> None:
        """Lose all partitions, as in eager protocols, or those of one number, as in incremental ones."""
        self.consumer.batches.drain_s = 0.0 if number // 4 % 3 else 0.05
        gone = {p for p in self.buffers if number % 4 == 3 or p.number == number % 2}
        if not self.in_callback and gone:
            self.callback = asyncio.ensure_future(self._revoke(gone, len(gone) < len(self.buffers) and fine))

    async def _revoke(self, gone: set[Partition], same_generation: bool) -> None:
        await self.consumer.revoked(frozenset(gone))
        for partition in gone:
            del self.buffers[partition], self.positions[partition]
            self.fetched.discard(partition)
            self.ended.discard(partition)
        # From here on the group may go on without us.
        self.cluster.generation += not same_generation
        self.cluster.foreign |= set() if same_generation else gone

    def assign(self) -> None:
        if not self.in_callback and len(self.buffers) < len(self.cluster.times):
            self.callback = asyncio.ensure_future(self._assign())

    async def _assign(self) -> None:
        self.cluster.generation += 1
        buffers = {p: PartitionBuffer(p) for p in self.cluster.times if p not in self.buffers}
        self.cluster.foreign -= buffers.keys()
        states = self.consumer._states.by_topic
        await self.consumer.assigned(
            [(states[partition.topic], buffer) for partition, buffer in buffers.items()],
            self.cluster.metadata,
        )
        self.buffers |= buffers
        self.positions |= {partition: self.cluster.committed[partition] for partition in buffers}

    def bump(self) -> None:
        """Let the generation change while all partitions stay."""
        if not self.in_callback and self.buffers:
            self.cluster.generation += 1

    def look(self) -> None:
        """Notice a changed generation."""
        if not self.in_callback and self.buffers:
            self.consumer.membership(self.cluster.metadata)


class Ends:
    """Answers what the last stable offsets are, when told to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.asked: list[tuple[set[Partition], Callable[[dict[Partition, int]], None]]] = []

    def ask(self, partitions: set[Partition], answer: Callable[[dict[Partition, int]], None]) -> None:
        self.asked.append((partitions, answer))

    def answer(self, fine: bool) -> bool:
        if not self.asked:
            return False
        partitions, answer = self.asked.pop(0)
        answer({partition: len(self.cluster.times[partition]) for partition in partitions} if fine else {})
        return True


class World:
    """Everything together, moved by one step at a time."""

    def __init__(self, times: Mapping[Partition, list[int]]) -> None:
        self.cluster = Cluster(times)
        self.delivered: list[Batch[Item]] = []
        self.work: dict[str, asyncio.Task[None]] = {}
        channels = [
            Channel(name="join", topics=SIDES, decode=items, picker=lambda: MergeByTime(*SIDES), max_batch=5),
            Channel(name="serve", topics=(LONE,), decode=items, max_batch=6),
        ]
        self.runners = {channel.name: Runner(self.cluster) for channel in channels}
        self.ends = Ends(self.cluster)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(consumer_module, "FetchThread", self.make_thread)
            patch.setattr(consumer_module, "StableOffsets", lambda connection: self.ends)
            self.consumer = BatchConsumer(
                Connection("nowhere:1"),
                "group",
                channels,
                self.delivered.append,
                on_revoked=self.on_revoked,
            )
        self.part: Callable[[int], int] = lambda count: count
        """How much of a batch is kept."""

    def make_thread(
        self, config: object, channels: object, consumer: BatchConsumer, stamps: object
    ) -> Thread:
        self.thread = Thread(self.cluster, consumer)
        return self.thread

    async def on_revoked(self, partitions: frozenset[Partition]) -> None:
        for state in self.consumer._states.all:
            # What could not be waited for has begun its transaction, which is fenced.
            if state.batch is not None and not partitions.isdisjoint(state.batch.offsets):
                assert state.batch.state in ("committing", "committed")
            assert partitions.isdisjoint(state.buffers)
        await self.settle()

    def begin(self) -> bool:
        """Begin to commit the oldest batch that was delivered."""
        if not self.delivered:
            return False
        batch = self.delivered.pop(0)
        work = self.work[batch.channel.name] = asyncio.ensure_future(self._echo(batch))
        # As the transport does: cancelled before its first step, it would never say that the batch has ended.
        work.add_done_callback(lambda _: self.consumer.batches.finish(batch))
        return True

    async def _echo(self, batch: Batch[Item]) -> None:
        self.consumer.batches.keep(batch, batch.records[: self.part(len(batch))])
        records: list[Any] = [(item.place, item.offset) for item in batch.items]
        try:
            await self.consumer.batches.commit(batch, self.runners[batch.channel.name], records)  # type: ignore[arg-type]  # simulated
        except TransactionAborted:
            return
        self.consumer.batches.done(batch)

    def decide(self, channel: str, fine: bool) -> bool:
        """Let a commit succeed or abort."""
        verdict = self.runners[channel].verdict
        if verdict is None or verdict.done():
            return False
        verdict.set_result(fine)
        return True

    def step(self, action: tuple[str, int, bool]) -> None:
        what, number, fine = action
        if self.thread.in_callback:
            # A revocation waits for batches at work: they get on with it.
            self.begin()
            self.decide(("join", "serve")[number % 2], fine)
        if what == "fetch":
            self.thread.fetch(PARTITIONS[number % len(PARTITIONS)], 1 + number // len(PARTITIONS))
        elif what == "decide":
            self.decide(("join", "serve")[number % 2], fine)
        elif what == "answer":
            self.ends.answer(fine)
        elif what == "give up" and self.delivered:
            self.consumer.batches.finish(self.delivered.pop(0))
        elif what == "cancel" and (work := self.work.pop(("join", "serve")[number % 2], None)):
            work.cancel()
        elif what == "revoke":
            self.thread.revoke(number, fine)
        elif what == "pause":
            self.consumer.pause()
        elif what == "resume":
            self.consumer.resume()
        elif what == "elsewhere":
            self.cluster.work_elsewhere(number % 2)
        elif what in ("seek", "assign", "bump", "look"):
            getattr(self.thread, what)()
        elif what == "begin":
            self.begin()

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)

    async def end_of_callback(self) -> None:
        for _ in range(10):
            await self.settle()
        assert not self.thread.in_callback

    async def finish(self) -> None:
        """Let everything go well until nothing moves any more."""
        idle = 0
        self.consumer.resume()
        while idle < 3:
            await self.settle()
            self.thread.assign()
            await self.settle()
            self.thread.look()
            moved = [self.thread.seek(), self.ends.answer(True), self.begin()]
            await self.settle()
            moved += [self.decide(channel, True) for channel in self.runners]
            moved += [self.thread.fetch(partition, 5) for partition in PARTITIONS]
            idle = 0 if any(moved) or self.thread.in_callback else idle + 1


def scenario(times: Mapping[Partition, list[int]], act: Callable[[World], Awaitable[None]]) -> World:
    """Run a world from its first assignment, through some acts, to where nothing moves any more."""

    async def run() -> World:
        world = World(times)
        await world.consumer.start()
        world.thread.assign()
        await world.settle()
        await act(world)
        await world.finish()
        assert world.consumer.error is None
        return world

    return asyncio.run(run())


def check(world: World) -> None:
    """Check that every record counted once, and in order."""
    times, output = world.cluster.times, world.cluster.output
    expected = [(partition, n) for partition, ts in times.items() for n in range(len(ts))]
    assert sorted(output) == sorted(expected)
    for number in NUMBERS:
        sides = [Partition(topic, number) for topic in SIDES]
        merged = [place for place in output if place[0] in sides]
        by_time = sorted((times[p][n], p.topic, n) for p, n in expected if p in sides)
        assert [(times[p][n], p.topic, n) for p, n in merged] == by_time
        alone = [n for p, n in output if p == Partition(LONE, number)]
        assert alone == list(range(len(alone)))


LONE_TIMES = {p: list(range(9)) if p.topic == LONE else [] for p in PARTITIONS}


async def deliver_of_both(world: World) -> Batch[Item]:
    """Have a batch delivered that has records of both lone partitions, and leave some in the buffers."""
    world.consumer.pause()
    for number in NUMBERS:
        world.thread.fetch(Partition(LONE, number), 6)
    world.consumer.resume()
    await world.settle()
    (batch,) = world.delivered
    assert len(batch.offsets) == 2
    return batch


def test_a_batch_that_was_taken_back_cannot_be_committed_any_more() -> None:
    async def act(world: World) -> None:
        await deliver_of_both(world)
        world.thread.revoke(number=4, fine=True)  # one partition, at once, within the same generation
        await world.end_of_callback()
        assert world.begin()
        await world.settle()
        assert not world.decide("serve", True)
        # What stayed here is read again before anything after it can be committed.
        world.thread.seek()
        world.thread.fetch(Partition(LONE, 1), 9)
        await world.settle()
        world.begin()
        await world.settle()
        assert world.decide("serve", True)

    check(scenario(LONE_TIMES, act))


def test_a_batch_whose_commit_is_on_its_way_is_not_read_again_beside_it() -> None:
    async def act(world: World) -> None:
        await deliver_of_both(world)
        world.begin()
        await world.settle()
        world.thread.revoke(number=4, fine=True)
        await world.end_of_callback()
        world.thread.seek()
        world.thread.fetch(Partition(LONE, 1), 9)
        await world.settle()
        assert world.delivered == []
        assert world.decide("serve", True)

    check(scenario(LONE_TIMES, act))


def test_nothing_is_delivered_of_partitions_that_are_being_given_up() -> None:
    async def act(world: World) -> None:
        await deliver_of_both(world)
        world.thread.revoke(number=0, fine=False)  # one partition, when the batches at work have ended
        await world.settle()
        assert world.thread.in_callback
        world.begin()
        await world.settle()
        world.decide("serve", True)
        await asyncio.sleep(0)
        assert world.thread.in_callback
        await world.end_of_callback()
        assert all(partition.number == 1 for batch in world.delivered for partition in batch.offsets)
        assert world.delivered

    check(scenario(LONE_TIMES, act))


def test_a_batch_is_fenced_by_the_generation_in_which_it_was_picked() -> None:
    """The second line behind taking it back: what is not known to be safe yet is read again."""

    async def act(world: World) -> None:
        await deliver_of_both(world)
        world.thread.bump()
        world.thread.look()
        assert world.begin()
        await world.settle()
        assert world.decide("serve", True)
        await world.settle()
        assert world.cluster.output == []

    check(scenario(LONE_TIMES, act))


def test_nothing_is_delivered_while_the_consumer_is_no_member_of_its_group() -> None:
    """The broker checks nothing of a transaction whose metadata names no member."""

    async def act(world: World) -> None:
        world.thread.revoke(number=3, fine=False)
        await world.end_of_callback()
        world.cluster.member = False
        world.thread.assign()
        await world.end_of_callback()
        for number in NUMBERS:
            world.thread.fetch(Partition(LONE, number), 6)
        await world.settle()
        assert world.delivered == []
        world.cluster.member = True

    check(scenario(LONE_TIMES, act))


PROGRESS = ("fetch", "begin", "decide", "answer", "seek", "assign", "look", "resume")
TROUBLE = ("give up", "cancel", "revoke", "bump", "elsewhere", "pause")


def script(chance: random.Random) -> list[tuple[str, int, bool]]:
    """Draw what happens; each kind of trouble often, seldom or never, so that rare combinations come up."""
    weights = [chance.choice((2, 4, 8)) for _ in PROGRESS] + [chance.choice((0, 1, 8)) for _ in TROUBLE]
    return [
        (chance.choices(PROGRESS + TROUBLE, weights)[0], chance.randrange(24), chance.random() < 0.7)
        for _ in range(300)
    ]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_every_record_counts_once_and_in_order_whatever_happens_in_between(seed: int) -> None:
    chance = random.Random(seed)
    times = {p: sorted(chance.choices(range(60), k=chance.randrange(60))) for p in PARTITIONS}

    async def act(world: World) -> None:
        keeps = chance.choice((0.0, 0.2, 0.9))
        world.part = lambda count: chance.randint(1, count) if chance.random() < keeps else count
        for action in script(chance):
            world.step(action)
            await world.settle()

    check(scenario(times, act))
