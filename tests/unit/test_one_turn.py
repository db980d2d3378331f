"""A turn that is not committed leaves nothing that a later one counts."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from agents.http.task import HttpTask
from agents.task_agents import TaskAgents
from infra.kafka.buffers import Partition, Record
from infra.kafka.channel import Batch
from infra.kafka.transaction import OutRecord
from infra.snapshots.store import SnapshotStore
from infra.subjects import Subjects
from infra.task.join_partition import JoinPartition
from schemas.codec import Codec
from schemas.errors import TransactionAborted
from schemas.records import Request
from schemas.subject_keys import SALT_BYTES, SubjectKeys
from streams.join.join import Join
from streams.join.pending import MemoryStore
from tests.unit.http_worker import make_http_task
from tests.unit.test_join_turns import FIRST, Message


class Consumer:
    """Commits a batch, or aborts it."""

    def __init__(self) -> None:
        self.batches = self
        self.aborts = False
        self.written: list[OutRecord] = []

    def keep(self, batch: Batch[Any], records: list[Record[Any]]) -> None:
        assert records == batch.records

    async def commit(self, batch: Batch[Any], runner: object, records: Iterable[OutRecord]) -> None:
        if self.aborts:
            raise TransactionAborted("aborted", certain=True)
        self.written += records


def agents_of(task: HttpTask) -> TaskAgents:
    parts = (
        task.context,
        task.settings,
        task.readiness,
        task.current,
        task.server,
        task.subjects,
        task.turns,
    )
    return TaskAgents(*parts, SnapshotStore("memory://one-turn"))


def test_a_turn_writes_the_salt_of_a_new_subject_once() -> None:
    salts = SubjectKeys(b"a key", lambda: secrets.token_bytes(SALT_BYTES))
    features = make_http_task().context.task.features
    task = make_http_task(slot="slot", codec=Codec("stay", "binary", features, salts, serving=True))
    task, consumer = replace(task, subjects=Subjects(salts, topic=task.context.topics.keys)), Consumer()
    agents, topics = agents_of(task), task.context.topics
    join = Join(agents.join.rules, MemoryStore(), task.context.codec.held.to_write, "stay", 0)
    agents.join.partitions[0] = JoinPartition(join, topics, None)
    assert agents.inputs.decode is not None
    shown = {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}
    made = []
    for topic, asked in (
        (topics.requests, {"request_id": "r", "ts": FIRST, "features": shown | {"Guest": "Ada"}}),
        (
            topics.predictions,
            {"request_id": "p", "ts": FIRST, "features": shown | {"Guest": "Bob"}, "scores": []},
        ),
    ):
        message: Any = Outside(topic, 0, json.dumps(asked).encode(), FIRST)
        made.append(Record(Partition(topic, 0), 0, None, 0.0, agents.inputs.decode([message])[0]))
    asyncio.run(agents.turn.on_batch(consumer, Batch(agents.inputs, made, b"")))  # type: ignore[arg-type]  # simulated
    written = [each.key for each in consumer.written if each.topic == topics.keys]
    assert sorted(key or b"" for key in written) == sorted(map(salts.lookup, ("Ada", "Bob")))
    assert salts.unwritten() == []


class Outside(Message):
    """A record that no worker of ours wrote."""

    def headers(self) -> Any:
        return None


def test_a_turn_without_requests_counts_none_of_the_one_before() -> None:
    task, consumer = make_http_task(slot="slot"), Consumer()
    agents = agents_of(task)
    assert agents.inputs.decode is not None
    asked = task.context.codec.encode(Request("r", FIRST, {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}))
    made = []
    for offset, value in enumerate((asked, b"{")):
        message: Any = Message(task.context.topics.requests, offset, value, FIRST)
        place = Partition(task.context.topics.requests, 0)
        made.append(Record(place, offset, None, 0.0, agents.inputs.decode([message])[0]))

    async def turn(records: list[Record[Any]], aborts: bool) -> tuple[int, int]:
        consumer.aborts = aborts
        await agents.turn.on_batch(consumer, Batch(agents.inputs, records, b""))  # type: ignore[arg-type]  # simulated
        return agents.statistics.answers["topic"].count, agents.statistics.counts["dead_letters"]

    async def turns() -> None:
        assert await turn(made, aborts=True) == (0, 0)
        assert await turn([], aborts=False) == (0, 0)
        assert consumer.written == []
        assert await turn(made, aborts=False) == (1, 1)
        assert await turn([], aborts=False) == (1, 1)

    asyncio.run(turns())
