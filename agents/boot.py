"""The part of Faust's start that is ours: the web server, the agents, and nothing of Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faust.app.base import BootStrategy
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
    """Starts no client of Kafka, and our web server where Faust would start its own, before anything is consumed.

    Faust's own has pages of its own, such as `/table/` and `/router/`, and none of our bounds.

    Parameters
    ----------
    app
        Faust's app, made with `web_enabled=False`.
    server
        Our web server; None for an app without one.
    """

    def __init__(self, app: Any, server: HttpServer | None = None) -> None:
        super().__init__(app, enable_kafka=False)
        self._http = server

    def web_server(self) -> Iterable[ServiceT]:
        """Return the web server."""
        return [] if self._http is None else [HttpService(self._http)]
