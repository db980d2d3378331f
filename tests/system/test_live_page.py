"""The live page in a real browser: what it shows is what the API says, and a broken connection shows and heals."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from schemas.topics import PARTITIONER
from tests.browser import Tab, browser
from tests.integration.loops import Loop, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.system("chromium")]

BEFORE, MEANWHILE = 500, 1000
VIEWS = ("loop", "models", "quality", "labels", "drift", "features", "versions", "dead_letters", "requests")
HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
TOTAL = "document.querySelector('[data-stage=\"{}\"] span').textContent"
PHASE = "document.body.dataset.phase"
LEGIBLE = (Path(__file__).parent / "legible.js").read_text("utf-8")
T = TypeVar("T")


@dataclass
class Wire:
    """A connection to a worker that can be cut, and that can fall silent."""

    port: int
    """The worker's."""
    own: int = 0
    silent: bool = False
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    server: asyncio.Server | None = None

    async def mend(self) -> None:
        """Let connections through."""
        self.silent = False
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.own)
        self.own = self.server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections and take no new ones."""
        assert self.server is not None
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, before = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers |= {writer, before}
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pass(reader, before), self._pass(behind, writer))
        for each in (writer, before):
            self.writers.discard(each)
            each.close()

    async def _pass(self, source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            while self.silent:
                await asyncio.sleep(0.05)
            to.write(data)
            await to.drain()
        to.close()


class Page:
    """The page of the worker that does not own the log, in one browser for all tests."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.events = asyncio.new_event_loop()
        owner = until(lambda: next((each for each in loop.workers if each.status()["owner"]), None), 30)
        (self.other,) = (each for each in loop.workers if each is not owner)
        self.owner = owner
        self.wire = Wire(self.other.port)
        self.browser = browser()
        self.run(self.wire.mend())
        self.tab: Tab = self.run(self.browser.__aenter__())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.events.run_until_complete(work)

    def close(self) -> None:
        self.run(self.browser.__aexit__(None, None, None))
        self.run(self.wire.cut())
        self.events.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.wire.own}/"

    async def open(self, view: str = "loop") -> None:
        await self.tab.call("Page.navigate", url="about:blank")
        self.tab.complaints.clear()
        await self.tab.call("Page.navigate", url=self.url)
        await self.tab.until(f"{PHASE} === 'live' && document.querySelector('.view')")
        await self.tab.run(f"location.hash = '{view}'")

    def state(self, worker: Any) -> dict[str, Any]:
        found: dict[str, Any] = worker.get(f"/tasks/{self.loop.task.name}/live/state")
        return found


@pytest.fixture(scope="module")
def page(riverloop_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Two workers on two partitions that have answered some requests, rejected some, and written snapshots."""
    folder = tmp_path_factory.mktemp("live")
    reference = f"{hotel_task(folder / 'task', 'live-page')}:cancellation"
    connection = Connection(riverloop_broker.bootstrap)
    # Metrics with every batch: those of the newest one are told by the next, and here there is none.
    with Loop(reference, connection, folder, partitions=2, snapshot_every=200, metrics_every_ms=1) as loop:
        for worker in (loop.worker(), loop.worker()):
            worker.start()
        for worker in loop.workers:
            worker.wait_ready()
        loop.play(loop.events(BEFORE))
        producer = Producer({"bootstrap.servers": connection.bootstrap, "partitioner": PARTITIONER})
        bad = {"request_id": "bad", "ts": 1_420_070_400_000, "features": {"LeadTime": HOSTILE}}
        producer.produce(loop.topics.requests, json.dumps(bad), key="bad")
        producer.produce(loop.topics.requests, HOSTILE.encode(), key="worse")
        assert producer.flush(10) == 0
        del producer  # it would complain of the broker's end
        found = Page(loop)
        yield found
        found.close()


def number(text: str) -> int:
    return int(re.sub(r"[^\d]", "", text))


def settled(page: Page) -> dict[str, Any]:
    """Wait until metrics tell all that the workers have done; gives what the owner's API says of it."""

    def reported() -> Any:
        status = [worker.status() for worker in page.loop.workers]
        joined = sum(each["join"].get("labelled", 0) for each in status)
        found = page.state(page.other)
        return found["loop"]["counts"]["labelled"] == joined and page.owner.status()

    found: dict[str, Any] = until(reported, 30, "the metrics tell of everything")
    return found


def test_live_numbers_arrive_and_agree_with_the_api_on_a_worker_that_owns_nothing(page: Page) -> None:
    async def watch() -> set[int]:
        await page.open()
        seen: set[int] = set()
        loop = asyncio.get_running_loop()
        events = page.loop.events(MEANWHILE, skip=BEFORE)
        playing = loop.run_in_executor(None, page.loop.play, events)
        ends = loop.time() + 30
        # The page is told once a second, and a fast machine has made them by then.
        while not playing.done() or (len(seen) < 2 and loop.time() < ends):
            seen.add(number(await page.tab.run(TOTAL.format("predictions"))))
            await asyncio.sleep(0.2)
        await playing
        return seen

    seen = page.run(watch())
    assert len(seen) >= 2, f"the number of predictions moves by itself: {seen}"
    status = settled(page)

    async def compare() -> None:
        tab = page.tab
        labelled = sum(worker.status()["join"]["labelled"] for worker in page.loop.workers)
        await tab.until(f"{TOTAL.format('resolved')} === '{labelled:,} total'")
        learned = page.other.status()["models"]["lr"]["learned"]
        await tab.until(f"{TOTAL.format('learned')} === '{learned:,} total'")
        waiting = sum(worker.status()["waiting"] for worker in page.loop.workers)
        shown = await tab.run("document.querySelector('[data-stage=\"waiting\"] strong').textContent")
        assert number(shown) == waiting
        rolling = status["models"]["lr"]["quality"]["windows"][page.loop.task.metrics.rolling_name]
        table = await tab.run(
            "Object.fromEntries([...document.querySelectorAll('.side tbody tr')].map(row => "
            "[...row.cells].slice(0, 2).map(cell => cell.textContent)))"
        )
        for name, label in (("roc_auc", "ROC AUC"), ("log_loss", "log loss"), ("accuracy", "accuracy")):
            assert table[label] == f"{rolling[name]:.4f}", name
        # How far they are behind is asked for every 3 s.
        await tab.until("document.querySelector('[data-stage=\"predictions\"] .lag').textContent === 'lag 0'")

    page.run(compare())


def test_both_workers_tell_the_same_of_the_task(page: Page) -> None:
    settled(page)

    def alive() -> Any:
        found = [page.state(worker) for worker in page.loop.workers]
        # Each asks who is alive every three seconds, once somebody looks at it.
        unknown = any(row["workers"] is None for each in found for row in each["decisions"]["rows"])
        return not unknown and found

    one, other = until(alive, 30, "both workers know who is alive")
    for section in (
        "quality",
        "calibration",
        "labels",
        "signals",
        "features",
        "episodes",
        "versions",
        "decisions",
        "dead_letters",
    ):
        assert one[section] == other[section], section
    assert one["loop"]["counts"] == other["loop"]["counts"]


def test_every_view_shows_something_without_an_error_and_asks_nobody_but_the_worker(page: Page) -> None:
    async def look() -> None:
        await page.open()
        for key, view in enumerate(VIEWS, 1):
            await page.tab.key(str(key))
            await page.tab.until(f"document.body.dataset.view === '{view}'")
            await page.tab.until("document.querySelectorAll('.panel .body > *').length > 0")
            for width in (1280, 390):
                await page.tab.size(width, 800, mobile=width < 600)
                wide = await page.tab.run("document.documentElement.scrollWidth")
                assert wide <= width, f"{view} is {wide} px wide on a screen of {width}"
        await page.tab.size(1280, 720)
        assert page.tab.complaints == []
        hosts = {re.match(r"\w+://([^/:]+)|about:|data:", each) for each in page.tab.requested}
        assert {match[1] for match in hosts if match} <= {"127.0.0.1", None}
        assert None not in hosts

    page.run(look())


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_every_view_can_be_read_by_everybody(page: Page, theme: str, width: int) -> None:
    async def look() -> None:
        await page.tab.theme(theme)
        await page.tab.size(width, 800, mobile=width < 600)
        await page.open()
        await page.tab.run(LEGIBLE)
        for view in VIEWS:
            await page.tab.run(f"location.hash = '{view}'")
            await page.tab.until(f"document.body.dataset.view === '{view}'")
            await page.tab.until("document.querySelectorAll('.panel .body > *').length > 0")
            assert await page.tab.run("faint()") == [], view
            assert await page.tab.run("broken()") == [], view
            assert await page.tab.run("document.querySelectorAll('h1').length") == 1, view
            nameless = (
                "[...document.querySelectorAll('th')].filter((each) => !each.textContent.trim()).length"
            )
            assert await page.tab.run(nameless) == 0, view
            levels = await page.tab.run(
                "[...document.querySelectorAll('h1, h2, h3')].map((each) => Number(each.tagName[1]))"
            )
            assert all(after - before <= 1 for before, after in pairwise(levels)), (view, levels)
        await page.tab.size(1280, 720)

    page.run(look())


def test_the_search_field_shows_what_became_of_a_request(page: Page) -> None:
    entry = next(entry for _, entry in page.loop.entries() if entry.kind == "labelled" and entry.prediction)
    assert entry.prediction is not None

    async def search(name: str) -> str:
        await page.tab.run(f"document.querySelector('input[type=search]').value = {json.dumps(name)}")
        await page.tab.run("document.querySelector('.search button').click()")
        await page.tab.until("document.querySelector('.panel h2 small').textContent !== 'searching'")
        found: str = await page.tab.run("document.querySelector('.panel .body').textContent")
        return found

    async def look() -> None:
        await page.open("requests")
        await page.tab.until("document.querySelector('input[type=search]')")
        assert entry.prediction is not None
        shown = await search(entry.prediction.request_id)
        assert entry.prediction.scores[0].version in shown
        assert ", revision lr: first revision" in shown
        assert "lr.1@" in shown
        assert "learns" in shown
        for name in entry.prediction.features:
            assert name in shown
        shown = await search(HOSTILE)
        assert "no topic has a record of request" in shown
        await page.tab.run(LEGIBLE)
        await search(entry.prediction.request_id)
        assert await page.tab.run("faint()") == []
        await page.tab.size(390, 800, mobile=True)
        assert await page.tab.run("document.documentElement.scrollWidth") <= 390
        await page.tab.size(1280, 720)
        assert [each for each in page.tab.complaints if "404" not in str(each)] == []

    page.run(look())


def test_the_page_begins_with_the_verdict_of_the_api(page: Page) -> None:
    async def look() -> None:
        await page.open()
        reported = page.state(page.other)["verdict"]
        await page.tab.until(f"document.querySelector('#state').textContent === '{reported['state']}'")
        above = await page.tab.run(
            "document.querySelector('#verdict').getBoundingClientRect().bottom <= "
            "document.querySelector('main').getBoundingClientRect().top"
        )
        assert above
        assert await page.tab.run("document.querySelectorAll('#reasons li').length") == min(
            len(reported["reasons"]), 4
        )
        assert "since 20" in await page.tab.run("document.querySelector('#since').textContent")

    page.run(look())


def test_a_line_names_the_models_that_do_not_learn_or_answer_all(page: Page) -> None:
    healthy = {"model": "lr", "role": "served", "skipped": 0, "stopped": None, "failures": 0}
    model = healthy | {"model": "ht", "role": "shadow", "lately_skipped": 3, "failures": 1234}
    stopped = model | {"skipped": 12, "stopped": {"offset": 70, "why": "its code raised"}}

    async def look() -> None:
        await page.open()
        await page.tab.until("document.querySelector('.troubles') !== null")
        assert await page.tab.run("document.querySelector('.troubles').textContent") == ""
        assert await page.tab.run("getComputedStyle(document.querySelector('.troubles')).display") == "none"
        reported = [
            await page.tab.run(
                f"import('/assets/views/loop.js').then((m) => m.troubleOf({json.dumps(each)}))"
            )
            for each in (healthy, model, stopped)
        ]
        assert reported == [
            "",
            "ht shadow: failed to score 1,234 requests",
            "ht shadow: stopped learning at log offset 70, skipped 12 entries, 3 of the last 1,000, "
            "failed to score 1,234 requests",
        ]

    page.run(look())


def test_times_of_a_chart_only_rise(page: Page) -> None:
    async def look() -> None:
        await page.tab.call(
            "Page.addScriptToEvaluateOnNewDocument",
            source="addEventListener('DOMContentLoaded', () => { const made = window.uPlot; "
            "if (!made) return; window.plots = []; "
            "window.uPlot = new Proxy(made, { construct(target, given) { const plot = new target(...given); "
            "plots.push(plot); return plot; } }); });",
        )
        await page.open()
        await page.tab.until("window.plots?.length > 0")
        await asyncio.sleep(3)  # the first changes come after the whole
        falls = (
            "plots.flatMap((plot) => "
            "[...plot.data[0]].filter((at, index, all) => index && at <= all[index - 1]))"
        )
        assert await page.tab.run(falls) == []

    page.run(look())


def test_a_hostile_dead_letter_is_text(page: Page) -> None:
    async def look() -> None:
        await page.open("dead_letters")
        await page.tab.until(
            f"document.querySelector('main').textContent.includes({json.dumps(HOSTILE[:20])})"
        )
        assert await page.tab.run("document.querySelectorAll('main img').length") == 0
        assert "owned" not in await page.tab.run("document.title")
        assert page.tab.complaints == []

    page.run(look())


def test_one_key_press_on_a_version_shows_its_lineage(page: Page) -> None:
    async def look() -> None:
        await page.open("versions")
        await page.tab.until("document.querySelectorAll('main table button').length > 1")
        version = await page.tab.run(
            "(() => { const button = [...document.querySelectorAll('main table button')].at(-1); button.focus(); "
            "return button.textContent; })()"
        )
        await page.tab.key("Enter")
        shown = f"[...document.querySelectorAll('.panel')].at(-1).textContent.includes('of {version}')"
        await page.tab.until(shown)
        focus = await page.tab.run("document.activeElement.dataset.key")
        assert focus == version, "who works with the keyboard stays where they were"

    page.run(look())


def test_a_page_that_was_left_keeps_no_connection_to_the_worker(page: Page) -> None:
    async def look() -> None:
        # A browser opens no more than six connections to a server: a seventh page would wait for one of them.
        for _ in range(8):
            async with asyncio.timeout(10):
                await page.open()

    page.run(look())


def test_a_page_that_the_browser_brings_back_listens_again(page: Page) -> None:
    async def look() -> None:
        await page.open()
        await page.tab.run("window.earlier = true")
        await page.tab.call("Page.navigate", url="about:blank")
        page.tab.requested.clear()
        await page.tab.run("history.back()")
        await page.tab.until("window.earlier")
        async with asyncio.timeout(20):
            while not any(each.endswith("/live/events") for each in page.tab.requested):
                await asyncio.sleep(0.05)
        await page.tab.until(f"{PHASE} === 'live'")

    page.run(look())


def test_a_connection_that_is_cut_shows_as_stale_and_heals_by_itself(page: Page) -> None:
    async def look() -> None:
        await page.open()
        await page.wire.cut()
        await page.tab.until(f"{PHASE} === 'stale'", 10)
        await page.tab.until("document.body.dataset.verdict === 'down'")
        assert await page.tab.run("document.querySelector('#state').textContent") == "down"
        first = await page.tab.run("document.querySelector('#reasons li').textContent")
        assert "cannot be reached" in first
        assert "since 20" in first
        assert "worker-down.md" in first
        await page.wire.mend()
        await page.tab.until(f"{PHASE} === 'live'", 20)
        await page.tab.until("document.body.dataset.verdict !== 'down'")
        assert "cannot be reached" not in await page.tab.run("document.querySelector('#reasons').textContent")

    page.run(look())


def test_a_connection_that_says_nothing_shows_as_stale_and_heals(page: Page) -> None:
    async def look() -> None:
        await page.open()
        page.wire.silent = True
        await page.tab.until(f"{PHASE} === 'stale'", 15)
        page.wire.silent = False
        await page.tab.until(f"{PHASE} === 'live'", 20)

    page.run(look())


def test_the_theme_follows_the_system_until_one_is_chosen(page: Page) -> None:
    async def look() -> None:
        ground = "getComputedStyle(document.body).backgroundColor"
        await page.tab.theme("light")
        await page.open()
        light = await page.tab.run(ground)
        await page.tab.theme("dark")
        await page.tab.until(f"{ground} !== '{light}'")
        dark = await page.tab.run(ground)
        await page.tab.key("t")
        await page.tab.until(f"{ground} === '{light}'")
        await page.open()
        assert await page.tab.run(ground) == light, "what was chosen is remembered"
        await page.tab.key("t")
        await page.tab.until(f"{ground} === '{dark}'")
        await page.tab.key("t")

    page.run(look())


def test_a_worker_s_page_costs_nothing_that_a_token_guards(page: Page) -> None:
    address = f"http://127.0.0.1:{page.other.port}/tasks/{page.loop.task.name}/live/state"
    with urllib.request.urlopen(address, timeout=20) as answer:
        text = answer.read().decode()
    for secret in (str(Path.home()), page.loop.connection.bootstrap):
        assert secret not in text
