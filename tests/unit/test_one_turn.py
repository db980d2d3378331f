"""A turn that is not committed leaves nothing that a later one counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from agents.task_agents import TaskAgents
from infra.kafka.buffers import Partition, Record
from infra.kafka.channel import Batch
from infra.kafka.transaction import OutRecord
from infra.snapshots.store import SnapshotStore
from schemas.errors import TransactionAborted
from schemas.records import Request
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


def test_a_turn_without_requests_counts_none_of_the_one_before() -> None:
    task, consumer = make_http_task(slot="slot"), Consumer()
    parts = (
        task.context,
        task.settings,
        task.readiness,
        task.current,
        task.server,
        task.subjects,
        task.turns,
    )
    agents = TaskAgents(*parts, SnapshotStore("memory://one-turn"))
    assert agents.inputs.decode is not None
    asked = task.context.codec.encode(Request("r", FIRST, {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}))
    made = []
    for offset, value in enumerate((asked, b"{")):
        message: Any = Message(task.context.topics.requests, offset, value, FIRST)
        place = Partition(task.context.topics.requests, 0)
        made.append(Record(place, offset, None, 0.0, agents.inputs.decode(message)))

    async def turn(records: list[Record[Any]], aborts: bool) -> tuple[int, int]:
        consumer.aborts = aborts
        await agents.on_batch(consumer, Batch(agents.inputs, records, b""))  # type: ignore[arg-type]  # simulated
        return agents.statistics.answers["topic"].count, agents.statistics.counts["dead_letters"]

    async def turns() -> None:
        assert await turn(made, aborts=True) == (0, 0)
        assert await turn([], aborts=False) == (0, 0)
        assert consumer.written == []
        assert await turn(made, aborts=False) == (1, 1)
        assert await turn([], aborts=False) == (1, 1)

    asyncio.run(turns())
