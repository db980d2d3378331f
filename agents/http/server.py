"""The web server of a worker: aiohttp's, with bounds on what a caller may hold and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, cast

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agents.http.problems import Problem

HEAD_S: Final = 5.0
"""Time for the head of a message: its first line and its headers."""
IDLE_S: Final = 75.0
"""A connection without a call is kept for so long; proxies and clients with a pool use it again."""
WRITE_S: Final = 30.0
"""Time for a caller to take an answer."""
SWEEP_S: Final = 0.5
STOP_S: Final = 5.0
"""Calls may take so much longer when the worker stops."""
LOGGED_AT: Final = frozenset(10**power for power in range(9))
"""Numbers of malformed messages that are worth a line: whoever sends them must not fill the disk with it."""
MALFORMED: Final = (HttpProcessingError, aiohttp.ClientPayloadError, web.RequestPayloadError)
Phase = Literal["head", "call", "answer", "idle"]
Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)


class HttpServer:
    """Serves an application on sockets.

    Parameters
    ----------
    app
        The application, with all its routes.
    sockets
        Bound, and not listening yet; the server closes them.
    most
        Connections at once. A further one takes the place of the one that has waited longest without a call. The
        bound is lower where the process may not open twice as many files: Kafka and snapshots need some, too.
    head_s, write_s
        See `HEAD_S`, `WRITE_S`.
    """

    def __init__(
        self,
        app: web.Application,
        sockets: Sequence[socket.socket],
        most: int,
        *,
        head_s: float = HEAD_S,
        write_s: float = WRITE_S,
    ) -> None:
        self._sockets = tuple(sockets)
        self._most = min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._head_s, self._write_s = head_s, write_s
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
        self._connections: dict[Connection, None] = {}
        self._malformed = 0
        self._listening: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        manager = self._runner.server
        assert manager is not None
        manager.request_handler = _watched(manager.request_handler)
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            made = await loop.create_server(lambda: Connection(self, manager, loop), sock=each, backlog=128)
            self._listening.append(made)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Take no more calls, and end those under way within 5 s."""
        for each in self._listening:
            each.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._runner.cleanup()

    # ------------------------------------------------------------------ connections

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in; False when there is no room for it."""
        if len(self._connections) >= self._most:
            waiting = [each for each in self._connections if each.phase in {"head", "idle"}]
            if not waiting:
                return False
            oldest = min(waiting, key=lambda each: each.since)
            self.forget(oldest)
            oldest.abort()
        self._connections[connection] = None
        return True

    def forget(self, connection: Connection) -> None:
        """Count a connection out."""
        self._connections.pop(connection, None)

    def malformed(self, remote: object, error: BaseException | None) -> None:
        """Count a malformed message, and write a line to the log now and then.

        The line repeats nothing of the message, which may hold a token or personal data.
        """
        self._malformed += 1
        if self._malformed in LOGGED_AT:
            log.info(
                "%d malformed HTTP messages were rejected, the last one from %s (%s)",
                self._malformed,
                remote,
                type(error).__name__,
            )

    async def _sweep(self) -> None:
        """Cut off connections whose head never ends or whose caller takes no answer."""
        now = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SWEEP_S)
            for each in list(self._connections):
                waited_s = now() - each.since
                if each.phase == "head" and waited_s > self._head_s:
                    each.cut_head(self._head_s)
                elif waited_s > self._write_s and (each.phase == "answer" or each.closing):
                    each.abort()


class Connection(web.RequestHandler):
    """One connection: aiohttp's, which also knows since when it is in which phase.

    Parameters
    ----------
    server
        Its server.
    manager
        aiohttp's part of it.
    loop
        The event loop.
    """

    __slots__ = ("_body", "_peer", "_server", "_wire", "phase", "since")

    def __init__(self, server: HttpServer, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        # No token and no personal data of a caller comes into the log: aiohttp's access log is off.
        super().__init__(
            manager, loop=loop, keepalive_timeout=IDLE_S, lingering_time=HEAD_S, access_log=cast(Any, None)
        )
        self._server = server
        self._wire: asyncio.Transport | None = None
        self._peer: object = None
        self._body: aiohttp.StreamReader | None = None
        self.phase: Phase = "head"
        self.since = loop.time()

    @property
    def closing(self) -> bool:
        """Whether it is being closed, and the caller has yet to take the rest."""
        return self._wire is not None and self._wire.is_closing()

    def enter(self, phase: Phase, body: aiohttp.StreamReader | None = None) -> None:
        """Go into a phase; `body` is what else of the message will come."""
        self.phase, self.since = phase, self._loop.time()
        if body is not None:
            self._body = body

    def abort(self) -> None:
        """Close at once; what is still to be sent is lost."""
        if self._wire is not None:
            self._wire.abort()

    def cut_head(self, after_s: float) -> None:
        """Close, since the head of a message does not end."""
        detail = f"the head of the message did not arrive within {after_s:g} s"
        self._refuse(Problem(408, "slow_head", detail))

    def _refuse(self, problem: Problem) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.write(problem.message())
        self.enter("answer")
        self.force_close()

    # ------------------------------------------------------------------ what aiohttp calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        self._peer = self._wire.get_extra_info("peername", ("?",))[0]
        if not self._server.admit(self):
            self._refuse(Problem(503, "too_many_connections", "this worker has too many connections"))

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._server.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones after a call are the beginning of the next head."""
        if self.phase == "idle" and data and (self._body is None or self._body.is_eof()):
            self.enter("head")
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer."""
        self.enter("answer")
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self.enter("idle")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a message that is not HTTP, or an error of ours, as a problem."""
        if status == 400 or isinstance(exc, MALFORMED):
            self._server.malformed(self._peer, exc)
            problem = Problem(400, "bad_request", f"the message is not HTTP ({type(exc).__name__})")
        else:
            log.error("a call from %s failed", self._peer, exc_info=exc)
            problem = Problem(500, "internal", "an error inside riverloop; the worker's log has more")
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun already")
        answer = problem.response()
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log an error, but not the trace of one that the caller made."""
        error = kw.get("exc_info")
        if isinstance(error, MALFORMED):
            self._server.malformed(self._peer, error)
        else:
            super().log_exception(*args, **kw)


def _watched(handle: Handle) -> Handle:
    """Tell each call's connection about it; aiohttp's own refusals become problems."""

    async def watched(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.enter("call", request.content)
        try:
            return await handle(request)
        except web.HTTPException as refusal:
            answer = Problem(refusal.status, "bad_request", f"{refusal.reason}").response()
            answer.force_close()
            return answer

    return watched
