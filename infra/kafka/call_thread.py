"""A thread for calls of a client that may never return."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Final

CHECK_S: Final = 1.0
"""Interval at which a call's time limit is checked (s)."""


_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class CallTimedOut(BaseException):
    """A call has taken too long. Raised to the caller, and in the thread should the call return after all.

    The thread ends then, and must touch nothing that its successor uses: so it is no `Exception`.
    """


class CallThread:
    """Runs functions one after the other in a daemon thread, which can be abandoned in a call.

    An executor's threads are waited for at the end of the process; and a thread per call costs a tenth of a small
    transaction (ADR 21).
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._until: float | None = None
        self._left = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function in the thread; give what it gives, raise what it raises.

        Raises
        ------
        CallTimedOut
            A part of it that was `limited` has taken too long. The thread is of no use any more.
        """
        if self._thread.ident is None:
            self._thread.start()
        future: Future[Any] = Future()
        self._calls.put((future, function, arguments))
        waiting = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait({waiting}, timeout=CHECK_S))[0]:
                if self._leave():
                    raise CallTimedOut
        finally:
            waiting.cancel()  # who waited may have been cancelled; what has begun goes on
        return waiting.result()

    def successor(self) -> CallThread:
        """Return a thread for the calls after this one was abandoned."""
        return CallThread(self._thread.name)

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Limit the time of a block that runs in the thread; the thread is abandoned when it takes longer."""
        with self._lock:
            self._until = time.monotonic() + seconds
        try:
            yield
        finally:
            # Who waits may have gone on without it, a moment ago or long since; never both go on.
            with self._lock:
                self._until = None
                left = self._left
            if left:
                raise CallTimedOut

    def end(self) -> None:
        """Let the thread end after what it was asked to do."""
        self._calls.put(None)

    def _leave(self) -> bool:
        with self._lock:
            if self._until is not None and time.monotonic() > self._until:
                self._left = True
            return self._left

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, arguments = call
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function(*arguments)
            except CallTimedOut:
                return
            except BaseException as error:  # it is raised to who waits
                future.set_exception(error)
            else:
                future.set_result(result)
            del call, future, function, arguments
