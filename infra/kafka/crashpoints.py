"""Faults on demand, for fault tests: a death at a named point, transactions that abort or wait, a wrong clock.

Off unless the environment says otherwise when this module is first imported:

``RIVERLOOP_CRASH_POINT=name[:count]``
    The process kills itself (SIGKILL) when it passes that point for the count-th time.
``RIVERLOOP_ABORT_RATE=share``, ``RIVERLOOP_ABORT_SEED=integer``
    That share of the transactions is aborted instead of committed.
``RIVERLOOP_SLOW=role:seconds``
    Every transaction of that role (serve, join, owner or quality) waits so long before it begins.
``RIVERLOOP_CLOCK_JUMP=seconds[:every]``
    The wall clock, as `agents.loop.now_ms` reads it, jumps by so many seconds and back, each time after `every`
    seconds (default 5). It is the only reading of the wall clock in a worker; time-outs run on the monotonic one.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from typing import Final

from schemas.errors import UsageError

TRANSACTION_POINTS: Final = (
    "before-produce",
    "after-produce",
    "between-produce-and-commit",
    "after-commit",
)
"""Passed by each transaction, in this order; at the third the offsets are sent, too, and at the last the
transaction has committed, and nothing of it is applied to local state."""

POINTS: Final = (
    "after-poll",  # a batch is picked, and nobody has got it yet
    "after-predict",  # a batch of requests is scored, and nothing of it is written
    *TRANSACTION_POINTS,
    "between-publish-and-commit",  # the log's owner has produced metrics and manifests, and not committed them
    "in-revoke",  # partitions are being given up, their batches have ended
    "in-restore",  # the changelog is being read
    "in-snapshot",  # between two of a snapshot's files
)
"""The points there are."""

JUMP_EVERY_S: Final = 5.0


class Faults:
    """The faults that an environment asks for.

    Parameters
    ----------
    environment
        Where the variables are looked up.

    Raises
    ------
    UsageError
        A point that does not exist; a count, a rate, a wait or a jump that is none.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        point = environment.get("RIVERLOOP_CRASH_POINT", "")
        self.point, _, count = point.partition(":")
        rate = environment.get("RIVERLOOP_ABORT_RATE", "0")
        self._slow_role, _, slow = environment.get("RIVERLOOP_SLOW", "").partition(":")
        jump, _, every = environment.get("RIVERLOOP_CLOCK_JUMP", "0").partition(":")
        try:
            self.passes_left = int(count or 1)
            self.abort_rate = float(rate)
            self._slow_s = float(slow or 0)
            self._random = random.Random(int(environment.get("RIVERLOOP_ABORT_SEED", "1")))  # noqa: S311  # not for secrets
            self.jump_ms, self.jump_every_s = int(float(jump) * 1000), float(every or JUMP_EVERY_S)
        except ValueError as error:
            raise UsageError(f"a fault variable of the environment is not a number: {error}") from None
        if self.point and self.point not in POINTS:
            raise UsageError(f"RIVERLOOP_CRASH_POINT={self.point} is none of {', '.join(POINTS)}")
        if not 0 <= self.abort_rate < 1:
            raise UsageError(f"RIVERLOOP_ABORT_RATE={rate} is not in [0, 1): nothing would ever commit")
        if self.jump_every_s <= 0:
            raise UsageError(f"RIVERLOOP_CLOCK_JUMP={jump}:{every} jumps all the time")
        self._began = time.monotonic()
        self._lock = threading.Lock()

    def pass_point(self, name: str) -> None:
        """Kill the process if it is to die here."""
        if name != self.point:
            return
        with self._lock:
            self.passes_left -= 1
            if self.passes_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def aborts(self) -> bool:
        """Whether the next transaction is to be aborted."""
        if not self.abort_rate:
            return False
        with self._lock:
            return self._random.random() < self.abort_rate

    def hold(self, transactional_id: str) -> None:
        """Wait before a transaction, if its role is to be slow (blocks)."""
        if self._slow_s and f".{self._slow_role}." in transactional_id:
            time.sleep(self._slow_s)

    def clock_offset_ms(self) -> int:
        """By how much the wall clock is wrong now (ms)."""
        if not self.jump_ms:
            return 0
        return self.jump_ms * (int((time.monotonic() - self._began) / self.jump_every_s) % 2)


FAULTS: Final = Faults(os.environ)
"""What the environment of this process asks for."""


def crash_point(name: str) -> None:
    """Pass a named point; see `POINTS`."""
    FAULTS.pass_point(name)
