"""The part of Faust's start that is ours: which services run, the web server among them, and no tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from mode import Service
from mode.types import ServiceT

from agents.http.server import HttpServer


class HttpService(Service):  # type: ignore[misc]  # mode has no types
    """Runs the web server for as long as the worker runs.

    Parameters
    ----------
    server
        The server, with all its routes.
    """

    def __init__(self, server: HttpServer, **options: Any) -> None:
        super().__init__(**options)
        self._http = server

    async def on_start(self) -> None:
        """Listen."""
        await self._http.start()

    async def on_stop(self) -> None:
        """Take no more calls, and end those under way."""
        await self._http.stop()


class Boot(BootStrategy):  # type: ignore[misc]  # Faust has no types
    """Starts our web server where Faust would start its own, before anything is consumed.

    Faust's own has pages of its own, such as `/table/` and `/router/`, and none of our bounds.

    Parameters
    ----------
    app
        Faust's app, made with `web_enabled=False`.
    server
        Our web server.
    """

    def __init__(self, app: Any, server: HttpServer) -> None:
        super().__init__(app)
        self._http = server

    def web_server(self) -> Iterable[ServiceT]:
        """Give the web server."""
        return [HttpService(self._http)]


class NoTables(TableManager):  # type: ignore[misc]  # Faust has no types
    """Faust's table manager without its start-up delay of a second: riverloop declares no tables."""

    async def on_start(self) -> None:
        """Let the consumer subscribe at once."""
        await self._update_channels()
        await self.recovery.start()
