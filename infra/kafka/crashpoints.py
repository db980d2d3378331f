"""Faults on demand, for fault tests: a process that kills itself at a named point, transactions that abort.

Off unless the environment says otherwise when this module is first imported:

``RIVERLOOP_CRASH_POINT=name[:count]``
    The process kills itself (SIGKILL) when it passes that point for the count-th time.
``RIVERLOOP_ABORT_RATE=share``, ``RIVERLOOP_ABORT_SEED=integer``
    That share of the transactions is aborted instead of committed.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Mapping

from schemas.errors import UsageError

POINTS = ("before-produce", "between-produce-and-commit", "after-commit")
"""The points there are."""


class Faults:
    """The faults that an environment asks for.

    Parameters
    ----------
    environment
        Where the variables are looked up.

    Raises
    ------
    UsageError
        A point that does not exist, a count or a rate that is none.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        point = environment.get("RIVERLOOP_CRASH_POINT", "")
        self.point, _, count = point.partition(":")
        rate = environment.get("RIVERLOOP_ABORT_RATE", "0")
        try:
            self.passes_left = int(count or 1)
            self.abort_rate = float(rate)
            self._random = random.Random(int(environment.get("RIVERLOOP_ABORT_SEED", "1")))  # noqa: S311  # not for secrets
        except ValueError as error:
            raise UsageError(f"a fault variable of the environment is not a number: {error}") from None
        if self.point and self.point not in POINTS:
            raise UsageError(f"RIVERLOOP_CRASH_POINT={self.point} is none of {', '.join(POINTS)}")
        if not 0 <= self.abort_rate < 1:
            raise UsageError(f"RIVERLOOP_ABORT_RATE={rate} is not in [0, 1): nothing would ever commit")
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


FAULTS = Faults(os.environ)
"""What the environment of this process asks for."""


def crash_point(name: str) -> None:
    """Pass a named point; see `POINTS`."""
    FAULTS.pass_point(name)
