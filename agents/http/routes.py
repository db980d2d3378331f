"""The paths of HTTP, on an aiohttp application: Faust's own, or any other."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from agents.http import status
from agents.http.access import AUTHOR, Access
from agents.http.meter import UNMATCHED, HttpMeter
from agents.http.origin import Origins
from agents.http.pages import Pages
from agents.http.prediction_cache import Sends
from agents.http.problems import Problem
from agents.http.route import Handler, Route
from agents.http.task import HttpTask
from agents.settings import Settings

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
