"""One connection of the web server: aiohttp's, which also knows since when it is in which phase."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from agents.http.probe import Probe, read_probe
from agents.http.problems import Problem

if TYPE_CHECKING:
    from agents.http.server import HttpServer

HEAD_S: Final = 5.0
"""Time for the head of a message: its first line and its headers."""
IDLE_S: Final = 75.0
"""A connection without a call is kept for so long; proxies and clients with a pool use it again."""
TOO_MANY: Final = Problem(
    503, "too_many_connections", "this worker has no free connection: retry, or use another worker"
)
MALFORMED: Final = (HttpProcessingError, aiohttp.ClientPayloadError, web.RequestPayloadError)
Phase = Literal["head", "call", "answer", "idle"]
WAITING: Final = frozenset({"head", "idle"})
"""Phases without a call."""
log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One connection: aiohttp's, which also knows since when it is in which phase.

    Parameters
    ----------
    manager
        aiohttp's part of it.
    """

    __slots__ = ("_begun", "_body", "_only_probes", "_peer", "_server", "_wire", "phase", "since")

    def __init__(self, server: HttpServer, manager: web.Server, loop: asyncio.AbstractEventLoop) -> None:
        # No token and no personal data of a caller comes into the log: aiohttp's access log is off.
        super().__init__(
            manager, loop=loop, keepalive_timeout=IDLE_S, lingering_time=HEAD_S, access_log=cast(Any, None)
        )
        self._server = server
        self._wire: asyncio.Transport | None = None
        self._peer: object = None
        self._body: aiohttp.StreamReader | None = None
        self._begun = False
        """Whether anything of the next message has come."""
        self._only_probes = True
        """Whether nothing but plain health checks has come, one at a time."""
        self.phase: Phase = "head"
        self.since = loop.time()

    @property
    def closing(self) -> bool:
        """Whether it is being closed, and the caller has yet to take the rest."""
        return self._wire is not None and self._wire.is_closing()

    @property
    def at_start(self) -> bool:
        """Whether a message may begin next, on a connection that has brought nothing but health checks.

        Others are never watched: what looks like a check may be a part of a body, or may come behind other calls.
        """
        return self._only_probes and not self._begun and self.phase in WAITING and not self.closing

    def duplicate(self) -> socket.socket | None:
        """Return another socket of the same connection; None when it has ended."""
        if self._wire is None or self._wire.is_closing() or self._wire.get_write_buffer_size():
            return None
        try:
            return cast(socket.socket, self._wire.get_extra_info("socket").dup())
        except OSError:
            return None

    def enter(self, phase: Phase, body: aiohttp.StreamReader | None = None) -> None:
        """Go into a phase; `body` is what else of the message will come."""
        self.phase, self.since = phase, self._loop.time()
        if phase == "idle":
            self._begun = False
        if body is not None:
            self._body = body

    def abort(self) -> None:
        """Close at once; what is still to be sent is lost."""
        if self._wire is not None:
            self._wire.abort()

    def cut_head(self, after_s: float) -> None:
        """Close, since the head of a message does not end."""
        detail = f"the HTTP headers did not arrive within {after_s:g} s"
        self._reject(Problem(408, "slow_head", detail))

    def _reject(self, problem: Problem) -> None:
        if self._wire is not None and not self._wire.is_closing():
            self._wire.write(problem.message())
        self.enter("answer")
        self.force_close()

    # ------------------------------------------------------------------ what aiohttp calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        super().connection_made(transport)
        self._wire = cast(asyncio.Transport, transport)
        self._server.came(self._wire.get_extra_info("socket").fileno())
        self._peer = self._wire.get_extra_info("peername", ("?",))[0]
        if not self._server.admit(self):
            self._reject(TOO_MANY)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        self._server.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones after a call are the beginning of the next head."""
        if self._only_probes and data:
            probe = None if self._begun else read_probe(data)
            self._only_probes = isinstance(probe, Probe)
            if isinstance(probe, Probe) and self.at_start and self._answer(probe):
                return
            self._begun = True
        if self.phase == "idle" and data and (self._body is None or self._body.is_eof()):
            self.enter("head")
        super().data_received(data)

    def _answer(self, probe: Probe) -> bool:
        """Answer a plain check at once: aiohttp would need some turns of the loop, and a step may be next."""
        probes, wire = self._server.probes, self._wire
        if probes is None or wire is None or not probes.takes(probe):
            return False
        if wire.get_write_buffer_size():  # the caller takes no answers: aiohttp waits until it does
            return False
        status, reply = probes.answer(probe, probe.close, 0.0)
        probes.meter.add(probe.path, status, 0.0)
        wire.write(reply)
        self.enter("answer" if probe.close else "idle")
        if probe.close:
            wire.close()
        return True

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
            problem = Problem(500, "internal", "internal error; see the worker's log")
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
