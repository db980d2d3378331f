"""The owner of the tallies publishes each alert and metric once: after aborts, redeliveries, as the next owner."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.kafka.buffers import Partition
from infra.kafka.transaction import OutRecord
from infra.snapshots.store import SnapshotStore
from infra.task.publisher import Output
from infra.task.resume import Resume
from infra.task.snapshots import SnapshotWriter
from infra.task.tallies import TallyPublisher
from schemas.errors import TransactionAborted
from schemas.tally import Tally
from streams.fold import Monitor
from tests.history import Kept
from tests.unit.http_worker import make_http_task
from tests.unit.published import FATES, Counted

COUNT = 120


class Publisher(TallyPublisher):
    """A publisher whose one monitor counts."""

    def make(self) -> Sequence[Monitor[Tally]]:
        return [Counted()]  # type: ignore[list-item]  # it looks at nothing but ts


class World:
    """The topic of tallies, its partition of the group, and one owner after the other."""

    def __init__(self, seed: int, store: SnapshotStore) -> None:
        self.rng, self.store = random.Random(seed), store
        self.task = make_http_task()
        self.place = Partition(self.task.context.topics.quality, 0)
        self.codec = self.task.context.codec
        self.tallies = [
            Kept(
                (self.place.topic, 0),
                offset,
                b"slot",
                self.codec.encode(Tally("slot", "topic", offset, 60, 1)),
            )
            for offset in range(COUNT)
        ]
        self.committed = 0
        self.alerts: list[int] = []
        self.metrics: list[tuple[int, float]] = []
        self.fates: list[str] = []

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("infra.task.publisher.read_all", self.read_all)
        monkeypatch.setattr(Resume, "published", lambda *_: (self.committed, ""))
        monkeypatch.setattr(Resume, "start_of", lambda resume, topic, offset: offset)
        monkeypatch.setattr("infra.task.tallies.topic_id", lambda *_: "id")

    def read_all(self, connection: Any, topic: str, partition: int, start: int, end: int) -> Iterator[Kept]:
        return iter(self.tallies[start:end])

    async def commit(self, records: Sequence[OutRecord], offsets: Any, metadata: bytes) -> None:
        """Write a transaction, or do not."""
        fate = self.fates.pop(0) if self.fates else self.rng.choice(FATES)
        if fate.startswith("committed"):
            assert offsets[self.place] >= self.committed
            self.committed = offsets[self.place]
            for each in records:
                if each.topic == self.task.context.topics.alerts:
                    self.alerts.append(self.codec.decode_alert(each.value or b"").log_offset)
                elif each.topic == self.task.context.topics.metrics:
                    metric = self.codec.decode_metric(each.value or b"")
                    self.metrics.append((metric.log_offset, metric.value))
        if fate != "committed":
            raise TransactionAborted(fate, certain=fate == "aborted")

    async def commit_batch(self, batch: Any, runner: Any, records: Sequence[OutRecord]) -> None:
        await self.commit(records, batch.offsets, b"member")

    async def owner(self) -> tuple[Publisher, Any]:
        """Let another worker take the topic over."""
        runner: Any = SimpleNamespace(commit=self.commit, note="")
        task = self.task
        resume = Resume(task.context, task.current)
        snapshots = SnapshotWriter(task.context, task.statistics, self.store, self.place.topic, 1_000, 3)
        output = Output(runner, snapshots, 1)
        publisher = Publisher(task.context, task.readiness, resume, task.turns, output, task.statistics)
        starts: dict[Partition, int] = {}
        consumer = SimpleNamespace(
            batches=SimpleNamespace(commit=self.commit_batch),
            metadata=b"member",
            assignment={self.place},
            start_at=starts.__setitem__,
        )
        await publisher.take_over(consumer)  # type: ignore[arg-type]  # as much of a consumer as it needs
        assert starts == {self.place: self.committed}
        return publisher, consumer

    def batch(self) -> Any:
        """Deliver the next tallies, from where the group has committed; after an abort perhaps fewer of them."""
        items = self.tallies[self.committed : self.committed + self.rng.randrange(1, 8)]
        return SimpleNamespace(items=items, offsets={self.place: items[-1].at + 1})


@pytest.mark.parametrize("seed", range(8))
def test_each_metric_and_alert_of_the_tallies_is_published_once(
    seed: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(seed, SnapshotStore(str(tmp_path)))
    world.patch(monkeypatch)

    async def scenario() -> None:
        publisher, consumer = await world.owner()
        while world.committed < COUNT:
            what = world.rng.choice(("batch", "batch", "batch", "silence", "move"))
            if what == "batch":
                await publisher.on_batch(consumer, world.batch())
            elif what == "silence":
                await publisher.on_silence(consumer)
            elif world.rng.random() < 0.3:
                publisher.release()
                publisher, consumer = await world.owner()
        world.fates = ["committed"] * 5
        await publisher.resolve()
        await asyncio.sleep(0.002)
        await publisher.on_silence(consumer)

    asyncio.run(scenario())
    assert world.alerts == [offset for offset in range(COUNT) if (offset + 1) % 3 == 0]
    assert len(world.metrics) == len(set(world.metrics)) > 3
    assert all(value == offset + 1 for offset, value in world.metrics)


def test_a_batch_at_work_and_a_take_over_go_one_after_the_other(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(1, SnapshotStore(str(tmp_path)))
    world.patch(monkeypatch)

    async def scenario() -> None:
        publisher, consumer = await world.owner()
        at_work, together = 0, 0
        run, restore = world.task.turns.run, publisher.restore

        async def slow(steps: Any) -> list[Any]:
            nonlocal at_work, together
            at_work += 1
            together = max(together, at_work)
            await asyncio.sleep(0.02)
            at_work -= 1
            return await run(steps)

        def restored(published: int, at_most: int) -> None:
            nonlocal together
            together = max(together, at_work + 1)
            restore(published, at_most)

        monkeypatch.setattr(world.task.turns, "run", slow)
        monkeypatch.setattr(publisher, "restore", restored)
        await asyncio.gather(
            publisher.on_batch(consumer, world.batch()),
            publisher.take_over(consumer),
            publisher.on_batch(consumer, world.batch()),
            publisher.take_over(consumer),
        )
        assert together == 1

    asyncio.run(scenario())


def test_requests_are_answered_while_a_snapshot_is_stored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(1, SnapshotStore(str(tmp_path)))
    asked, going_on = threading.Event(), threading.Event()
    world.patch(monkeypatch)

    def head() -> tuple[int, str]:
        asked.set()
        assert going_on.wait(30)
        return 7, "head"

    async def run() -> None:
        publisher, _ = await world.owner()
        publisher.snapshots.audit_head = head
        taking = asyncio.create_task(publisher.take_state(snapshots=True))
        await asyncio.to_thread(asked.wait, 30)
        assert not taking.done()
        assert await asyncio.wait_for(publisher.turns.run(["answer"]), 10) == ["answer"]
        going_on.set()
        await taking
        (manifest,) = world.store.manifests(world.task.context.task.name)
        assert (manifest.audit_size, manifest.audit_head) == (7, "head")

    try:
        asyncio.run(run())
    finally:
        going_on.set()
