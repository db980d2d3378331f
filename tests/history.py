"""A task's history made by the real serve and join agents on topics in memory, and a source to verify it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from heapq import merge
from pathlib import Path
from typing import Any

from river import compose, linear_model, preprocessing

from infra.decoding import Decoder
from infra.inbound import FORWARDED, Inbound, Message
from infra.kafka.connection import Connection
from infra.kafka.partitioner import partition_of
from infra.kafka.transaction import OutRecord
from infra.snapshots.models import LogPlace, pack
from infra.snapshots.store import Snapshot
from infra.store.restore import JoinStores
from infra.task.context import TaskContext
from infra.task.join import JoinAgent
from infra.task.join_partition import JoinPartition
from infra.task.resume import Resume
from infra.task.serve import Serve
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from infra.taskfile import LoadedTask
from schemas import Dictionary, Number
from schemas.codec import Codec, Record
from schemas.event_time import EPOCH
from schemas.records import Entry, Outcome, Request
from schemas.topics import TaskTopics
from streams import Model, OnArrival, Task
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore
from streams.model import ModelFold
from streams.policies import DefaultAtHorizon
from streams.serve import Server

DAY = 86_400_000
TOPIC_ID = "made-in-memory"
assert FORWARDED == "riverloop.forwarded"


def pipeline() -> compose.Pipeline:
    """A model that learns from each example."""
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def make_task(name: str) -> LoadedTask:
    """A small task with two models and two policies."""
    task = Task(
        name=name,
        question="Will it be cancelled?",
        features=Dictionary(Number(name="x", unit="1"), Number(name="y", unit="1")),
        earliest=EPOCH,
        horizon=timedelta(days=10),
        revision_horizon=timedelta(days=100),
        models=(
            Model("lr", pipeline, policy=OnArrival()),
            Model("window", pipeline, policy=DefaultAtHorizon()),
        ),
    )
    return LoadedTask(task, f"{name}.py:task", Path(), ())


@dataclass(frozen=True)
class Kept:
    """A record on a topic in memory, as a client would give it."""

    place: tuple[str, int]
    at: int
    key_bytes: bytes | None
    value_bytes: bytes | None
    arrived: int = 0
    header_list: tuple[tuple[str, bytes], ...] = ()

    def topic(self) -> str | None:
        return self.place[0]

    def partition(self) -> int | None:
        return self.place[1]

    def offset(self) -> int | None:
        return self.at

    def key(self) -> Any:
        return self.key_bytes

    def value(self) -> Any:
        return self.value_bytes

    def timestamp(self) -> tuple[int, int]:
        return 2, self.arrived

    def headers(self) -> Any:
        return list(self.header_list)


class History:
    """The loop of one task, batch by batch, on topics in memory.

    The records lie at the offsets that they would have on fresh topics without transactions, so that they can
    be copied to a cluster as they are.
    """

    def __init__(
        self,
        name: str,
        partitions: int = 2,
        *,
        runtime: str = "runtime",
        lockstep: bool = False,
        log_topic_id: str = TOPIC_ID,
    ) -> None:
        self.loaded = make_task(name)
        task = self.loaded.task
        self.codec = Codec(task.name, task.kind, task.features)
        self.topics, self.partitions_count, self.runtime = TaskTopics(name), partitions, runtime
        self.records: dict[tuple[str, int], list[Kept]] = defaultdict(list)
        self.first: dict[tuple[str, int], int] = {}
        self.models = [ModelFold(task, model, runtime) for model in task.models]
        self.context = TaskContext(
            self.loaded,
            Connection("nowhere:1"),
            self.codec,
            self.topics,
            partitions,
            log_topic_id,
            "riverloop",
        )
        current, self.statistics = CurrentTopics(partitions), Statistics()
        resume, server = Resume(self.context, current), Server(task, self.models)
        self.serving = Serve(self.context, server, self.statistics)
        rules = JoinRules.of(task, lockstep=lockstep)
        stores = JoinStores(self.context.connection, self.topics.join_state, self.codec, rules)
        self.join = JoinAgent(self.context, current, resume, self.statistics, stores)
        for number in range(partitions):
            join = Join(self.join.rules, MemoryStore(), self.codec.held.to_write, name, number)
            self.join.partitions[number] = JoinPartition(join, self.topics, None)
        self.now = 0
        """Event time and arrival (ms)."""
        self._served: dict[int, int] = defaultdict(int)
        for fold in self.models:
            entry = Entry(f"{name}/{fold.model.name}/revision/1", "command", 0, command=fold.opening())
            self.write([OutRecord(self.topics.log, name.encode(), self.codec.encode(entry), 0)])
        self.learn()

    # ------------------------------------------------------------------ writing

    def write(self, records: Sequence[OutRecord]) -> None:
        """Append records, as a transaction would."""
        for record in records:
            count = 1 if record.topic in {self.topics.log, self.topics.snapshots} else self.partitions_count
            number = partition_of(record.key or b"", count) if record.partition is None else record.partition
            headers = tuple((name, bytes(value or b"")) for name, value in record.headers or () if value)  # type: ignore[arg-type]  # our headers are bytes
            kept = self.records[record.topic, number]
            kept.append(Kept((record.topic, number), len(kept), record.key, record.value, self.now, headers))

    def send(self, topic: str, key: str, record: Record | bytes, partition: int | None = None) -> None:
        """Produce a record as a service does."""
        value = record if isinstance(record, bytes) else self.codec.encode(record)
        self.write([OutRecord(topic, key.encode(), value, partition)])

    def ask(self, request_id: str, ts: int, x: float, y: float = 0.5) -> None:
        """Send a request."""
        self.now = max(self.now, ts)
        self.send(self.topics.requests, request_id, Request(request_id, ts, {"x": x, "y": y}))

    def report(self, request_id: str, ts: int, value: Any, partition: int | None = None, **more: Any) -> None:
        """Send an outcome."""
        self.now = max(self.now, ts)
        self.send(self.topics.outcomes, request_id, Outcome(request_id, ts, value, **more), partition)

    # ------------------------------------------------------------------ the loop

    def serve(self) -> None:
        """Answer all requests that are there."""
        decode = Decoder(self.codec.decode_request, times=self.join.rules.times)
        for number in range(self.partitions_count):
            new = self.records[self.topics.requests, number][self._served[number] :]
            self._served[number] += len(new)
            self.write([each for step in self.serving.process([*map(decode, new)]) for each in step])
            self.serving.commit()

    def resolve(self) -> None:
        """Join all that is there, the earlier event first."""
        topics, decoders = (
            self.topics,
            (Decoder(self.codec.decode_prediction), Decoder(self.codec.decode_outcome)),
        )
        while True:
            items: list[Inbound] = []
            for number, at in self.join.partitions.items():
                predictions = self.records[topics.predictions, number][at.predictions :]
                outcomes = self.records[topics.outcomes, number][at.outcomes :]
                both = map(decoders[1], outcomes), map(decoders[0], predictions)
                items += merge(*both, key=lambda item: item.ts or 0)  # at equal times the outcome
            if not items:
                break
            self.write([each for step in self.join.steps(items, self.join.partitions) for each in step])
            self.join.commit()
        self.learn()

    def learn(self) -> None:
        """Fold what is new in the log."""
        for message in self.records[self.topics.log, 0][self.models[0].next_offset :]:
            for fold in self.models:
                fold.apply(message.at, self.codec.decode_entry(message.value()))

    def step(self) -> None:
        """Serve, then resolve."""
        self.serve()
        self.resolve()

    def snapshot(self) -> list[Snapshot]:
        """Take a snapshot of each model and announce it."""
        taken = []
        for fold in self.models:
            features = [{"x": 1.0, "y": 2.0}]
            place = LogPlace(self.topics.log, self.context.log_topic_id)
            made = pack(fold, place, "text", self.codec.fingerprints, {}, features, self.now)
            self.send(self.topics.snapshots, made.manifest.version, made.manifest, 0)
            taken.append(made)
        return taken

    # ------------------------------------------------------------------ tampering

    def entries(self) -> list[Entry]:
        """Give the log's entries."""
        return [self.codec.decode_entry(message.value()) for message in self.records[self.topics.log, 0]]

    def change(self, topic: str, partition: int, offset: int, record: Record) -> None:
        """Put another record in the place of one."""
        kept = self.records[topic, partition]
        kept[offset] = replace(kept[offset], value_bytes=self.codec.encode(record))

    def cut(self, topic: str, partition: int, first: int) -> None:
        """Delete what lies below an offset, as retention does."""
        self.first[topic, partition] = first

    # ------------------------------------------------------------------ the source

    def partitions(self, topic: str) -> int:
        """See `Source.partitions`."""
        return 1 if topic in {self.topics.log, self.topics.snapshots} else self.partitions_count

    def topic_id(self, topic: str) -> str:
        """See `Source.topic_id`."""
        return self.context.log_topic_id

    def first_offset(self, topic: str, partition: int) -> int:
        """Give the oldest offset."""
        return self.first.get((topic, partition), 0)

    def read_range(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """Give a range's records."""
        yield from (each for each in self.records[topic, partition] if start <= each.at < end)


class MemorySource:
    """A history as a source."""

    def __init__(self, history: History) -> None:
        self._history = history

    def partitions(self, topic: str) -> int:
        """See `Source.partitions`."""
        return self._history.partitions(topic)

    def topic_id(self, topic: str) -> str:
        """See `Source.topic_id`."""
        return self._history.topic_id(topic)

    def first(self, topic: str, partition: int) -> int:
        """See `Source.first`."""
        return self._history.first_offset(topic, partition)

    def ends(self, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """See `Source.ends`."""
        records = self._history.records
        return {
            place: records[place][-1].at + 1 if records[place] else self.first(*place) for place in places
        }

    def read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """See `Source.read`."""
        yield from self._history.read_range(topic, partition, start, end)


def ordinary(name: str, partitions: int = 2, **more: Any) -> History:
    """A history in which every row of the join's table occurs."""
    made = History(name, partitions, **more)
    ids = [f"r-{number}" for number in range(40)]
    for number, request_id in enumerate(ids):
        ts = number * DAY
        made.ask(request_id, ts, (number * 7 % 11) / 3, (number * 5 % 13) / 4)
        made.serve()
        if number % 5 == 4:
            made.snapshot()
        if number % 3 == 0:
            made.report(request_id, ts + DAY, number % 2 == 0)
        elif number % 3 == 1:
            made.report(request_id, ts + 2 * DAY, True)
        made.resolve()
    made.report("r-2", 45 * DAY, True)  # late
    made.report("r-3", 46 * DAY, True)  # revised
    made.report("r-3", 46 * DAY, True)  # the same again
    made.report("r-3", 20 * DAY, False)  # something older
    made.report("r-4", 47 * DAY, None, reason="lost")  # unavailable
    made.report("r-5", 47 * DAY, None, reason="lost")  # unavailable, of an expired one
    made.report("r-5", 48 * DAY, False)  # revised
    made.report("r-41", 48 * DAY, False)  # early
    made.report("r-42", 48 * DAY, False)  # early, and then an orphan
    made.resolve()
    made.ask("r-1", 48 * DAY, 9.0)  # a second request of that id
    made.send(made.topics.requests, "bad", b"\0\0garbage", 0)
    made.send(made.topics.outcomes, "bad", b"\0\0garbage", 0)
    made.step()
    right = partition_of(b"r-39", partitions)
    made.report("r-39", 49 * DAY, True, partition=(right + 1) % partitions)  # misplaced
    made.ask("r-41", 48 * DAY, 3.0)
    made.step()
    made.report("r-36", 12 * DAY, True)  # before its request
    for number in range(43, 50):
        made.ask(f"r-{number}", 60 * DAY, 1.5)
    made.step()
    made.report("r-99", 61 * DAY, True)  # still early
    made.resolve()
    made.snapshot()
    made.ask("r-50", 62 * DAY, 1.5)
    made.ask("r-51", 62 * DAY, 2.5)
    made.serve()
    made.ask("r-52", 62 * DAY, 2.5)
    return made
