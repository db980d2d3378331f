"""What answers at the paths of HTTP: the worker, its tasks, and each task."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from aiohttp import web

from agents.http import status
from agents.http.access import AUTHOR
from agents.http.api_pages import ApiPages
from agents.http.body import BodyReader, single_or_list
from agents.http.clients import Waits, client_of
from agents.http.commands import ModelCommands
from agents.http.group_lag import GroupLag
from agents.http.live import LivePage
from agents.http.live_feed import LiveFeed
from agents.http.meter import HttpMeter
from agents.http.metrics import exporter
from agents.http.origin import Origins
from agents.http.outcomes import Outcomes
from agents.http.per_task import PerTask, task_of
from agents.http.prediction_cache import Sends
from agents.http.predictions import Predictions
from agents.http.problems import HEADERS, answer, dump
from agents.http.pulse import Pulse
from agents.http.requests import RequestAudits
from agents.http.route import Route
from agents.http.task import HttpTask
from agents.http.traced import traced
from agents.http.watchman import Probes
from agents.settings import Settings
from infra.commands import Commands
from infra.exporter import CONTENT_TYPE
from infra.snapshots.store import SnapshotStore


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
        predictions, headers = self._predictions.of(request), traced(request)
        body = await self.bodies.read(request)
        return answer(*single_or_list(body, await predictions.answer(body.records, headers), 200))

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
    return Predictions(task.settings, task.readiness, *shared, task.lookups, task.shared, task.awaited)


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
