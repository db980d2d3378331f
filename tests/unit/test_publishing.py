"""State has one writer at a time: aborted batches and rebalances restore it one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agents import publishing
from agents.join import JoinAgent
from agents.publishing import Publishing
from infra.kafka.buffers import Partition
from schemas.errors import TransactionAborted


class Monitors:
    """An owner that notes who works on its state at the same time."""

    def __init__(self) -> None:
        self.owned = SimpleNamespace(topic="t.log")
        self.loop = SimpleNamespace(
            refused={}, stopping=False, task=SimpleNamespace(name="t"), turns=SimpleNamespace(run=self.run)
        )
        self.held, self.next_offset = True, 7
        self.at_work = 0
        self.together = 0
        self.restored = 0
        self.note = ""

    def published(self, known: bool) -> None:
        """Nothing is pending here."""

    def metric_records(self) -> Iterator[Any]:
        return iter([object()])

    def _enter(self) -> None:
        self.at_work += 1
        self.together = max(self.together, self.at_work)

    async def run(self, steps: Iterator[Any]) -> list[Any]:
        self._enter()
        await asyncio.sleep(0.1)
        self.at_work -= 1
        return list(steps)

    def steps(self, items: list[Any]) -> Iterator[Any]:
        return iter(items)

    def snapshot_due(self) -> bool:
        return False

    def take_over(self, committed: int | None, note: str) -> None:
        self._enter()
        time.sleep(0.1)
        self.restored += 1
        self.at_work -= 1


async def abort(*_: Any) -> None:
    raise TransactionAborted("the cluster did not answer")


async def play(owner: Any) -> None:
    consumer: Any = SimpleNamespace(
        commit=abort,
        group_id="g",
        assignment={Partition("t.log", 0)},
        start_at=lambda *_: None,
        metadata=b"member",
    )
    made = Publishing(owner, SimpleNamespace(commit=abort))  # type: ignore[arg-type]  # nothing is written
    batch: Any = SimpleNamespace(items=[], channel=SimpleNamespace(name="t.owner"))
    await asyncio.gather(
        made.on_batch(consumer, batch),
        made.take_over(consumer),
        made.on_batch(consumer, batch),
        made.take_over(consumer),
    )
    # What is published without a batch is restored after by whoever has published it.
    await asyncio.wait_for(made.on_silence(consumer), 10)


def test_a_batch_that_aborts_and_a_rebalance_restore_the_monitors_one_after_the_other(
    monkeypatch: Any,
) -> None:
    monkeypatch.setattr(publishing, "published_to", lambda *_: (7, ""))
    owner = Monitors()
    asyncio.run(play(owner))
    assert owner.restored == 5
    assert owner.together == 1


def test_a_batch_whose_partition_was_given_up_before_it_began_is_aborted_and_crashes_nothing() -> None:
    loop = SimpleNamespace(partitions=2, task=SimpleNamespace(name="t"))
    agent: Any = SimpleNamespace(loop=loop, partitions={1: object()})
    with pytest.raises(TransactionAborted, match="given up"):
        next(JoinAgent.steps(agent, [], {Partition("t.predictions", 0): 5}))
