"""Faults inside a process: a kill at a point, aborted and delayed transactions, a wall clock that jumps.

`tests.faults.child` reads them from the environment of a child process:

``RIVERLOOP_CRASH_POINT=point[:count]``
    The process kills itself (SIGKILL) when it reaches that point of `infra.hooks.POINTS` for the count-th time.
``RIVERLOOP_ABORT_RATE=share``, ``RIVERLOOP_ABORT_SEED=integer``
    That share of the transactions is aborted instead of committed.
``RIVERLOOP_SLOW=role:seconds``
    Every transaction of that role (serve, join, owner or quality) starts that much later.
``RIVERLOOP_CLOCK_JUMP=seconds[:every]``
    The wall clock jumps by that many seconds and back, each time after `every` seconds (default 5).
``RIVERLOOP_SHORT_TURNS=true``
    Each turn on the event loop ends after one step, as on a slow machine: others are served between any two steps.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from unittest.mock import patch

from infra import turns
from infra.hooks import POINTS, Hooks, install
from schemas.errors import TransactionAborted, UsageError

JUMP_EVERY_S: Final = 5.0
ABORT_S: Final = 10.0


class InjectedFaults(Hooks):
    """The faults that an environment asks for.

    Parameters
    ----------
    environment
        The variables.

    Raises
    ------
    UsageError
        A point that does not exist, or a value out of range.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        point = environment.get("RIVERLOOP_CRASH_POINT", "")
        self.point, _, count = point.partition(":")
        rate = environment.get("RIVERLOOP_ABORT_RATE", "0")
        self._slow_role, _, slow = environment.get("RIVERLOOP_SLOW", "").partition(":")
        try:
            self.passes_left = int(count or 1)
            self.abort_rate = float(rate)
            self._slow_s = float(slow or 0)
            self._random = random.Random(int(environment.get("RIVERLOOP_ABORT_SEED", "1")))
        except ValueError as error:
            raise UsageError(f"a fault variable of the environment is not a number: {error}") from None
        if self.point and self.point not in POINTS:
            raise UsageError(f"RIVERLOOP_CRASH_POINT={self.point} is none of {', '.join(POINTS)}")
        if not 0 <= self.abort_rate < 1:
            raise UsageError(f"RIVERLOOP_ABORT_RATE={rate} is not in [0, 1): no transaction would commit")
        self._lock = threading.Lock()

    def reached(self, point: str) -> None:
        """Kill the process at its crash point."""
        if point != self.point:
            return
        with self._lock:
            self.passes_left -= 1
            if self.passes_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def transaction_begins(self, transactional_id: str) -> None:
        """Delay transactions of the slow role (blocks)."""
        if self._slow_s and f".{self._slow_role}." in transactional_id:
            time.sleep(self._slow_s)

    def aborts(self) -> bool:
        """Whether the next transaction is aborted."""
        if not self.abort_rate:
            return False
        with self._lock:
            return self._random.random() < self.abort_rate

    def transaction_commits(self, transactional_id: str, producer: Any) -> None:
        """Abort a share of the transactions, after their records have reached the broker."""
        if self.aborts():
            producer.flush(ABORT_S)  # so that readers meet aborted records
            producer.abort_transaction(ABORT_S)
            raise TransactionAborted(f"{transactional_id}: aborted on request", certain=True)


class JumpingClock:
    """Replaces `time.time_ns` in this process; time-outs run on the monotonic clock and are not affected.

    Parameters
    ----------
    text
        `seconds[:every]`, as in ``RIVERLOOP_CLOCK_JUMP``.

    Raises
    ------
    UsageError
        For a text that is no jump.
    """

    def __init__(self, text: str) -> None:
        jump, _, every = text.partition(":")
        try:
            self._jump_ns, self._every_s = int(float(jump) * 1e9), float(every or JUMP_EVERY_S)
        except ValueError as error:
            raise UsageError(f"RIVERLOOP_CLOCK_JUMP={text} is not a number: {error}") from None
        if self._every_s <= 0:
            raise UsageError(f"RIVERLOOP_CLOCK_JUMP={text} would jump all the time")
        self._began, self._true = time.monotonic(), time.time_ns
        self._patch = patch.object(time, "time_ns", self.time_ns)

    def time_ns(self) -> int:
        """The wrong time (ns UTC)."""
        odd = int((time.monotonic() - self._began) / self._every_s) % 2
        return self._true() + self._jump_ns * odd

    def start(self) -> None:
        """Replace the clock."""
        self._patch.start()

    def stop(self) -> None:
        """Restore the clock."""
        self._patch.stop()


def inject(environment: Mapping[str, str]) -> None:
    """Install in this process the faults that an environment asks for.

    Raises
    ------
    UsageError
        As `InjectedFaults` and `JumpingClock` do.
    """
    install(InjectedFaults(environment))
    if jump := environment.get("RIVERLOOP_CLOCK_JUMP"):
        JumpingClock(jump).start()
    if environment.get("RIVERLOOP_SHORT_TURNS") == "true":
        turns.TURN_S = 0.0  # type: ignore[misc]  # final for everybody else
