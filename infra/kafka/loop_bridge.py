"""Calls between the consumer's thread and the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from confluent_kafka import Consumer

from schemas.errors import BrokerError

A = TypeVar("A")


class LoopBridge:
    """Passes calls between the consumer's thread and the event loop, in both directions in order.

    `open` and `call` belong to the event loop, everything else to the thread.
    """

    def __init__(self) -> None:
        self._commands: queue.SimpleQueue[tuple[Callable[[Consumer], Any], asyncio.Future[Any]]] = (
            queue.SimpleQueue()
        )
        self.stopping = False
        """Set when the thread is to end, or has ended."""

    def open(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()

    async def call(self, function: Callable[[Consumer], A]) -> A:
        """Run a short function in the thread; also while a rebalance waits for the event loop."""
        answer: asyncio.Future[A] = self._loop.create_future()
        self._commands.put((function, answer))
        return await answer

    def post(self, function: Callable[..., None], *arguments: object) -> None:
        """Call a function on the event loop, after those that were posted before; nothing if the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function, *arguments)

    def serve(self, consumer: Consumer, wait_s: float = 0.0) -> None:
        """Run the functions given to `call`; wait up to `wait_s` for the first."""
        while True:
            try:
                function, answer = self._commands.get(wait_s > 0, wait_s or None)
            except queue.Empty:
                return
            try:
                result = function(consumer)
            except Exception as error:  # the caller gets it
                self.post(_fail, answer, error)
            else:
                self.post(succeed, answer, result)
            wait_s = 0.0

    def wait_for(self, coroutine: Coroutine[Any, Any, None], consumer: Consumer) -> None:
        """Run a coroutine on the event loop and wait for its end, serving calls meanwhile."""
        try:
            done = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed
            coroutine.close()
            return
        while not done.done() and self._loop.is_running():
            self.serve(consumer, 0.002)
        if done.done():
            done.result()

    def wait_until_taken(self, consumer: Consumer) -> None:
        """Wait until the event loop has run everything that was posted, serving calls meanwhile."""
        taken = threading.Event()
        self.post(taken.set)
        while not (taken.wait(0.002) or self.stopping or self._loop.is_closed()):
            self.serve(consumer)

    def reject_calls(self) -> None:
        """Fail the calls that were not served."""
        with contextlib.suppress(queue.Empty):
            while True:
                _, answer = self._commands.get(False)
                self.post(_fail, answer, BrokerError("the consumer has stopped"))


def succeed(answer: asyncio.Future[Any], result: object) -> None:
    """Set a future's result, unless it was cancelled."""
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
