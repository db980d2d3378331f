"""SIGTERM in the middle of a rebalance: Faust cancels its fetcher, and the worker ends in order all the same."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agents.stopping import Stopping, run_to_the_end
from agents.transport import Consumer


async def cancelled(*, stopped: bool) -> bool:
    """Cancel a fetcher that waits for a batch; gives whether the cancellation comes out of it."""
    ends = SimpleNamespace(_stopped=asyncio.Event())
    of_worker: Any = SimpleNamespace(
        _stopped=asyncio.Event(), _delivered=asyncio.Queue(), _message=None, callback=None
    )
    task = asyncio.create_task(Consumer._drain_messages(of_worker, ends))
    await asyncio.sleep(0)
    if stopped:
        ends._stopped.set()
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled() or bool(task.exception())


def test_the_cancellation_of_a_fetcher_that_is_stopped_is_its_end_and_no_crash() -> None:
    assert not asyncio.run(cancelled(stopped=True))
    assert asyncio.run(cancelled(stopped=False)), "Faust restarts a fetcher that a rebalance has cancelled"


@pytest.mark.parametrize("crash", [asyncio.CancelledError(), RuntimeError("of a service"), SystemExit(1)])
def test_after_a_signal_the_exit_code_is_0_whatever_a_service_crashed_of(crash: BaseException) -> None:
    stopping = Stopping(bound_s=3600.0)

    def execute() -> None:
        raise crash

    worker: Any = SimpleNamespace(execute_from_commandline=execute, crash_reason=crash)
    with pytest.raises(type(crash)):
        run_to_the_end(worker, stopping)
    stopping._began_s = 0.0  # a signal has come; its watch would end this process
    stopping._closed.acquire()
    with pytest.raises(SystemExit) as ended:
        run_to_the_end(worker, stopping)
    assert ended.value.code == 0
