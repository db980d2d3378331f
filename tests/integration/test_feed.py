"""Faust agents on the batch consumer, embedded in a process that is not Faust's."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import faust
import pytest

from agents.boot import Boot
from agents.feed import Feed, Work
from infra.embedded.pytest_plugin import Broker
from infra.kafka.buffers import Partition
from infra.kafka.channel import Batch, Channel
from infra.kafka.connection import Connection
from infra.kafka.consumer import nothing_to_do
from infra.kafka.transaction import OutRecord, TransactionRunner
from schemas.errors import TransactionAborted
from tests.faults.injection import InjectedFaults
from tests.integration.echo import Feeder, create_topics, differences
from tests.unstarted import close_clients

pytestmark = pytest.mark.kafka

PARTITIONS = 4
EVERYTHING_ONCE = {"lost": 0, "doubled": 0, "foreign": 0}


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


class EchoApp:
    """A Faust app with two agents, each echoing a topic; made for one worker."""

    def __init__(
        self, connection: Connection, task: str, name: str, directory: Path, **properties: Any
    ) -> None:
        self.connection, self.task, self.name = connection, task, name
        self.app = faust.App(
            task,
            broker=f"confluent://{connection.bootstrap}",
            store="memory://",
            web_enabled=False,
            datadir=str(directory / name),
        )
        self.app.boot_strategy = Boot(self.app)
        self.counts: Counter[str] = Counter()
        self.fails: Callable[[str], bool] = lambda agent: False
        self.runners: list[TransactionRunner] = []
        self.stopped = False
        self.on_assigned: Callable[[frozenset[Partition]], Awaitable[None]] = nothing_to_do
        channels = {
            Channel(name=agent, topics=(f"{task}.{agent}",), max_batch=200): self.echo(agent)
            for agent in ("fast", "slow")
        }
        self.feed = Feed(
            self.app, connection, task, channels, properties=properties, on_assigned=self.assigned
        )
        self.app.service(self.feed)
        self.app.timer(0.05)(self.tick)

    @property
    def echoed(self) -> int:
        return self.counts["fast"] + self.counts["slow"]

    async def assigned(self, partitions: frozenset[Partition]) -> None:
        await self.on_assigned(partitions)

    async def tick(self) -> None:
        self.counts["ticks"] += 1

    def runner(self, agent: str) -> TransactionRunner:
        hooks = InjectedFaults({"RIVERLOOP_ABORT_RATE": "0.1"})
        runner = TransactionRunner(self.connection, f"{self.task}-{self.name}-{agent}", hooks=hooks)
        self.runners.append(runner)
        return runner

    def echo(self, agent: str) -> Work:
        runner = self.runner(agent)

        async def echo(batch: Batch[Any]) -> None:
            if self.fails(agent):
                raise ValueError("an agent fails")
            await asyncio.sleep(0.1 if agent == "slow" else 0)
            records = [OutRecord(f"{self.task}.out", m.key(), m.value()) for m in batch.items]
            try:
                await self.feed.consumer.batches.commit(batch, runner, records)
            except TransactionAborted:
                self.counts["aborted"] += 1
            else:
                self.counts[agent] += len(batch)

        return echo

    async def __aenter__(self) -> EchoApp:
        await self.app.start()
        return self

    async def __aexit__(self, *failure: object) -> None:
        # Whatever fails: Faust's tasks do not end with the loop.
        await self.stop()

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            await self.app.stop()
            close_clients(self.app)
            await self._close()

    async def _close(self) -> None:
        for runner in self.runners:
            await runner.close()


async def until(reached: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


async def all_written(apps: list[EchoApp], feeder: Feeder) -> None:
    feeder.stop()
    for agent in ("fast", "slow"):
        wanted = feeder.counts[f"{apps[0].task}.{agent}"]
        await until(lambda agent=agent, wanted=wanted: sum(app.counts[agent] for app in apps) >= wanted)  # type: ignore[misc]  # the defaults bind the loop's variables


@pytest.mark.parametrize("protocol", ["range", "cooperative-sticky"])
def test_two_workers_share_the_partitions_and_echo_everything_once(
    connection: Connection, task_name: str, tmp_path: Path, protocol: str
) -> None:
    topics = {f"{task_name}.fast": 3_000, f"{task_name}.slow": 300}
    create_topics(connection, [*topics, f"{task_name}.out"], PARTITIONS)
    properties = {"partition.assignment.strategy": protocol}

    async def scenario(feeder: Feeder) -> None:
        first, second = (
            EchoApp(connection, task_name, name, tmp_path, **properties) for name in ("first", "second")
        )
        async with first, AsyncExitStack() as later:
            await until(lambda: first.counts["fast"] > 1_000)
            await later.enter_async_context(second)
            # Of which topic a worker gets partitions is the protocol's choice.
            await until(lambda: second.echoed > 300)
            already = first.echoed
            await until(lambda: first.echoed > already + 300)
            began = time.monotonic()
            await first.stop()
            assert time.monotonic() - began < 5.0
            await all_written([first, second], feeder)
            assert second.counts["ticks"] > 3
            assert first.counts["aborted"] + second.counts["aborted"] > 1

    with Feeder(connection, topics, PARTITIONS) as feeder:
        asyncio.run(scenario(feeder))
    assert differences(connection, feeder.counts, f"{task_name}.out", PARTITIONS) == EVERYTHING_ONCE


def test_a_batch_whose_agent_failed_is_read_again(
    connection: Connection, task_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    topics = {f"{task_name}.fast": 1_000, f"{task_name}.slow": 100}
    create_topics(connection, [*topics, f"{task_name}.out"], PARTITIONS)

    async def scenario(feeder: Feeder) -> None:
        echo = EchoApp(connection, task_name, "only", tmp_path)
        failures = iter([False, True])
        echo.fails = lambda agent: agent == "fast" and next(failures, False)
        async with echo:
            await until(lambda: echo.counts["fast"] > 1_500)
            await all_written([echo], feeder)

    with Feeder(connection, topics, PARTITIONS) as feeder:
        asyncio.run(scenario(feeder))
    assert differences(connection, feeder.counts, f"{task_name}.out", PARTITIONS) == EVERYTHING_ONCE
    assert sum("ended without a commit" in message for message in caplog.messages) == 1


def test_partitions_are_announced_before_their_batches_come(
    connection: Connection, task_name: str, tmp_path: Path
) -> None:
    topics = {f"{task_name}.fast": 500, f"{task_name}.slow": 100}
    create_topics(connection, [*topics, f"{task_name}.out"], PARTITIONS)

    async def scenario(feeder: Feeder) -> None:
        echo = EchoApp(connection, task_name, "only", tmp_path)
        restored: set[Partition] = set()

        async def restore(assigned: frozenset[Partition]) -> None:
            assert echo.counts["fast"] == 0
            await asyncio.sleep(0.5)
            assert echo.counts["fast"] == 0
            restored.update(assigned)

        echo.on_assigned = restore
        async with echo:
            await until(lambda: echo.counts["fast"] > 100)
            await all_written([echo], feeder)
            assert restored == {Partition(topic, number) for topic in topics for number in range(PARTITIONS)}

    with Feeder(connection, topics, PARTITIONS) as feeder:
        asyncio.run(scenario(feeder))


def test_a_worker_of_faust_runs_inside_our_own_loop_and_leaves_our_logging_alone(
    connection: Connection, task_name: str, tmp_path: Path
) -> None:
    topics = {f"{task_name}.fast": 500, f"{task_name}.slow": 100}
    create_topics(connection, [*topics, f"{task_name}.out"], PARTITIONS)

    async def scenario(feeder: Feeder) -> None:
        echo = EchoApp(connection, task_name, "only", tmp_path)
        worker = faust.Worker(
            echo.app,
            loop=asyncio.get_running_loop(),
            override_logging=False,
            quiet=True,
            daemon=False,
            workdir=Path.cwd(),
        )
        await worker.start()
        await until(lambda: echo.counts["fast"] > 100)
        await all_written([echo], feeder)
        await worker.stop()
        await echo.stop()

    with Feeder(connection, topics, PARTITIONS) as feeder:
        asyncio.run(scenario(feeder))
    assert differences(connection, feeder.counts, f"{task_name}.out", PARTITIONS) == EVERYTHING_ONCE
