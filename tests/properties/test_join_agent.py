"""The join agent with its changelog against aborts, unknown outcomes, late restorations and partitions that move.

The agents are the real ones; the cluster, the batch consumer and the time that a restoration takes are simulated.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.task_agents import TaskAgents
from infra.inbound import SERVED
from infra.kafka.buffers import Partition, Record
from infra.kafka.channel import Batch
from infra.kafka.loop_bridge import succeed
from infra.kafka.offsets import Committed
from infra.kafka.transaction import OutRecord
from infra.snapshots.store import SnapshotStore
from infra.store import restore as restore_module
from infra.task import resume as resume_module
from schemas.errors import TransactionAborted
from schemas.records import Features, Outcome, Prediction
from schemas.topics import TaskTopics
from tests.unit.http_worker import make_http_task

DAY = 86_400_000
START = 18_262 * DAY
"""2020: the task rejects times before 2000."""
NAME = "stay"
TOPICS = TaskTopics(NAME)
PLACES = (Partition(TOPICS.predictions, 0), Partition(TOPICS.outcomes, 0))
SEEN: Features = {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}
CODEC = make_http_task(NAME, partitions=1).context.codec


@dataclass(slots=True)
class Written:
    """A record on the changelog, of a transaction that has ended or is open yet."""

    record: OutRecord
    open: bool
    counts: bool
    """Whether its transaction commits, or will."""


SERVED_HERE: Any = [(SERVED, b"slot")]
"""Of most records: the core may take those predictions as bytes."""


class Cluster:
    """One partition of each of the inputs, in the order in which the join takes them, and what was written."""

    def __init__(self, records: list[tuple[str, bytes]]) -> None:
        offsets: Counter[str] = Counter()
        self.records: list[Record[Message]] = []
        for topic, value in records:
            message = Message(
                topic=topic,
                partition=0,
                offset=offsets[topic],
                key=b"k",
                value=value,
                timestamp=(2, START + 400 * DAY),
                headers=SERVED_HERE if offsets[topic] % 3 else [],
            )
            self.records.append(Record(Partition(topic, 0), offsets[topic], None, 0.0, message))
            offsets[topic] += 1
        self.committed = dict.fromkeys(PLACES, 0)
        self.changelog: list[Written] = []
        self.output: Counter[tuple[str, ...]] = Counter()

    def write(self, records: list[OutRecord], offsets: Mapping[Partition, int], *, open: bool) -> None:
        """Commit a transaction; one that is `open` has yet to be marked, and the group knows already."""
        self.committed.update(offsets)
        for record in records:
            if record.topic == TOPICS.join_state:
                self.changelog.append(Written(record, open, True))
            elif record.topic == TOPICS.log:
                entry = CODEC.decode_entry(record.value or b"")
                assert entry.prediction is not None
                reported = entry.outcome.value if entry.outcome else None
                self.output[entry.kind, entry.prediction.request_id, str(reported)] += 1
            else:
                dead_letter = CODEC.decode_dead_letter(record.value or b"")
                self.output[dead_letter.reason, str(dead_letter.source)] += 1

    def abort(self, records: list[OutRecord], *, open: bool) -> None:
        """Abort a transaction, or leave it open until it is aborted."""
        self.changelog += [Written(record, open, False) for record in records]

    def settle(self) -> None:
        """End the open transactions."""
        for written in self.changelog:
            written.open = False

    # ---- what a restoration asks

    def end_offsets(self, connection: Any, places: Any, committed: bool = True) -> dict[Any, int]:
        first_open = next((n for n, each in enumerate(self.changelog) if each.open), len(self.changelog))
        return {tuple(places[0]): first_open if committed else len(self.changelog)}

    def read_all(
        self, connection: Any, topic: str, partition: int, start: int | None, end: int
    ) -> Iterator[Message]:
        if any(written.open for written in self.changelog[:end]):
            self.settle()  # a reader of committed records waits for it
        for offset, written in enumerate(self.changelog[:end]):
            if written.counts and written.record.topic == TOPICS.join_state:
                yield Message(
                    topic=topic,
                    partition=partition,
                    offset=offset,
                    key=written.record.key,
                    value=written.record.value,
                )

    def stamped_offsets(self, connection: Any, group: str, places: Any) -> dict[Any, Committed]:
        return {
            place: Committed(self.committed[Partition(*place)], "id")
            for place in places
            if self.committed[Partition(*place)]
        }


class Worker:
    """Real agents, and as much of the batch consumer as they see of it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.batches = self
        task = make_http_task(NAME, partitions=1, codec=CODEC, slot="slot")
        task.current.stamps |= dict.fromkeys((TOPICS.predictions, TOPICS.outcomes), "id")
        self.agents = TaskAgents(
            *(
                task.context,
                task.settings,
                task.readiness,
                task.current,
                task.server,
                task.subjects,
                task.turns,
            ),
            SnapshotStore("memory://join-agent"),
        )
        self.work: asyncio.Task[None] | None = None
        self.batch: Batch[Any] | None = None
        self.verdict: asyncio.Future[str] | None = None
        self.assigning: asyncio.Task[None] | None = None

    async def commit(self, batch: Batch[Any], runner: Any, records: Iterable[OutRecord]) -> None:
        written = list(records)
        if batch.state == "dropped":
            raise TransactionAborted("taken back", certain=True)
        batch.state = "committing"
        self.verdict = asyncio.get_running_loop().create_future()
        verdict = await self.verdict
        self.verdict = None
        if verdict in ("committed", "committed, and nobody knows"):
            self.cluster.settle()
            self.cluster.write(written, batch.offsets, open=verdict != "committed")
        else:
            self.cluster.abort(written, open=verdict == "aborted, and nobody knows")
        if verdict != "committed":
            raise TransactionAborted(verdict, certain=verdict == "aborted")

    def keep(self, batch: Batch[Any], records: list[Record[Any]]) -> None:
        batch.keep(records)

    @property
    def free(self) -> bool:
        """Whether the next batch may come: the last one has ended, and the state is there."""
        for task in (self.work, self.assigning):
            if task is not None and task.done():
                task.result()
        ended = self.work is None or self.work.done()
        return ended and self.assigning is not None and self.assigning.done()

    def begin(self, size: int) -> bool:
        """Deliver the next batch, from where the group has committed."""
        committed = self.cluster.committed
        records = [each for each in self.cluster.records if each.offset >= committed[each.partition]][:size]
        if not self.free or not records:
            return False
        channel = self.agents.inputs
        assert channel.decode is not None
        items = [item for each in records for item in channel.decode([each.item])]
        decoded = [
            Record(each.partition, each.offset, None, 0.0, item)
            for each, item in zip(records, items, strict=True)
        ]
        self.batch = Batch(channel, decoded, b"")
        self.work = asyncio.ensure_future(self.agents.turn.on_batch(self, self.batch))  # type: ignore[arg-type]  # simulated
        return True

    def decide(self, verdict: str) -> bool:
        """End the transaction at work."""
        if self.verdict is None or self.verdict.done():
            return False
        self.verdict.set_result(verdict)
        return True

    def assign(self) -> None:
        self.assigning = asyncio.ensure_future(self.agents.assignments.take_up({0}))

    def revoke(self) -> None:
        """Take the partition away; a batch at work is taken back."""
        if self.batch is not None and self.batch.state == "at work":
            self.batch.state = "dropped"
        self.agents.assignments.revoked([Partition(TOPICS.predictions, 0)])


class World:
    """Two workers, of which one has the partition, and restorations that end when they are told to."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.workers = (Worker(cluster), Worker(cluster))
        self.owner = 0
        self.reading: list[tuple[asyncio.Future[Any], Any]] = []
        """Restorations that have read the changelog, and whose worker has yet to hear of it."""
        asyncio.get_running_loop().run_in_executor = self.run  # type: ignore[method-assign, assignment]  # simulated
        self.workers[0].assign()

    def run(self, executor: None, function: Callable[..., Any], *reported: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        made = function(*reported)
        self.reading.append((future, made))
        return future

    def end_reading(self, which: int) -> None:
        """Let the worker have what a restoration has read."""
        succeed(*self.reading.pop(which))

    def step(self, action: tuple[str, int]) -> None:
        what, number = action
        worker = self.workers[self.owner]
        if what == "begin":
            worker.begin(1 + number % 7)
        elif what == "decide":
            worker.decide(VERDICTS[number % len(VERDICTS)])
        elif what == "read" and self.reading:
            self.end_reading(-1 if number % 3 == 0 else 0)
        elif what == "settle":
            self.cluster.settle()
        elif what == "move" and worker.verdict is None:
            worker.revoke()
            self.owner = 1 - self.owner
            self.workers[self.owner].assign()
        elif what == "expire" and worker.free:
            # The group was empty for longer than its offsets are kept.
            worker.revoke()
            self.cluster.committed = dict.fromkeys(PLACES, 0)
            worker.assign()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Let everything go well until all is joined."""
        worker, idle = self.workers[self.owner], 0
        while idle < 3:
            await self.settle()
            moved = [worker.begin(5)]
            await self.settle()
            moved.append(worker.decide("committed"))
            while self.reading:
                self.end_reading(0)
                moved.append(True)
            idle = 0 if any(moved) else idle + 1
        assert worker.free


VERDICTS = ("committed", "aborted", "committed, and nobody knows", "committed", "aborted, and nobody knows")


def records(chance: random.Random) -> list[tuple[str, bytes]]:
    """Draw predictions and outcomes: in time, late, early, doubled, revised, of unknown ids; in order of time."""
    found: list[tuple[int, str, bytes]] = []
    for n in range(chance.randrange(2, 14)):
        ts = START + chance.randrange(0, 100) * DAY
        prediction = Prediction(f"r-{n}", ts, SEEN, ())
        found += [(ts, TOPICS.predictions, CODEC.encode(prediction))] * chance.choice((1, 1, 1, 2))
        for revision in range(chance.choice((0, 1, 1, 2))):
            reported = ts + chance.choice((0, 1, 20, 29, 31, 60)) * DAY
            outcome = Outcome(f"r-{n}", reported, chance.random() < 0.5, revision)
            found += [(reported, TOPICS.outcomes, CODEC.encode(outcome))] * chance.choice((1, 1, 2))
    for n in range(chance.randrange(4)):
        ts = START + chance.randrange(0, 100) * DAY
        found.append((ts, TOPICS.outcomes, CODEC.encode(Outcome(f"nobody-{n}", ts, True, 0))))
    last = START + 300 * DAY
    found.append((last, TOPICS.predictions, CODEC.encode(Prediction("last", last, SEEN, ()))))
    return [(topic, value) for _, topic, value in sorted(found, key=lambda each: each[:2])]


def run(inputs: list[tuple[str, bytes]], actions: Iterable[tuple[str, int]]) -> Counter[tuple[str, ...]]:
    """Join the inputs through some actions, and then to their end; gives all entries and dead letters."""
    cluster = Cluster(inputs)

    async def main() -> None:
        world = World(cluster)
        for action in actions:
            await world.settle()
            world.step(action)
        await world.finish()
        for worker in world.workers:
            for task in (worker.work, worker.assigning):
                if task is not None and not task.done():
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restore_module, "end_offsets", cluster.end_offsets)
        patch.setattr(restore_module, "read_all", cluster.read_all)
        patch.setattr(resume_module, "stamped_offsets", cluster.stamped_offsets)
        patch.setattr(resume_module.Resume, "settled", lambda resume, places: places)
        asyncio.run(main())
    return cluster.output


ACTIONS = ("begin", "decide", "read", "settle", "move", "expire")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_the_entries_are_those_of_an_undisturbed_join_whatever_happens_in_between(seed: int) -> None:
    chance = random.Random(seed)
    inputs = records(chance)
    weights = [8, 8, 6, 1, chance.choice((0, 1, 3)), chance.choice((0, 0, 1))]
    actions = [(what, chance.randrange(60)) for what in chance.choices(ACTIONS, weights, k=80)]
    undisturbed = run(inputs, ())
    # Every request but the last is resolved once: the rest of the test compares nothing else.
    requests = {
        CODEC.decode_prediction(value).request_id for topic, value in inputs if topic == TOPICS.predictions
    }
    resolved = sorted(what[1] for what in undisturbed if what[0] in {"labelled", "expired"})
    assert resolved == sorted(requests - {"last"})
    assert run(inputs, actions) == undisturbed
