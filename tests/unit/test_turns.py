"""Turns: how long a batch holds the event loop, and what is served between two of its turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from typing import Any

import pytest

from infra.turns import BREATHS, TURN_S, Long, Turns

STEP_S = 0.015


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on an event loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


def work(steps: int, log: list[str], name: str) -> Iterator[int]:
    """Hold the event loop for a while in each step."""
    for number in range(steps):
        until = time.monotonic() + STEP_S
        while time.monotonic() < until:
            pass
        log.append(name)
        yield number


@on_a_loop
async def test_everything_else_gets_several_iterations_of_the_loop_between_two_slow_steps() -> None:
    turns, log = Turns(), list[str]()

    async def look() -> None:
        while True:
            await asyncio.sleep(0)
            log.append("look")

    looking = asyncio.create_task(look())
    assert await turns.run(work(4, log, "work")) == [0, 1, 2, 3]
    looking.cancel()
    between = "".join("w" if each == "work" else "." for each in log).strip(".").split("w")[1:-1]
    assert len(between) == 3
    assert all(len(looks) >= BREATHS - 1 for looks in between), between


@on_a_loop
async def test_who_waits_for_a_turn_gets_it_before_a_batch_goes_on() -> None:
    turns, log = Turns(), list[str]()
    batch = asyncio.create_task(turns.run(work(6, log, "batch")))
    await asyncio.sleep(0)
    single = asyncio.create_task(turns.run(work(1, log, "single")))
    await asyncio.gather(batch, single)
    assert log.index("single") <= 2
    assert log.count("batch") == 6


@on_a_loop
async def test_single_records_of_many_callers_are_paused_between_as_a_batch_is() -> None:
    turns, log = Turns(), list[str]()

    async def look() -> None:
        while True:
            await asyncio.sleep(0)
            log.append("look")

    looking = asyncio.create_task(look())
    await asyncio.gather(*(turns.run(work(1, log, "work")) for _ in range(4)))
    looking.cancel()
    first, last = log.index("work"), len(log) - log[::-1].index("work")
    assert log[first:last].count("look") >= 3 * BREATHS


@on_a_loop
async def test_steps_without_company_never_suspend() -> None:
    turns = Turns()
    running = turns.run(range(100))
    with pytest.raises(StopIteration) as ended:
        running.send(None)
    assert ended.value.value == list(range(100))


@on_a_loop
async def test_an_error_or_a_cancellation_ends_the_turn() -> None:
    turns, log = Turns(), list[str]()

    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("a step failed")

    with pytest.raises(ValueError, match="a step failed"):
        await turns.run(fails())
    batch = asyncio.create_task(turns.run(work(100, log, "batch")))
    await asyncio.sleep(TURN_S)
    batch.cancel()
    await asyncio.gather(batch, return_exceptions=True)
    assert await turns.run([7]) == [7]


@on_a_loop
async def test_a_long_step_apart_leaves_the_loop_free_and_nobody_else_gets_a_turn() -> None:
    turns, log = Turns(), list[str]()

    def long() -> str:
        time.sleep(0.2)
        log.append("long")
        return "done"

    apart = asyncio.create_task(turns.apart(long))
    await asyncio.sleep(0.01)
    other = asyncio.create_task(turns.run(work(1, log, "other")))
    looks = 0
    while not apart.done():
        await asyncio.sleep(0.005)
        looks += 1
    await other
    assert (await apart, log) == ("done", ["long", "other"])
    assert looks > 5


@on_a_loop
async def test_a_long_step_apart_that_is_cancelled_holds_its_turn_until_its_end() -> None:
    turns, log = Turns(), list[str]()

    def long() -> None:
        time.sleep(0.2)
        log.append("long")

    apart = asyncio.create_task(turns.apart(long))
    await asyncio.sleep(0.05)
    apart.cancel()
    await turns.run(work(1, log, "other"))
    assert log == ["long", "other"]
    with pytest.raises(asyncio.CancelledError):
        await apart


@on_a_loop
async def test_a_long_step_leaves_the_loop_free_and_nobody_else_gets_a_turn_before_its_end() -> None:
    turns, log = Turns(), list[str]()
    looks = 0

    async def look() -> None:
        nonlocal looks
        while True:
            await asyncio.sleep(0.001)
            looks += "long" not in log

    def long() -> None:
        time.sleep(0.2)
        log.append("long")

    def steps() -> Iterator[Long | None]:
        log.append("failed")
        yield Long(long)
        log.append("next")
        yield None

    looking = asyncio.create_task(look())
    batch = asyncio.create_task(turns.run(steps()))
    await asyncio.sleep(0)
    await turns.run(map(log.append, ["other"]))
    await batch
    looking.cancel()
    assert log == ["failed", "long", "other", "next"]
    assert looks > 10


@on_a_loop
async def test_what_a_long_step_raises_ends_the_batch() -> None:
    turns = Turns()

    def steps() -> Iterator[Long]:
        yield Long(lambda: 1 / 0)
        raise AssertionError("it goes on")

    with pytest.raises(ZeroDivisionError):
        await turns.run(steps())
    assert await turns.run([1]) == [1]
