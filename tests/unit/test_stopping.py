"""Whatever a service crashes of while the worker stops, the exit code is 0."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agents.stopping import Stopping, run_to_the_end


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
