"""Steps of callers that wait, on the event loop: one connection, on which all callers' commands follow each other.

A thread would take several times the processor time of the call itself, for its hand-over.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from infra.redis_client import Address, RedisServer
from infra.shared.asks import late
from infra.shared.redis_store import Argument, Layout
from infra.shared.store import Step
from schemas.errors import FeaturesUnavailable

MOST: Final = 10_000
"""Calls that wait for their replies."""
STUCK_S: Final = 1.0
"""A connection on which no reply comes for so long is given up."""
SECOND_LOOK_S: Final = 0.005
"""A loop that was busy reads first what has come meanwhile, before an answer counts as late."""


class _Call(NamedTuple):
    steps: Sequence[Step]
    answer: asyncio.Future[list[bytes | None]]
    replies: list[Any]
    since: float


class RedisAsks:
    """Takes steps on the event loop.

    Raises
    ------
    UsageError
        See `RedisServer`.
    """

    def __init__(self, address: Address, layout: Layout) -> None:
        self._server, self._layout = RedisServer(address), layout
        self._connection: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: deque[_Call] = deque()
        self._connecting = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, steps: Sequence[Step], timeout_s: float) -> list[bytes | None]:
        """See `Asks.run`."""
        loop = self._loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[bytes | None]] = loop.create_future()

        def over() -> None:
            if not answer.done():
                answer.set_exception(late(timeout_s))

        timer = loop.call_later(timeout_s, loop.call_later, SECOND_LOOK_S, over)
        try:
            with self._server.translated():
                async with asyncio.timeout(timeout_s):
                    connection = self._connection
                    if (
                        connection is None or not connection.is_connected
                    ):  # else sending would connect it again
                        connection = await self._connect()
                    if len(self._waiting) >= MOST:
                        raise FeaturesUnavailable("too many calls wait for the store")
                    self._waiting.append(_Call(steps, answer, [], time.monotonic()))
                    commands = b"".join(packed(self._layout.command(step)) for step in steps)
                    await connection.send_packed_command(commands, check_health=False)
                return await answer
        except TimeoutError:
            raise late(timeout_s) from None
        finally:
            timer.cancel()
            if self._waiting and time.monotonic() > self._waiting[0].since + STUCK_S:
                self._drop(late(STUCK_S))

    async def _connect(self) -> Any:
        async with self._connecting:
            if self._connection is not None and not self._connection.is_connected:
                self._drop(FeaturesUnavailable("the connection is closed"))
            if self._connection is None:
                self._connection = await self._server.connection()
                self._reader = asyncio.create_task(self._read(self._connection))
            return self._connection

    async def _read(self, connection: Any) -> None:
        """Read the replies, which come in the order of the commands."""
        try:
            with self._server.translated():
                while True:
                    try:
                        reply = await connection.read_response(disable_decoding=True, timeout=math.inf)
                    except self._server.rejection as error:
                        reply = error
                    self._take(reply)
        except FeaturesUnavailable as error:
            if connection is self._connection:
                self._drop(error)
        finally:
            await connection.disconnect(nowait=True)

    def _take(self, reply: Any) -> None:
        call = self._waiting[0]
        call.replies.append(reply)
        if len(call.replies) < len(call.steps):
            return
        self._waiting.popleft()
        if call.answer.done():
            return
        failure = next((each for each in call.replies if isinstance(each, Exception)), None)
        if failure is None:
            pairs = zip(call.steps, call.replies, strict=True)
            call.answer.set_result([self._layout.result(step, found) for step, found in pairs])
        else:
            call.answer.set_exception(failure)
            call.answer.exception()  # whoever waited for it may be gone

    def _drop(self, error: FeaturesUnavailable) -> None:
        """Give up the connection; the next call makes another one."""
        waiting, self._waiting = self._waiting, deque()
        for call in waiting:
            if not call.answer.done():
                call.answer.set_exception(error)
                call.answer.exception()  # as above
        self._connection, reader = None, self._reader
        self._reader = None
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()

    def close(self) -> None:
        """See `Asks.close`."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._drop, FeaturesUnavailable("the worker is stopping"))


def packed(command: Sequence[Argument]) -> bytes:
    r"""Write a command as the server reads it.

    Examples
    --------
    >>> packed(("GET", "a"))
    b'*2\r\n$3\r\nGET\r\n$1\r\na\r\n'
    """
    parts = [each if isinstance(each, bytes) else str(each).encode() for each in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in parts)
