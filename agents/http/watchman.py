"""Health checks while one step holds the event loop: a thread answers them, and hands everything else on.

A step of a model cannot be cut. While it runs, nothing on the event loop answers, and an orchestrator would take
the worker for dead. So a thread checks whether the loop turns. Only while it does not, the thread accepts
connections itself and looks at what they bring, without taking it: a plain health check is answered, any other
connection goes to the loop with all its bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from agents.http.meter import HttpMeter
from agents.http.origin import Origins
from agents.http.probe import END, MOST_BYTES, Probe, read_probe
from agents.http.problems import CONTENT_TYPE, Problem, dump, message
from agents.http.pulse import Pulse
from agents.http.status import HEALTH
from agents.http.task import HttpTask

if TYPE_CHECKING:
    from agents.http.connection import Connection
    from agents.http.server import HttpServer

LOOK_S: Final = 0.02
"""Interval at which the thread checks whether the loop turns (s)."""
BLOCKED_S: Final = 0.02
"""The loop counts as held when its beat is late by this much."""
PAUSE_S: Final = 0.01
SWITCH_S: Final = 0.001
"""While it answers, a thread that wants the interpreter gets it after this long, not after Python's 5 ms: an answer
takes some eight calls of the system, and the interpreter after each."""
LEAST_ROOM: Final = 16
"""Connections that are looked at although the server has no room: a check is answered even then."""
MOST_WATCHED: Final = 64
"""Connections of the loop that are watched for health checks; those are taken that were used last."""
MOST_BEGUN: Final = 8
"""Checks that come in pieces at once; further ones wait for the loop. Each costs a look every 10 ms."""
log = logging.getLogger(__name__)


class Probes:
    """Answers plain health checks, from any thread.

    Parameters
    ----------
    origins
        Knows under which names this worker is called.
    pulse
        Knows whether the loop is held.
    """

    def __init__(
        self, tasks: Mapping[str, HttpTask], origins: Origins, meter: HttpMeter, pulse: Pulse
    ) -> None:
        self.meter, self.pulse, self._tasks, self._origins = meter, pulse, tasks, origins

    def takes(self, probe: Probe) -> bool:
        """Whether a check names this worker; if not, the web server says why not."""
        return self._origins.knows(probe.host)

    def steps(self) -> tuple[int, ...]:
        """Return a value that stays the same, with an odd number in it, while one step of a batch runs."""
        return tuple(task.turns.steps for task in self._tasks.values())

    def answer(self, probe: Probe, close: bool, blocked_s: float) -> tuple[int, bytes]:
        """Return status and answer to a check.

        Parameters
        ----------
        close
            Whether the connection ends with the answer.
        blocked_s
            For how long one step has held the event loop, s; 0 while it turns.
        """
        headers = {"Connection": "close"} if close else {}
        try:
            status, kind, data = 200, "application/json", HEALTH[probe.path](self._tasks, blocked_s)
        except Problem as problem:
            status, kind, data = problem.status, CONTENT_TYPE, problem.data()
            headers |= problem.headers
        reply = message(status, dump(data), headers | {"Content-Type": kind})
        return status, reply if probe.body else reply[: reply.index(END) + len(END)]


@dataclass(slots=True, eq=False)
class _Caller:
    """A connection that is looked at."""

    wire: socket.socket
    """Its socket; for one of the loop a duplicate of it."""
    at_start: Callable[[], bool] | None = None
    """Whether the loop has read nothing yet of the next message; None for one that was accepted here."""
    connection: Connection | None = None
    """The loop's; None for one that is not yet one."""
    begun: bool = False
    """Whether it has brought the beginning of a check."""


class Watchman:
    """Answers health checks while the event loop is held.

    Parameters
    ----------
    server
        The web server: it takes all that is no plain health check.
    listening
        The sockets that the server listens on.
    probes
        Answers.
    """

    def __init__(self, server: HttpServer, listening: Sequence[socket.socket], probes: Probes) -> None:
        self._server, self._listening, self._probes = server, listening, probes
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchman", daemon=True)
        self._callers: dict[_Caller, None] = {}
        self._selector: selectors.BaseSelector
        probes.pulse.start()
        self._thread.start()

    def stop(self) -> None:
        """End; the server has all connections then."""
        self._ended.set()
        self._probes.pulse.stop()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            if self._blocked():
                try:
                    self._stand_in()
                except Exception:
                    log.exception("cannot answer health checks while the event loop is blocked")

    def _blocked(self) -> bool:
        return self._probes.pulse.blocked_s() > BLOCKED_S and not self._ended.is_set()

    def _stand_in(self) -> None:
        """Answer until the loop turns again; then it gets all connections that are left."""
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            with selectors.DefaultSelector() as self._selector:
                for each in self._listening:
                    self._selector.register(each, selectors.EVENT_READ, partial(self._accept, each))
                for connection in self._server.quiet(MOST_WATCHED):
                    wire = connection.duplicate()
                    if wire is not None:
                        self._add(_Caller(wire, partial(getattr, connection, "at_start"), connection))
                for wire, is_coming in self._server.coming():
                    self._add(_Caller(wire, is_coming))
                while self._blocked():
                    for key, _ in self._selector.select(PAUSE_S):
                        key.data()
                    for caller in [each for each in self._callers if each.begun][:MOST_BEGUN]:
                        self._look(caller)
        finally:
            sys.setswitchinterval(interval_s)
            for caller in list(self._callers):
                self._hand_on(caller)

    # ------------------------------------------------------------------ callers

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the loop, or nobody, has it; or the process has no files left
            wire, _ = listening.accept()
            wire.setblocking(False)
            caller = _Caller(wire)
            self._add(caller)
            own = [each for each in self._callers if each.at_start is None]
            if len(own) > max(self._server.room(), LEAST_ROOM):
                # As the server has it: a newcomer takes the place of the one that has waited longest.
                self._close(own[0])
            self._look(caller)

    def _add(self, caller: _Caller) -> None:
        self._callers[caller] = None
        self._selector.register(caller.wire, selectors.EVENT_READ, partial(self._look, caller))

    def _drop(self, caller: _Caller) -> None:
        del self._callers[caller]
        with contextlib.suppress(KeyError):
            self._selector.unregister(caller.wire)

    def _close(self, caller: _Caller) -> None:
        self._drop(caller)
        caller.wire.close()

    def _hand_on(self, caller: _Caller) -> None:
        """Leave a connection to the loop."""
        self._drop(caller)
        if caller.at_start is not None or not self._server.take(caller.wire):
            caller.wire.close()

    def _look(self, caller: _Caller) -> None:
        """Look at what a connection has brought."""
        if caller not in self._callers:  # it has gone since the selector named it
            return
        wire = caller.wire
        started, steps = time.monotonic(), self._probes.steps()
        # The loop may turn again at any moment, and have taken the beginning of a message of which this is the
        # rest. It has not if the same step runs before and after.
        at_start, own = caller.at_start, caller.at_start is None
        sure = at_start is None or (any(number % 2 for number in steps) and at_start())
        try:
            data = wire.recv(MOST_BYTES + 1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        sure = sure and (own or steps == self._probes.steps())
        probe = read_probe(data) if data and sure else None
        if not data and own:
            self._close(caller)
        elif probe == "partial":
            if not caller.begun:
                caller.begun = True
                self._selector.unregister(wire)  # it stays readable: looked at now and then
        elif probe is None or not self._probes.takes(probe):
            self._hand_on(caller)
        else:
            self._answer(caller, probe, data, started)

    def _answer(self, caller: _Caller, probe: Probe, data: bytes, started: float) -> None:
        """Answer a check, unless the loop has taken it after all."""
        wire, connection = caller.wire, caller.connection
        try:
            taken = wire.recv(len(data))
        except OSError:
            taken = b""
        if not taken:
            self._hand_on(caller)
            return
        # One that was accepted here, or has never been answered, is not in the server's account of idle ones.
        close = probe.close or connection is None or connection.phase == "head"
        status, reply = self._probes.answer(probe, close, self._probes.pulse.blocked_s())
        try:
            # Something else: the loop has taken the check, and the caller sent more before it had an answer.
            whole = taken == data and wire.send(reply) == len(reply)
        except OSError:
            whole = False
        took_s = time.monotonic() - started
        self._call(partial(self._probes.meter.add, probe.path, status, took_s))
        if whole and not close:
            if caller.begun:
                caller.begun = False
                self._selector.register(wire, selectors.EVENT_READ, partial(self._look, caller))
            return
        with contextlib.suppress(OSError):
            wire.shutdown(socket.SHUT_WR)
        if connection is not None:
            self._call(connection.abort)
        self._close(caller)

    def _call(self, function: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(function)
