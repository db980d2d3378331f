"""The live page's paths: the page, its files, its state, and the stream of what changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from agents.http.clients import Streams, client_of
from agents.http.listeners import Listener
from agents.http.live_feed import LiveFeed
from agents.http.problems import HEADERS, Problem, answer, dump
from agents.http.route import Route
from agents.http.task import HttpTask
from infra.web.assets import PAGE, assets

MOST_LISTENERS: Final = 100
"""Streams that a worker has open at once."""
WRITE_S: Final = 30.0
"""Who does not take a message for so long is gone."""
RETRY_MS: Final = 1_000
"""When a browser connects again."""
REPLACED_RETRY_MS: Final = 30_000
"""When it does so after another page took its place, lest they take it from each other by turns."""
SAFE: Final = HEADERS | {
    # Nothing but the worker's own files; no script and no style within the page.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
log = logging.getLogger(__name__)


class LivePage:
    """The paths of the live page; they only read, and require no token.

    Parameters
    ----------
    feed
        Gives the feed of the task that a request names, or raises `Problem`.
    per_client
        Streams that one client may have open at once.
    """

    def __init__(
        self, feed: Callable[[web.Request], LiveFeed], tasks: Mapping[str, HttpTask], per_client: int
    ) -> None:
        self._feed, self._tasks = feed, tasks
        self.streams = Streams(MOST_LISTENERS, per_client)
        self._assets = assets()

    def routes(self) -> tuple[Route, ...]:
        """Return the paths."""
        return (
            Route("GET", "/", self.first),
            Route("GET", "/assets/{name:.+}", self.asset),
            Route("GET", "/tasks/{task}/live", self.page),
            Route("GET", "/tasks/{task}/live/state", self.state),
            Route("GET", "/tasks/{task}/live/events", self.events, endless=True),
        )

    async def first(self, request: web.Request) -> web.Response:
        """Lead to the page of the first task."""
        if not self._tasks:
            raise Problem(503, "not_ready", "no task is running yet")
        headers = SAFE | {"Location": f"/tasks/{next(iter(self._tasks))}/live"}
        return web.Response(status=302, headers=headers)

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Return the page, which is the same for every task."""
        self._feed(request)
        return _file(PAGE, "text/html; charset=utf-8")

    async def asset(self, request: web.Request) -> web.StreamResponse:
        """Return one of the page's files."""
        found = self._assets.get(request.match_info["name"])
        if found is None:
            raise Problem(404, "unknown_path", f"{request.path[:200]} does not exist")
        return _file(found[0], f"{found[1]}; charset=utf-8")

    async def state(self, request: web.Request) -> web.Response:
        """Return what the page shows now, but for the history."""
        feed = self._feed(request)
        await feed.wake()
        return answer(dump(feed.view.state()))

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Send the whole state, and then what changes, until either side ends it."""
        feed, client = self._feed(request), client_of(request)
        listener = feed.listener()
        self.streams.make_room(client)
        self.streams.add(listener, client)
        try:
            return await self._stream(request, feed, listener)
        finally:
            self.streams.discard(listener)
            feed.listeners.discard(listener)

    async def _stream(self, request: web.Request, feed: LiveFeed, listener: Listener) -> web.StreamResponse:
        await feed.listen(listener)
        stream = web.StreamResponse(headers=SAFE | {"Content-Type": "text/event-stream"})
        try:
            await stream.prepare(request)
            await stream.write(f"retry: {RETRY_MS}\n\n".encode())
            while (message := await listener.get()) is not None:
                async with asyncio.timeout(WRITE_S):
                    await stream.write(message)
            if listener.replaced:
                await stream.write(f"retry: {REPLACED_RETRY_MS}\n\n".encode())
        except (ConnectionError, TimeoutError):
            log.debug("a live page of %s disconnected", feed.context.task.name)
        return stream


def _file(path: object, kind: str) -> web.FileResponse:
    # Asked for again each time, and answered with 304 while it is the same: a new release shows at once.
    return web.FileResponse(str(path), headers=SAFE | {"Content-Type": kind, "Cache-Control": "no-cache"})
