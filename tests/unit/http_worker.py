"""A worker's HTTP for tests: real tasks and models, a client that holds every reply against openapi.json."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it has no types
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from river import linear_model, optim, preprocessing

from agents.http.pages import Pages
from agents.http.routes import add_routes
from agents.http.task import HttpTask
from agents.settings import Settings
from infra.kafka.acknowledging import Acknowledging
from infra.kafka.connection import Connection
from infra.kafka.transaction import OutRecord
from infra.kafka.writer import Delivery
from infra.snapshots.store import SnapshotStore
from infra.store.restore import JoinStores
from infra.subjects import Subjects
from infra.task.context import TaskContext
from infra.task.join import JoinAgent
from infra.task.log_fold import LogFold
from infra.task.readiness import Readiness
from infra.task.resume import Resume
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from infra.taskfile import LoadedTask
from infra.turns import Turns
from infra.worker_views import Lag, LocalState
from schemas.codec import Codec
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import BrokerError
from schemas.records import Entry, Position
from schemas.topics import TaskTopics
from streams.fold import Measurement
from streams.join.join_rules import JoinRules
from streams.model import ModelFold
from streams.select import Select
from streams.serve import Server
from streams.task import Task
from streams.task_model import Model

OPENAPI = json.loads((Path(__file__).parents[2] / "docs/reference/openapi.json").read_text())
SECRET = "Ada-Lovelace-1815"
FEATURES = {"LeadTime": 12, "Rate": 80.5, "Meal": "BB"}
SENT: dict[str, Any] = {"request_id": "b-1", "ts": 1_700_000_000_000, "features": FEATURES}
TOLD: dict[str, Any] = {"request_id": "b-1", "ts": 1_700_000_000_000, "value": True}


def logistic_regression() -> Any:
    return (
        Select("LeadTime", "Rate")
        | preprocessing.StandardScaler()
        | linear_model.LogisticRegression(optim.SGD(0.01))
    )


def make_task(name: str) -> Task:
    return Task(
        name=name,
        question="Will this booking be cancelled?",
        features=Dictionary(
            Integer(name="LeadTime", unit="days", low=0, high=800, on_range="reject"),
            Number(name="Rate", unit="EUR", low=0, optional=True),
            Category(name="Meal", missing="NA", levels=("BB", "HB"), on_new_level="reject"),
            Category(name="Guest", optional=True, personal_data="tokenised"),
        ),
        horizon=timedelta(days=30),
        models=(Model("lr", logistic_regression), Model("other", logistic_regression)),
    )


@dataclass
class LocalStatus:
    """The status of a worker that has no join and does not own the log."""

    lag: Lag = field(default_factory=Lag)
    local: LocalState = field(default_factory=LocalState)

    def local_state(self) -> LocalState:
        return self.local

    def measurements(self) -> Sequence[Measurement]:
        return ()

    def details(self) -> dict[str, Any]:
        return {}


def make_http_task(
    name: str = "stay",
    settings: Settings | None = None,
    connection: Connection | None = None,
    *,
    partitions: int = 2,
    ready: bool = True,
    slot: str = "",
    codec: Codec | None = None,
    task: Task | None = None,
) -> HttpTask:
    """Make what a worker has of a task once its models are active."""
    task = task or make_task(name)
    folds = [ModelFold(task, model, "runtime") for model in task.models]
    for offset, fold in enumerate(folds):
        opening = Entry(f"{name}/{fold.model.name}/revision/1", "command", 0, command=fold.opening())
        for each in folds:
            each.apply(offset, opening)
    context = TaskContext(
        LoadedTask(task, f"{name}.py", Path(), ()),
        connection or Connection("127.0.0.1:1", {"sasl.password": SECRET}),
        codec or Codec(name, task.kind, task.features, b"a key", serving=True),
        TaskTopics(name),
        partitions,
        "topic-id",
        "riverloop",
        slot,
    )
    readiness = Readiness(name, Acknowledging())
    if ready:
        readiness.set_ready()
    settings = settings or Settings()
    shared = (
        context,
        settings,
        readiness,
        CurrentTopics(partitions),
        Server(task, folds),
        Subjects(),
        Turns(),
    )
    return HttpTask(*shared, Statistics(), LocalStatus())


def make_log_fold(task: HttpTask, store: SnapshotStore) -> LogFold:
    """Make the reader of a task's log."""
    resume, models = Resume(task.context, task.current), task.server.models
    shared = (task.context, models, task.readiness, resume, task.statistics, task.turns, store)
    return LogFold(*shared, task.settings.skip)


def make_join(task: HttpTask) -> JoinAgent:
    """Make the join agent of a task."""
    resume = Resume(task.context, task.current)
    rules, context = JoinRules.of(task.context.task), task.context
    stores = JoinStores(context.connection, context.topics.join_state, context.codec, rules)
    shared = (context, task.current, resume, task.statistics)
    return JoinAgent(*shared, stores)


@dataclass
class HeldWriter:
    """A topic in memory that acknowledges when the test says so."""

    acknowledges: bool = True
    records: list[OutRecord] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    used: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, record: OutRecord) -> Delivery:
        self.used.set()
        delivery: Delivery = asyncio.get_running_loop().create_future()
        self.records.append(record)
        self.deliveries.append(delivery)
        if self.acknowledges:
            self.acknowledge()
        return delivery

    def acknowledge(self) -> None:
        """Acknowledge all that waits."""
        for at, delivery in enumerate(self.deliveries):
            if not delivery.done():
                delivery.set_result(Position(self.records[at].topic, 0, at))

    def fail(self) -> None:
        """Let all that waits fail."""
        for delivery in self.deliveries:
            if not delivery.done():
                delivery.set_exception(BrokerError(f"not acknowledged; sasl.password={SECRET}"))


@dataclass(frozen=True)
class Reply:
    status: int
    data: Any
    kind: str
    headers: Mapping[str, str]

    @property
    def reason(self) -> Any:
        return self.data.get("reason")


class Client:
    """Calls a worker; each reply must be one that openapi.json describes."""

    def __init__(self, client: TestClient[web.Request, web.Application], pages: Pages) -> None:
        self._client, self.pages = client, pages

    async def get(self, path: str, **more: Any) -> Reply:
        return await self.call("GET", path, **more)

    async def page(self, path: str) -> str:
        """Get a page that is no JSON."""
        async with self._client.get(path) as answer:
            assert answer.status == 200
            return await answer.text()

    async def post(self, path: str, json_data: Any = None, **more: Any) -> Reply:
        if json_data is not None:
            # As a stream: aiohttp's client warns of large bytes.
            more["data"] = io.BytesIO(json.dumps(json_data).encode())
        headers = {"Content-Type": "application/json"} | more.pop("headers", {})
        return await self.call("POST", path, headers=headers, **more)

    def request(self, method: str, path: str, **more: Any) -> Any:
        """Call it; the answer is the caller's to look at."""
        return self._client.request(method, path, **more)

    async def call(self, method: str, path: str, **more: Any) -> Reply:
        async with self._client.request(method, path, **more) as answer:
            text = await answer.read()
            reply = Reply(answer.status, json.loads(text), answer.content_type, answer.headers)
        assert SECRET.encode() not in text
        assert b"Traceback" not in text
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        check(method, str(answer.url.raw_path), reply)
        return reply


def operations() -> dict[tuple[str, str], Any]:
    """Give what openapi.json describes, by method and path."""
    return {
        (method.upper(), path): found
        for path, methods in OPENAPI["paths"].items()
        for method, found in methods.items()
    }


def check(method: str, path: str, reply: Reply) -> None:
    """Hold a reply against openapi.json."""
    if reply.status >= 400:
        assert reply.kind == "application/problem+json"
        assert reply.data["status"] == reply.status
        validate({"$ref": "#/components/schemas/Problem"}, reply.data)
    found = described(method, path)
    if found is None:
        assert reply.status in {403, 404, 405, 421}, (
            f"{method} {path} is not described, but answers {reply.status}"
        )
        return
    content = found["responses"][str(reply.status)]["content"]
    validate(content[reply.kind]["schema"], reply.data)


def described(method: str, path: str) -> Any:
    """Give what openapi.json says of a call; None when it knows no such call."""
    for (of, template), found in operations().items():
        pattern = template.replace("{task}", "[^/]+").replace("{request_id}", ".+")
        if of == method and re.fullmatch(pattern, path):
            return found
    return None


def validate(schema: Any, data: Any) -> None:
    """Check data against a schema of openapi.json."""
    whole = {"components": OPENAPI["components"], "allOf": [schema]}
    jsonschema.Draft202012Validator(whole).validate(data)


@asynccontextmanager
async def serving(
    tasks: Mapping[str, HttpTask] | HttpTask,
    writer: Any,
    settings: Settings | None = None,
    **more: Any,
) -> AsyncIterator[Client]:
    """Serve tasks on a free port of 127.0.0.1."""
    found = {tasks.context.task.name: tasks} if isinstance(tasks, HttpTask) else tasks
    app = web.Application()
    pages = add_routes(app, found, writer, settings or Settings(), **more)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        yield Client(client, pages)
