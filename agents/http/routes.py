"""The paths of HTTP, on an aiohttp application: Faust's own, or any other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from agents.http import status
from agents.http.access import AUTHOR, Access
from agents.http.api_pages import ApiPages
from agents.http.body import BodyReader, single_or_list
from agents.http.clients import Waits, client_of
from agents.http.commands import ModelCommands
from agents.http.group_lag import GroupLag
from agents.http.live import LivePage
from agents.http.live_feed import LiveFeed
from agents.http.meter import UNMATCHED, HttpMeter
from agents.http.metrics import exporter
from agents.http.origin import Origins
from agents.http.outcomes import Outcomes
from agents.http.per_task import PerTask, task_of
from agents.http.prediction_cache import Sends
from agents.http.predictions import Predictions
from agents.http.problems import HEADERS, Problem, answer, dump
from agents.http.pulse import Pulse
from agents.http.requests import RequestAudits
from agents.http.route import Handler, Route
from agents.http.task import HttpTask
from agents.http.watchman import Probes
from agents.settings import Settings
from infra.commands import Commands
from infra.exporter import CONTENT_TYPE
from infra.snapshots.store import SnapshotStore

TIME_BOUND_S: Final = 10.0
"""A call takes no longer, and its body half of it; a look that waits takes as long as it asks for on top."""
GONE: Final = 499
"""The status that is counted where the caller did not wait for the answer."""
log = logging.getLogger(__name__)


def add_routes(
    app: web.Application,
    tasks: Mapping[str, HttpTask],
    writer: Sends,
    settings: Settings,
    *,
    time_bound_s: float = TIME_BOUND_S,
) -> Pages:
    """Add all paths to an application that has not started.

    Parameters
    ----------
    app
        The web application. A miss of its router, too, is then answered as a problem.
    tasks
        The tasks by name; read at each call, so tasks may be added later.
    settings
        Bounds: `max_body`, `max_list`, `live_pages_per_client`; tokens: `http_token`, `serve_token`; from where
        calls may come: `http_host`, `http_hosts`, `http_origins`.
    time_bound_s
        How long a call may take, in s.

    Returns
    -------
    Pages
        The handlers, which are to be stopped with the worker.
    """
    pages, access = Pages(tasks, writer, settings, time_bound_s), Access(settings)
    origins = pages.origins
    for route in pages.routes():
        guarded = _measured(route, pages.meter, _guarded(route, access, time_bound_s))
        if route.method == "GET":
            app.router.add_get(route.path, guarded)
        else:
            app.router.add_route(route.method, route.path, guarded)
    app.middlewares.append(_edge(origins, pages.meter))

    async def share(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(origins.shared(request))

    if settings.http_origins:
        app.on_response_prepare.append(share)

    async def close(app: web.Application) -> None:
        pages.bodies.close()

    app.on_cleanup.append(close)
    return pages


class Pages:
    """What answers at the paths.

    Attributes
    ----------
    origins
        The origins from which calls may come.
    probes
        Answers health checks while the event loop is blocked.
    """

    def __init__(
        self, tasks: Mapping[str, HttpTask], writer: Sends, settings: Settings, time_bound_s: float
    ) -> None:
        self._served = tasks
        self.bodies = BodyReader(settings.max_body, settings.max_list, time_bound_s / 2)
        self.meter, self.pulse = HttpMeter(), Pulse()
        self.origins = Origins(settings)
        self.probes = Probes(tasks, self.origins, self.meter, self.pulse)
        self._exporter = exporter(tasks, self.meter, self.pulse)
        self._waits, self._api = Waits(), ApiPages(tasks)
        self._predictions = PerTask(tasks, partial(_predictions, writer))
        self._outcomes = PerTask(tasks, partial(_outcomes, writer))
        self._commands = PerTask(tasks, partial(_commands, writer))
        self._digests = PerTask(tasks, _digests)
        self._audits = PerTask(tasks, RequestAudits)
        self._feeds = PerTask(tasks, _live_feed)
        self.live_page = LivePage(self._feeds.of, tasks, settings.live_pages_per_client)

    def stop(self) -> None:
        """Write the counts of requests and end the streams: the worker stops."""
        for predictions in self._predictions:
            predictions.flush()
        for feed in self._feeds:
            feed.close()
        for audits in self._audits:
            audits.close()

    def routes(self) -> tuple[Route, ...]:
        """Return all paths; `docs/reference/openapi.json` describes them."""
        return (
            *(Route("GET", path, self.health) for path in status.HEALTH),
            Route("GET", "/metrics", self.metrics),
            Route("GET", "/tasks", self.tasks),
            Route("POST", "/tasks/{task}/predictions", self.predict, True, "serve_token"),
            Route("GET", "/tasks/{task}/predictions/{request_id:.+}", self.look_up, needs="serve_token"),
            Route("GET", "/tasks/{task}/requests/{request_id:.+}", self.trace, needs="any_token"),
            Route("POST", "/tasks/{task}/outcomes", self.report, True, "http_token"),
            Route("GET", "/tasks/{task}/models", self.models),
            Route("POST", "/tasks/{task}/commands", self.command, True, "http_token"),
            Route("GET", "/tasks/{task}/versions", self.versions),
            Route("GET", "/tasks/{task}/status", self.status),
            Route("GET", "/tasks/{task}/digests", self.digests),
            *self.live_page.routes(),
            *self._api.routes(),
        )

    # ------------------------------------------------------------------ the worker

    async def health(self, request: web.Request) -> web.Response:
        """Say whether the process is alive, or whether its tasks may answer."""
        return answer(dump(status.HEALTH[request.path](self._served, 0.0)))

    async def metrics(self, request: web.Request) -> web.Response:
        """Return the page for Prometheus."""
        return web.Response(body=self._exporter.page(), headers=HEADERS | {"Content-Type": CONTENT_TYPE})

    async def tasks(self, request: web.Request) -> web.Response:
        """List the tasks."""
        return answer(dump(status.tasks(self._served)))

    # ------------------------------------------------------------------ one task

    async def predict(self, request: web.Request) -> web.Response:
        """Answer one request or a list."""
        predictions = self._predictions.of(request)
        body = await self.bodies.read(request)
        return answer(*single_or_list(body, await predictions.answer(body.records), 200))

    async def look_up(self, request: web.Request) -> web.Response:
        """Return an earlier answer."""
        return answer(await self._predictions.of(request).look_up(request.match_info["request_id"]))

    async def trace(self, request: web.Request) -> web.Response:
        """Return what became of a request."""
        audits = self._audits.of(request)
        return answer(dump(await audits.find(request.match_info["request_id"])))

    async def report(self, request: web.Request) -> web.Response:
        """Take one outcome or a list."""
        outcomes = self._outcomes.of(request)
        body = await self.bodies.read(request)
        return answer(*single_or_list(body, await outcomes.accept(body.records), 202))

    async def models(self, request: web.Request) -> web.Response:
        """Return which models answer."""
        return answer(dump(self._commands.of(request).roles()))

    async def command(self, request: web.Request) -> web.Response:
        """Ask for a command of models."""
        commands = self._commands.of(request)
        status_code, found = await commands.ask(await self.bodies.read(request), request[AUTHOR])
        return answer(dump(found), status_code)

    async def versions(self, request: web.Request) -> web.Response:
        """Return the versions, and wait for progress if asked to."""
        task = task_of(self._served, request)
        if "wait_s" not in request.query:
            return answer(dump(await status.versions(task, request.query)))
        with self._waits.hold(client_of(request)):
            return answer(dump(await status.versions(task, request.query)))

    async def status(self, request: web.Request) -> web.Response:
        """Return what a page about the task shows."""
        cached = len(self._predictions.of(request).cache)
        return answer(dump(status.status(task_of(self._served, request), cached)))

    async def digests(self, request: web.Request) -> web.Response:
        """Return the digests of the models' states."""
        turns = task_of(self._served, request).turns
        return answer(dump(await turns.apart(self._digests.of(request).give)))


def _predictions(writer: Sends, task: HttpTask) -> Predictions:
    shared = (task.context, task.server, task.subjects, task.statistics, task.turns, writer)
    return Predictions(task.settings, task.readiness, *shared, task.lookups, task.shared)


def _commands(writer: Sends, task: HttpTask) -> ModelCommands:
    settings = task.settings

    def store() -> SnapshotStore:
        return SnapshotStore(settings.snapshot_uri, settings.snapshot_key.encode() or None)

    return ModelCommands(task.context, task.readiness, task.server, settings.group, writer, store)


def _outcomes(writer: Sends, task: HttpTask) -> Outcomes:
    return Outcomes(task.context, task.server, task.subjects, task.statistics, task.turns, writer)


def _digests(task: HttpTask) -> status.Digests:
    return status.Digests(task.context.task.name, task.readiness, task.server)


def _live_feed(task: HttpTask) -> LiveFeed:
    context, lag = task.context, GroupLag(task.context, task.current).fetch
    knows = (context, task.settings, task.readiness, task.server, task.statistics, task.status)
    return LiveFeed(*knows, lag, live=Commands(context.connection, context.codec, context.group).live)


def _guarded(route: Route, access: Access, time_bound_s: float) -> Handler:
    """Ask for a token, before anything of the body is read; bound a handler in time; answer errors as problems."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            request[AUTHOR] = access.check(request, route.needs)
            waits_s = 0.0 if route.changes else status.MAX_WAIT_S
            async with asyncio.timeout(None if route.endless else time_bound_s + waits_s):
                return await route.handler(request)
        except Problem as problem:
            return problem.response()
        except TimeoutError:
            detail = f"the call took longer than {time_bound_s:g} s: retry with the same request_id"
            return Problem(503, "time_out", detail).response()
        except ConnectionError:
            # The caller is gone: nobody reads an answer.
            raise
        except Exception:
            log.exception("%s %s failed", request.method, route.path)
            return Problem(500, "internal", "internal error; see the worker's log").response()

    return guarded


def _measured(route: Route, meter: HttpMeter, handler: Handler) -> Handler:
    """Count a handler's calls; one whose caller has gone before the answer counts as 499, as nginx has it."""

    async def measured(request: web.Request) -> web.StreamResponse:
        started, status_code = time.monotonic(), GONE
        try:
            response = await handler(request)
            status_code = response.status
            return response
        finally:
            meter.add(route.path, status_code, None if route.endless else time.monotonic() - started)

    return measured


def _edge(origins: Origins, meter: HttpMeter) -> Middleware:
    """Turn away calls from where none may come; answer what the router does not find as a problem, too."""

    def turned_away(problem: Problem) -> web.Response:
        meter.add(UNMATCHED, problem.status, None)
        return problem.response()

    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            origins.check(request)
        except Problem as problem:
            return turned_away(problem)
        miss = request.match_info.http_exception
        if isinstance(miss, web.HTTPMethodNotAllowed):
            allowed = ", ".join(sorted(miss.allowed_methods))
            if (preflight := origins.preflight(request, allowed)) is not None:
                return preflight
            detail = f"{request.path[:200]} does not allow {request.method[:20]}; it allows {allowed}"
            return turned_away(Problem(405, "wrong_method", detail, headers={"Allow": allowed}))
        if isinstance(miss, web.HTTPNotFound):
            detail = f"{request.path[:200]} does not exist; GET /tasks lists the worker's tasks"
            return turned_away(Problem(404, "unknown_path", detail))
        return await handler(request)

    return edge
