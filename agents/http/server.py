"""The web server of a worker: aiohttp's, with bounds on what a caller may hold and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, cast

from aiohttp import web

from agents.http.connection import HEAD_S, IDLE_S, TOO_MANY, WAITING, Connection
from agents.http.problems import Problem
from agents.http.watchman import Probes, Watchman

WRITE_S: Final = 30.0
"""Time for a caller to take an answer."""
SWEEP_S: Final = 0.5
BACKLOG: Final = 128
ACCEPT_S: Final = 1.0
"""A process without free descriptors tries to accept connections again after this time."""
STOP_S: Final = 5.0
"""Calls may take so much longer when the worker stops."""
LOGGED_AT: Final = frozenset(10**power for power in range(9))
"""Numbers of malformed messages that are worth a line: whoever sends them must not fill the disk with it."""
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
    probes
        Answers plain health checks, also while the event loop is held; None: they are calls as all others.
    """

    def __init__(
        self,
        app: web.Application,
        sockets: Sequence[socket.socket],
        most: int,
        probes: Probes | None = None,
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
        self._sweeper: asyncio.Task[None] | None = None
        self.probes, self._watchman = probes, cast(Watchman | None, None)
        self._taking: set[asyncio.Task[Any]] = set()
        self._coming: dict[int, socket.socket] = {}
        """By descriptor: what is accepted, and no connection of the loop yet."""

    def __len__(self) -> int:
        return len(self._connections)

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        manager = self._runner.server
        assert manager is not None
        manager.request_handler = _watched(manager.request_handler)
        self._loop = loop = asyncio.get_running_loop()
        self._protocol = lambda: Connection(self, manager, loop)
        for each in self._sockets:
            each.setblocking(False)
            each.listen(BACKLOG)
            self._listen(each)
        self._sweeper = asyncio.create_task(self._sweep())
        if self.probes is not None:
            self._watchman = Watchman(self, self._sockets, self.probes)

    async def stop(self) -> None:
        """Take no more calls, and end those under way within 5 s."""
        if self._watchman is not None:
            self._watchman.stop()
            await asyncio.sleep(0)
            await asyncio.gather(*self._taking)
        for each in self._sockets:
            if each.fileno() >= 0:
                self._loop.remove_reader(each)
                each.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._runner.cleanup()

    # ------------------------------------------------------------------ connections

    def came(self, number: int) -> None:
        """Note that what was accepted under a descriptor is a connection now, or has gone."""
        self._coming.pop(number, None)

    def admit(self, connection: Connection) -> bool:
        """Count a new connection in; False when there is no room for it."""
        if len(self._connections) >= self._most:
            waiting = [each for each in self._connections if each.phase in WAITING]
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

    def _listen(self, listening: socket.socket) -> None:
        if listening.fileno() >= 0:
            self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        # Not by `create_server`: from its accepting a connection to its first call it is known to nobody.
        for _ in range(BACKLOG):
            try:
                wire, _ = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # the watchman, or nobody, has it
                return
            except OSError as error:
                log.warning("cannot accept connections, retrying in %g s: %s", ACCEPT_S, error)
                self._loop.remove_reader(listening)
                self._loop.call_later(ACCEPT_S, self._listen, listening)
                return
            wire.setblocking(False)
            self._coming[wire.fileno()] = wire
            self._take(wire)

    # ------------------------------------------------------------------ for the watchman, in its thread

    def room(self) -> int:
        """Return for how many more connections there is room: those without a call make it."""
        return self._most - sum(each.phase not in WAITING for each in list(self._connections))

    def quiet(self, most: int) -> list[Connection]:
        """Return connections that may bring a health check next, those used last."""
        found = [each for each in list(self._connections) if each.at_start]
        return sorted(found, key=lambda each: -each.since)[:most]

    def coming(self) -> list[tuple[socket.socket, Callable[[], bool]]]:
        """Return what is accepted and no connection yet, as duplicates; each with what says whether that holds."""
        found: list[tuple[socket.socket, Callable[[], bool]]] = []
        for number, wire in list(self._coming.items()):
            with contextlib.suppress(OSError):
                found.append((wire.dup(), partial(self._is_coming, number, wire)))
        return found

    def _is_coming(self, number: int, wire: socket.socket) -> bool:
        return self._coming.get(number) is wire

    def take(self, wire: socket.socket) -> bool:
        """Take a connection over, with what has come on it, once the loop turns; False: no room, or the end."""
        if len(self._coming) >= self.room():
            with contextlib.suppress(OSError):
                wire.send(TOO_MANY.message())
            return False
        self._coming[wire.fileno()] = wire
        try:
            self._loop.call_soon_threadsafe(self._take, wire)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _take(self, wire: socket.socket) -> None:
        taking = self._loop.create_task(self._accepted(wire))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)

    async def _accepted(self, wire: socket.socket) -> None:
        number = wire.fileno()
        try:
            await self._loop.connect_accepted_socket(self._protocol, wire)
        except OSError:  # the caller has gone
            self.came(number)
            wire.close()

    # ------------------------------------------------------------------ bounds

    def malformed(self, remote: object, error: BaseException | None) -> None:
        """Count a malformed message, and write a line to the log now and then.

        The line repeats nothing of the message, which may hold a token or personal data.
        """
        self._malformed += 1
        if self._malformed in LOGGED_AT:
            log.info(
                "rejected %d malformed HTTP messages, the last one from %s (%s)",
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
                elif each.phase == "idle" and waited_s > IDLE_S + HEAD_S:
                    each.abort()  # aiohttp, which ends idle ones, has never seen a call on it


def _watched(handle: Handle) -> Handle:
    """Tell each call's connection about it; aiohttp's own rejections become problems."""

    async def watched(request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.enter("call", request.content)
        try:
            return await handle(request)
        except web.HTTPException as rejection:
            answer = Problem(rejection.status, "bad_request", f"{rejection.reason}").response()
            answer.force_close()
            return answer

    return watched
