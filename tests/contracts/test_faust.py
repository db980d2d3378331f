"""What riverloop expects of Faust: the app's start and end, agents on channels. A new Faust is held against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
from mode import Service

from agents.boot import Boot
from tests.unstarted import close_clients


class Made:
    """An app as riverloop makes it, within a running loop; started by `async with`."""

    def __init__(self, folder: Path) -> None:
        self.app = faust.App(
            "contract",
            broker="confluent://127.0.0.1:1",
            store="memory://",
            autodiscover=False,
            web_enabled=False,
            datadir=str(folder),
        )
        self.app.boot_strategy = Boot(self.app)

    async def __aenter__(self) -> None:
        await self.app.start()

    async def __aexit__(self, *failure: object) -> None:
        await self.app.stop()
        close_clients(self.app)


def play(folder: Path, scenario: Callable[[Made], Awaitable[None]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(scenario(Made(folder)), 10)

    asyncio.run(run())


async def until(reached: Callable[[], bool]) -> None:
    while not reached():
        await asyncio.sleep(0.01)


async def listening(app: faust.App, channel: Any) -> None:
    app.flow_control.resume()
    await until(lambda: channel.subscriber_count > 0)


def test_the_start_asks_no_cluster_and_waits_for_no_table(tmp_path: Path) -> None:
    """Its broker's address answers nothing: with a client of Faust's the start would hang."""

    async def scenario(made: Made) -> None:
        ran = asyncio.Event()

        async def task() -> None:
            ran.set()

        made.app.task(task)
        async with made:
            await ran.wait()
            assert not made.app.consumer.started
            assert not made.app.tables.started

    play(tmp_path, scenario)


class Got(list[Any]):
    """What an agent has taken of a channel."""

    def __init__(self, made: Made) -> None:
        self.channel = made.app.channel(maxsize=0)
        made.app.agent(self.channel, name="agent")(self._agent)

    async def _agent(self, stream: AsyncIterator[Any]) -> None:
        async for value in stream:
            await asyncio.sleep(0)
            if value == "fail":
                raise ValueError("it fails")
            self.append(value)

    async def wait_listening(self) -> None:
        await until(lambda: self.channel.subscriber_count > 0)


def test_an_agent_on_a_channel_gets_each_value_as_it_was_put_in_order(tmp_path: Path) -> None:
    async def scenario(made: Made) -> None:
        got, values = Got(made), [object() for _ in range(100)]
        async with made:
            made.app.flow_control.resume()
            await got.wait_listening()
            for value in values:
                await got.channel.put(value)
            await until(lambda: len(got) == len(values))
            assert all(one is other for one, other in zip(got, values, strict=True))

    play(tmp_path, scenario)


def test_a_value_waits_until_the_gate_is_open(tmp_path: Path) -> None:
    async def scenario(made: Made) -> None:
        got = Got(made)
        async with made:
            await got.wait_listening()
            putting = asyncio.create_task(got.channel.put(1))
            await asyncio.sleep(0.1)
            assert not got
            made.app.flow_control.resume()
            await putting
            await until(lambda: got == [1])

    play(tmp_path, scenario)


def test_an_agent_that_fails_is_started_again_and_goes_on_with_the_next_value(tmp_path: Path) -> None:
    async def scenario(made: Made) -> None:
        got = Got(made)
        async with made:
            made.app.flow_control.resume()
            await got.wait_listening()
            for value in (0, "fail", 2, 3):
                await got.channel.put(value)
            await until(lambda: got == [0, 2, 3])

    play(tmp_path, scenario)


def test_agents_and_services_still_work_when_the_shutdown_is_announced(tmp_path: Path) -> None:
    """Batches at work end then, and last snapshots are written."""
    ended: list[str] = []

    class Kept(Service):  # type: ignore[misc]  # mode has no types
        async def on_stop(self) -> None:
            ended.append("service")

    async def scenario(made: Made) -> None:
        got = Got(made)

        async def stopping(sender: Any, **options: Any) -> None:
            await got.channel.put("last")
            await until(lambda: got == ["last"])
            ended.append("announced")

        made.app.service(Kept())
        made.app.on_before_shutdown.connect(stopping)
        async with made:
            made.app.flow_control.resume()
            await got.wait_listening()
        assert ended == ["announced", "service"]

    play(tmp_path, scenario)


def test_a_service_that_crashes_is_the_crash_of_the_app(tmp_path: Path) -> None:
    async def scenario(made: Made) -> None:
        service = Service()
        made.app.service(service)
        async with made:
            await until(lambda: bool(service.started))
            await service.crash(RuntimeError("the consumer has died"))
            assert made.app.crashed
            assert str(made.app.crash_reason) == "the consumer has died"

    play(tmp_path, scenario)
