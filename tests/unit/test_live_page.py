"""The live page over HTTP: what its paths give, how a stream begins, goes on, and ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer

from agents.http import live
from agents.http.listeners import Listener
from agents.http.live import LivePage
from agents.http.live_feed import LiveFeed
from agents.http.problems import Problem
from agents.http.routes import add_routes
from agents.http.task import HttpTask
from agents.settings import Settings
from infra.kafka.tail import TailBatch
from infra.web.assets import FOLDER, assets
from schemas.errors import BrokerError
from schemas.records import DeadLetter, Metric
from tests.unit.http_worker import SECRET, HeldWriter, make_http_task

Http = TestClient[web.Request, web.Application]
PAGE = "/tasks/stay/live"


@dataclass
class Sent:
    """A record as the reader gives it."""

    where: str
    data: bytes
    at: int = 1000

    def topic(self) -> str:
        return self.where

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 0

    def key(self) -> bytes:
        return b"key"

    def value(self) -> bytes:
        return self.data

    def timestamp(self) -> tuple[int, int]:
        return 2, self.at


@dataclass
class Topics:
    """Topics in memory: what is put goes to whoever reads."""

    queue: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    wanted: list[Mapping[tuple[str, int], int]] = field(default_factory=list)

    def tail(self, connection: Any, newest: Mapping[tuple[str, int], int]) -> Any:
        self.wanted.append(newest)
        return self

    async def __aenter__(self) -> Topics:
        return self

    async def __aexit__(self, *failure: object) -> None:
        pass

    async def __aiter__(self) -> AsyncIterator[TailBatch]:
        while True:
            found = await self.queue.get()
            if isinstance(found, BaseException):
                raise found
            yield TailBatch(found, True)

    def put(self, *messages: Sent) -> None:
        self.queue.put_nowait(list(messages))


def waiting(value: float, offset: int) -> Metric:
    return Metric("waiting", value, "count", "", "", "loop", "all", 5, offset, 1000, "", "stay")


@dataclass
class Live:
    feed: LiveFeed
    topics: Topics
    client: Http

    def metric(self, value: float, offset: int) -> None:
        context = self.feed.context
        self.topics.put(Sent(context.topics.metrics, context.codec.encode(waiting(value, offset))))


def make_feed(task: HttpTask, topics: Topics, lag: dict[str, int]) -> LiveFeed:
    """Make the feed of a task whose topics are in memory."""
    knows = (task.context, task.settings, task.readiness, task.server, task.statistics, task.status)
    return LiveFeed(*knows, lambda: lag, topics.tail)


@asynccontextmanager
async def living(settings: Settings | None = None) -> AsyncIterator[Live]:
    """Serve the page of a task whose topics are in memory."""
    task, topics = make_http_task(settings=settings), Topics()
    feed = make_feed(task, topics, {"requests": 3, "predictions": 2, "outcomes": 1})
    app = web.Application()
    for route in LivePage(lambda request: feed, {"stay": task}, 20).routes():
        app.router.add_get(route.path, route.handler)
    async with TestClient(TestServer(app, host="127.0.0.1")) as client:
        try:
            yield Live(feed, topics, client)
        finally:
            await task.readiness.stop()
            feed.close()


async def events(answer: ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Give the events of a stream."""
    name = ""
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield name, json.loads(text.removeprefix("data: "))


# ---------------------------------------------------------------------- the page and its files


def test_the_root_leads_to_the_page_which_runs_nothing_but_its_own_files() -> None:
    async def run() -> None:
        app = web.Application()
        add_routes(app, {"stay": make_http_task()}, HeldWriter(), Settings())
        async with TestClient(TestServer(app, host="127.0.0.1")) as client:
            async with client.get("/", allow_redirects=False) as first:
                assert (first.status, first.headers["Location"]) == (302, PAGE)
            async with client.get(PAGE) as page:
                text = await page.text()
                policy = page.headers["Content-Security-Policy"]
                assert page.content_type == "text/html"
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "<script>" not in text
            for name in assets():
                async with client.get(f"/assets/{name}") as asset:
                    assert asset.status == 200
                    assert asset.headers["X-Content-Type-Options"] == "nosniff"
                    assert await asset.read() == (FOLDER / name).read_bytes()
            for name in (
                "../assets.py",
                "assets.py",
                "%2e%2e/assets.py",
                "page.html",
                "uplot/LICENSE",
                "/etc/passwd",
            ):
                async with client.get(f"/assets/{name}") as other:
                    assert other.status == 404
            async with client.get("/tasks/other/live") as missing:
                assert (missing.status, (await missing.json())["reason"]) == (404, "unknown_task")

    asyncio.run(run())


def test_the_files_fetch_nothing_from_elsewhere_and_make_no_markup_of_text() -> None:
    ours = [path for path, _ in assets().values() if path.parent.name != "uplot"] + [FOLDER / "page.html"]
    for path in ours:
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, path
        for forbidden in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
        ):
            assert forbidden not in text, f"{forbidden} in {path}"


def test_the_vendored_library_has_its_licence_beside_it() -> None:
    folder = FOLDER / "uplot"
    reported = (folder / "SOURCE.md").read_text("utf-8")
    for name in ("uPlot.iife.min.js", "uPlot.min.css"):
        assert f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" in reported
    assert "(v1.6.32)" in (folder / "uPlot.iife.min.js").read_text("utf-8")[:100]
    assert "The MIT License" in (folder / "LICENSE").read_text("utf-8")


# ---------------------------------------------------------------------- the stream


def test_what_the_whole_had_does_not_come_again() -> None:
    async def run() -> None:
        async with living() as found:
            for number in range(60):  # history: as many bursts as there are
                found.metric(float(number), number)
            async with found.client.get(f"{PAGE}/events") as answer:
                stream = events(answer)
                _, whole = await anext(stream)
                known = whole["row"]
                assert known >= 59
                found.metric(99.0, 100)
                async with asyncio.timeout(10):
                    async for name, reported in stream:
                        if name != "change":
                            continue
                        assert set(reported["sections"]) < set(whole["sections"]), "only what has changed"
                        if reported["sections"].get("loop", {}).get("values") == {"waiting": 99}:
                            break
                        assert [row for row in reported["rows"] if row[0] > known] == []

    asyncio.run(run())


def test_a_worker_that_is_not_ready_is_down_and_says_why() -> None:
    async def run() -> None:
        async with living() as found:
            found.metric(7.0, 1)
            feed = found.feed
            feed.readiness.ready.set()
            async with found.client.get(f"{PAGE}/state") as answer:
                assert (await answer.json())["verdict"]["state"] == "healthy"
            feed.readiness.ready.clear()
            feed.readiness.why = "reading the training log"
            async with found.client.get(f"{PAGE}/state") as answer:
                reported = (await answer.json())["verdict"]
            assert reported["state"] == "down"
            assert reported["reasons"][0]["why"] == "reading the training log"

    asyncio.run(run())


def test_a_stream_gives_all_of_it_first_and_then_what_changes() -> None:
    async def run() -> None:
        async with living() as found:
            found.metric(7.0, 1)
            async with found.client.get(f"{PAGE}/events") as answer:
                assert answer.content_type == "text/event-stream"
                stream = events(answer)
                name, whole = await anext(stream)
                assert name == "whole"
                assert whole["facts"]["task"] == "stay"
                assert whole["sections"]["loop"]["values"]["waiting"] == 7
                assert set(whole["histories"]) == {"log", "requests"}
                found.metric(9.0, 2)
                async with asyncio.timeout(10):
                    async for name, reported in stream:
                        if name == "change" and reported["sections"].get("loop", {}).get("values") == {
                            "waiting": 9
                        }:
                            break
                    async for name, reported in stream:
                        if name == "beat":
                            assert reported["now"] > 0
                            break
            async with found.client.get(f"{PAGE}/state") as state:
                reported = await state.json()
            assert reported["loop"]["values"]["waiting"] == 9
            assert reported["worker"]["lag"] == {"requests": 3, "predictions": 2, "outcomes": 1}
            assert SECRET not in json.dumps(reported)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("base", "runbooks"),
    [
        ("", "docs/operations/runbooks/"),
        ("https://wiki.example.com/runbooks", "https://wiki.example.com/runbooks/"),
    ],
)
def test_the_page_knows_where_the_runbooks_lie(base: str, runbooks: str) -> None:
    async def run() -> None:
        async with living(Settings(runbook_base=base)) as live:
            found = live.feed.view.facts()
            assert found["runbooks"] == runbooks

    asyncio.run(run())


def test_nothing_is_read_before_somebody_looks_and_all_share_one_reader() -> None:
    async def run() -> None:
        async with living() as found:
            await asyncio.sleep(0.1)
            assert found.topics.wanted == []
            found.metric(1.0, 1)
            for _ in range(2):
                async with found.client.get(f"{PAGE}/state") as state:
                    assert state.status == 200
            (wanted,) = found.topics.wanted
            assert {topic for topic, _ in wanted} == {
                f"stay.{name}" for name in ("metrics", "alerts", "snapshots", "control", "dead-letters")
            }

    asyncio.run(run())


def test_when_the_topics_cannot_be_read_the_page_says_so_and_keeps_what_it_has() -> None:
    async def run() -> None:
        async with living() as found:
            found.metric(7.0, 1)
            async with found.client.get(f"{PAGE}/events") as answer:
                stream = events(answer)
                await anext(stream)
                problem = ""
                found.topics.queue.put_nowait(BrokerError(f"not allowed; sasl.password={SECRET}"))
                async with asyncio.timeout(10):
                    async for _, reported in stream:
                        problem = reported.get("sections", {}).get("worker", {}).get("problem", "")
                        if problem:
                            break
                assert "not allowed" in problem
                assert SECRET not in problem
                assert found.feed.view.state()["loop"]["values"]["waiting"] == 7
                found.metric(8.0, 3)
                async with asyncio.timeout(10):
                    reported = await anext(reported async for name, reported in stream if name == "whole")
                assert reported["sections"]["worker"]["problem"] == ""
                assert reported["sections"]["loop"]["values"]["waiting"] == 8

    asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (Settings(), True),
        (Settings(serve_token="a token of enough characters"), False),
        (Settings(http_host="0.0.0.0", http_token="a token of enough characters"), False),
    ],
)
def test_what_a_request_says_is_shown_only_where_no_token_guards_it(settings: Settings, shown: bool) -> None:
    async def run() -> None:
        async with living(settings) as found:
            feed = found.feed
            value = b'{"request_id": "b-1", "features": {"LeadTime": "the-value"}}'
            dead_letter = DeadLetter(
                "wrong_type", "not 'the-value'", "features.LeadTime", None, b"b-1", value, 5
            )
            found.topics.put(Sent(feed.context.topics.dead_letters, feed.context.codec.encode(dead_letter)))
            async with found.client.get(f"{PAGE}/state") as state:
                reported = json.dumps((await state.json())["dead_letters"])
        assert "features.LeadTime" in reported
        assert ("the-value" in reported) == shown
        assert ("b-1" in reported) == shown

    asyncio.run(run())


def test_what_is_no_record_of_ours_is_skipped() -> None:
    async def run() -> None:
        async with living() as found:
            topics = found.feed.context.topics
            names = (topics.metrics, topics.alerts, topics.snapshots, topics.dead_letters)
            found.topics.put(*(Sent(name, b"\xff<script>") for name in names))
            found.metric(7.0, 1)
            async with found.client.get(f"{PAGE}/state") as state:
                assert (await state.json())["worker"]["problem"] == ""

    asyncio.run(run())


def test_a_worker_that_stops_ends_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with living() as found:
            found.metric(7.0, 1)
            async with found.client.get(f"{PAGE}/events") as answer:
                stream = events(answer)
                await anext(stream)
                found.feed.close()
                async with asyncio.timeout(5):
                    async for _ in stream:
                        pass
            assert found.feed.listeners == set()

    asyncio.run(run())


def test_only_so_many_streams_are_open_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_LISTENERS", 2)

    async def run() -> None:
        app = web.Application()
        task, topics = make_http_task(), Topics()
        feed = make_feed(task, topics, {})
        page = LivePage(lambda request: feed, {"stay": task}, 20)
        for number in range(2):
            page.streams.add(Listener(bytes), f"10.0.0.{number}")
        routes = {route.path: route for route in page.routes()}

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                return await routes["/tasks/{task}/live/events"].handler(request)
            except Problem as problem:
                return problem.response()

        app.router.add_get("/events", guarded)
        async with TestClient(TestServer(app, host="127.0.0.1")) as client, client.get("/events") as answer:
            assert (answer.status, (await answer.json())["reason"]) == (503, "too_many_pages")
            assert answer.headers["Retry-After"] == "1"

    asyncio.run(run())


# ---------------------------------------------------------------------- a slow listener


def test_a_slow_listener_is_bounded_and_gets_the_whole_state_in_place_of_what_it_missed() -> None:
    async def run() -> None:
        wholes = iter((b"whole 1", b"whole 2"))
        listener = Listener(lambda: next(wholes), most=3)
        listener.put(b"before the whole")
        assert await listener.get() == b"whole 1"
        listener.put(b"a")
        assert await listener.get() == b"a"
        for number in range(100):
            listener.put(b"%d" % number)
        assert listener.dropped == 4
        assert await listener.get() == b"whole 2"
        listener.put(b"b")
        assert await listener.get() == b"b"
        listener.close()
        assert await listener.get() is None

    asyncio.run(run())
