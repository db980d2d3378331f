"""A cluster in memory for the tests of publishing: a log, a group's offset, and transactions with any fate."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from agents.settings import Settings
from infra.kafka.acknowledging import Acknowledging
from infra.kafka.buffers import Partition
from infra.kafka.connection import Connection
from infra.kafka.transaction import OutRecord
from infra.snapshots.store import SnapshotStore
from infra.task.command_desk import CommandDesk
from infra.task.log_fold import LogFold
from infra.task.log_publisher import LogPublisher
from infra.task.publisher import Output
from infra.task.readiness import Readiness
from infra.task.resume import Resume
from infra.task.snapshots import SnapshotWriter
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from infra.turns import Turns
from schemas.alert import Alert, Evidence
from schemas.errors import TransactionAborted
from schemas.records import Entry, Manifest, Metric
from streams.fold import Measurement, Monitor
from streams.model import ModelFold
from tests.history import History, Kept

FATES = ("committed", "aborted", "committed, and nobody knows", "aborted, and nobody knows")


class Counted:
    """A monitor that counts entries, and raises an alert at every third one."""

    name: ClassVar[str] = "counted"
    spec: ClassVar[str] = "1"

    def __init__(self) -> None:
        self.next_offset = self.count = 0
        self._raised: list[Alert] = []

    def apply(self, offset: int, entry: Entry) -> None:
        self.next_offset = offset + 1
        self.count += 1
        if self.count % 3 == 0:
            evidence = Evidence("counting", "entries", float(self.count), 3.0)
            about = ("counted", "up", "", "", "", evidence, self.count, False, offset, entry.ts, entry.ts)
            self._raised.append(Alert(f"t/counted@{offset}", "opened", "info", "counted", *about, "counted"))  # type: ignore[arg-type]  # in the record's order

    def alerts(self) -> Iterator[Alert]:
        raised, self._raised = self._raised, []
        yield from raised

    def measurements(self) -> Iterator[Measurement]:
        yield Measurement("counted", float(self.count), "count", self.count)

    def snapshot(self) -> dict[str, Any]:
        return {"next_offset": self.next_offset, "count": self.count}

    def restore(self, state: dict[str, Any]) -> None:
        self.next_offset, self.count = state["next_offset"], state["count"]


class Publisher(LogPublisher):
    """A log's publisher with one more monitor."""

    def make(self) -> Sequence[Monitor[Entry]]:
        return [*super().make(), Counted()]


@dataclass
class Cluster:
    """What lies on the topics, and the offset of the owners' group."""

    history: History
    store: SnapshotStore
    rng: random.Random
    settings: Settings = field(default_factory=lambda: Settings(metrics_every_ms=1, snapshot_every=25))
    committed: tuple[int | None, str] = (None, "")
    alerts: list[Alert] = field(default_factory=list)
    metrics: list[tuple[str, Metric]] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    written: list[OutRecord] = field(default_factory=list)

    @property
    def log(self) -> list[Kept]:
        """The records of the log."""
        return self.history.records[self.history.topics.log, 0]

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let publishers read from here, and not from Kafka."""
        monkeypatch.setattr("infra.task.publisher.read_all", self.read_all)
        monkeypatch.setattr(Resume, "published", lambda *_: self.committed)
        monkeypatch.setattr(Resume, "start_of", lambda resume, topic, offset: offset)
        monkeypatch.setattr(CommandDesk, "open", lambda desk: None)

    def read_all(self, _: Connection, topic: str, partition: int, start: int, end: int) -> Iterator[Kept]:
        return (each for each in self.history.records[topic, partition] if start <= each.at < end)

    def add(self, record: OutRecord) -> None:
        """Let a record lie on its topic."""
        place = (record.topic, record.partition or 0)
        kept = self.history.records[place]
        kept.append(Kept(place, len(kept), record.key, record.value))

    def write(self, records: Sequence[OutRecord], offsets: Mapping[Partition, int], note: str) -> None:
        """Commit a transaction."""
        codec, topics = self.history.codec, self.history.topics
        offset = offsets[Partition(topics.log, 0)]
        assert offset >= (self.committed[0] or 0), "the group's offset never goes back"
        self.committed = offset, note
        self.written += records
        for each in records:
            if each.topic == topics.alerts:
                self.alerts.append(codec.decode_alert(each.value or b""))
            elif each.topic == topics.metrics:
                self.metrics.append(((each.key or b"").decode(), codec.decode_metric(each.value or b"")))
            elif each.topic in {topics.log, topics.control}:
                self.add(each)
            elif each.topic == topics.snapshots and each.value is not None:
                self.manifests.append(codec.decode_manifest(each.value))


class Runner:
    """Writes transactions into the cluster in memory; the next ones end as `fates` say, further ones at random."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.note, self.last_point = cluster, "", ""
        self.fates: list[str] = []
        self.metadata: list[bytes] = []
        """With which each transaction came."""

    async def commit(
        self, records: Sequence[OutRecord], offsets: Mapping[Partition, int], metadata: bytes
    ) -> None:
        self.metadata.append(metadata)
        fate = self.fates.pop(0) if self.fates else self.cluster.rng.choice(FATES)
        if fate.startswith("committed"):
            self.cluster.write(records, offsets, self.note)
        if fate != "committed":
            raise TransactionAborted(fate, certain=fate == "aborted")


class Worker:
    """The reader of the log, and the publisher, of one worker."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, history = cluster, cluster.history
        task = history.loaded.task
        folds = [ModelFold(task, model, history.runtime) for model in task.models]
        context, settings = history.context, cluster.settings
        self.readiness, turns = Readiness(task.name, Acknowledging()), Turns()
        resume, statistics = Resume(context, CurrentTopics(context.partitions)), Statistics()
        runner: Any = Runner(cluster)
        self.runner: Runner = runner
        store, topic = cluster.store, context.topics.log
        self.fold = LogFold(context, folds, self.readiness, resume, statistics, turns, store)
        snapshots = SnapshotWriter(
            context, statistics, store, topic, settings.snapshot_every, settings.snapshots_kept
        )
        output = Output(runner, snapshots, settings.metrics_every_ms)
        self.publisher = Publisher(context, self.readiness, resume, turns, output, self.fold)
        self.consumer: Any = SimpleNamespace(metadata=b"member")
        self.fold.restore()

    async def read(self, count: int) -> None:
        """Fold the next records of the log."""
        start = self.fold.next_offset
        await self.fold.apply(self.cluster.log[start : start + count])  # type: ignore[arg-type]  # messages in memory
        self.fold.answering.check(caught_up=True)

    async def turn(self) -> None:
        """Do what is due."""
        await self.publisher._turn(self.consumer)
