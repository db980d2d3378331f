"""The end of a worker: soon after SIGTERM, with exit code 0 and one closing line, whatever the broker does."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import faust

BOUND_S: Final = 8.0
"""After this long the process ends, whatever is still under way. Container runtimes kill after 10 s."""
log = logging.getLogger(__name__)


class Stopping:
    """Watches over the end of the process.

    What is cut off loses nothing: an open transaction is aborted by the cluster, and its input is read again; a
    snapshot that is half written does not count. So the bound costs at most the last snapshots.

    Parameters
    ----------
    why_slow
        Says what the cluster does not acknowledge, a sentence each.
    code
        Gives the exit code.
    bound_s
        How long an orderly end may take.
    """

    def __init__(
        self,
        why_slow: Callable[[], list[str]] = list,
        code: Callable[[], int] = lambda: 0,
        bound_s: float = BOUND_S,
    ) -> None:
        self.why_slow, self.code, self._bound_s = why_slow, code, bound_s
        self._began_s: float | None = None
        self._closed = threading.Lock()
        self._cause = ""

    @property
    def begun(self) -> bool:
        """Whether a signal has asked for the end."""
        return self._began_s is not None

    def begin(self, cause: str) -> None:
        """Bound the time from now on; `cause` is the signal's name."""
        if self._began_s is None:
            self._began_s, self._cause = time.monotonic(), cause
            for handler in logging.getLogger().handlers:
                handler.addFilter(_without_traceback)
            threading.Thread(target=self._watch, name="stopping", daemon=True).start()

    def close(self) -> None:
        """Write the closing line: everything has ended in order."""
        if self._began_s is not None and self._closed.acquire(blocking=False):
            _silence_all_others()
            log.info("stopped by %s after %.1f s", self._cause, time.monotonic() - self._began_s)

    def _watch(self) -> None:
        time.sleep(self._bound_s)
        if self._closed.acquire(blocking=False):
            why = "; ".join(self.why_slow()) or "something was still under way"
            _silence_all_others()
            log.warning(
                "stopped by %s after %.1f s, before everything had ended (%s): nothing is lost, open transactions "
                "are aborted and their input is read again",
                *(self._cause, self._bound_s, why),
            )
        logging.shutdown()
        os._exit(self.code())


def _silence_all_others() -> None:
    """Let the closing line be the last one, whatever other threads have to say."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: record.name == __name__)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Keep what a log line says, without the stack: what fails because everything ends is no error of ours."""
    record.exc_info = record.exc_text = record.stack_info = None
    return True


class BoundedWorker(faust.Worker):  # type: ignore[misc]  # Faust has no types
    """A Faust worker whose end is bounded."""

    stopping: Stopping

    def _install_signal_handlers_unix(self) -> None:
        super()._install_signal_handlers_unix()
        # The event loop hears of the signal by its own way; this is called even while something holds the loop.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._begin_stopping)

    async def _sentinel_task(self) -> None:
        """Close the event loop at once: Faust waits a second for tasks; all of ours have ended by now."""

    def _begin_stopping(self, number: int, _frame: Any) -> None:
        self.stopping.begin(signal.Signals(number).name)


def run_to_the_end(worker: BoundedWorker, stopping: Stopping) -> None:
    """Run a worker; after a signal the exit code is 0.

    Raises
    ------
    SystemExit
        With another code than 0 when it crashed before any signal.
    """
    worker.stopping = stopping
    try:
        worker.execute_from_commandline()
    except BaseException as ended:  # Faust raises again what any of its services crashed of
        if not stopping.begun:
            raise
        if not isinstance(ended, SystemExit) or ended.code:
            log.warning("%r", worker.crash_reason)
    stopping.close()
    raise SystemExit(0)


def ends_at_once(stopping: Stopping) -> None:
    """Let SIGTERM end the process while nothing runs yet."""

    def end(number: int, _frame: Any) -> None:
        stopping.begin(signal.Signals(number).name)
        stopping.close()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)
