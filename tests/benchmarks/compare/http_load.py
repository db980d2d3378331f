"""Requests over HTTP at a rate: a client that costs so little that the machine is the worker's."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

DRAIN_S: Final = 20.0
MOST_CALLS: Final = 1000
"""At once, each on a connection of its own; what is due meanwhile waits, and its wait counts."""
OK: Final = b"HTTP/1.1 200 "


class HttpLoad:
    """Posts bodies to one address, each due at its own moment; kept-alive connections, one call at a time on each.

    A general client takes more than half as long for a call as the worker does, and on a small machine the worker
    would be measured beside it. This one knows the answers that it will get: a status, a length, a body.

    Parameters
    ----------
    url
        Where to post, ``http://HOST:PORT/PATH``.
    content_type
        Of the bodies.
    """

    def __init__(self, url: str, content_type: str) -> None:
        at = urlsplit(url)
        self._address = (at.hostname or "", at.port or 80)
        self._head = f"POST {at.path} HTTP/1.1\r\nHost: {at.netloc}\r\nContent-Type: {content_type}\r\n"
        self._free: deque[_Connection] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self.waits_ms: list[float] = []
        """Of the calls that were answered with 200: from the moment they were due."""

    async def run(self, bodies: Iterable[bytes], rate: int) -> float:
        """Post all, so many a second; gives how long it took until the last answer, s."""
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        for number, body in enumerate(bodies):
            due = started + number / rate
            if (wait_s := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            if len(self._running) >= MOST_CALLS:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
            task = loop.create_task(self._post(body, due))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._running:
            await asyncio.wait(self._running, timeout=DRAIN_S)
        return time.perf_counter() - started

    def close(self) -> None:
        """Close the connections."""
        for each in self._free:
            each.transport.close()

    async def _post(self, body: bytes, due: float) -> None:
        try:
            if self._free:
                connection = self._free.pop()
            else:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, *self._address)
            head = await connection.call(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        except OSError:
            return  # it is missing in the count of answers
        self._free.append(connection)
        if head.startswith(OK):
            self.waits_ms.append((time.perf_counter() - due) * 1000)


class _Connection(asyncio.Protocol):
    """One connection, and the call on it."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def call(self, message: bytes) -> asyncio.Future[bytes]:
        """Send a request; the future has its answer, or the error that ended the connection."""
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._got = b""
        if self.transport.is_closing():
            self._answer.set_exception(ConnectionResetError())
        else:
            self.transport.write(message)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= length and not self._answer.done():
            self._answer.set_result(self._got)

    def connection_lost(self, error: Exception | None) -> None:
        if hasattr(self, "_answer") and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())
