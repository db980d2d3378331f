"""The models' view in a real browser: a model is promoted by its buttons, and the log says so after a restart."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from tests.browser import Tab, browser
from tests.integration.loops import Loop, Worker, hotel_task, until

pytestmark = [pytest.mark.kafka, pytest.mark.system("chromium"), pytest.mark.timeout(300)]

TOKEN = "a-token-that-nobody-guesses"
REASON = "<img src=x onerror=\"document.title='owned'\"> lower loss"
LEGIBLE = (Path(__file__).parent / "legible.js").read_text("utf-8")
DIALOG = "document.querySelector('dialog')"
STATE = f"{DIALOG}.querySelector('.result')?.textContent"
PROBLEM = f"{DIALOG}.querySelector('.problem').textContent"


@pytest.fixture(scope="module")
def loop(riverloop_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Two workers with two models, and a token with a name."""
    folder = tmp_path_factory.mktemp("models")
    reference = f"{hotel_task(folder / 'task', 'models-page', tree=True)}:cancellation_within_30_days"
    connection = Connection(riverloop_broker.bootstrap)
    with Loop(reference, connection, folder, 2, metrics_every_ms=1, http_token=f"ada:{TOKEN}") as loop:
        for worker in (loop.worker(), loop.worker()):
            worker.start()
        for worker in loop.workers:
            worker.wait_ready()
        loop.play(loop.events(300))
        yield loop


def roles(loop: Loop, worker: Worker) -> dict[str, Any]:
    found: dict[str, Any] = worker.get(f"/tasks/{loop.task.name}/models")
    return found


def answering(loop: Loop) -> list[list[str]]:
    """The models that answer, by worker."""
    return [
        [each["model"] for each in roles(loop, worker)["models"] if each["share"]] for worker in loop.workers
    ]


def give(loop: Loop, worker: Worker, **command: Any) -> int:
    """Give a command over HTTP; gives the status."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    url = f"{worker.url}/tasks/{loop.task.name}/commands"
    request = urllib.request.Request(url, json.dumps(command).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


async def open_models(tab: Tab, worker: Worker) -> None:
    tab.complaints.clear()
    await tab.call("Page.navigate", url=f"{worker.url}/#models")
    await tab.until("document.body.dataset.phase === 'live' && document.querySelector('tr[data-model]')")


async def fill(tab: Tab, **values: str) -> None:
    for name, value in values.items():
        place = f"{DIALOG}.querySelector('[name={name}]')"
        await tab.run(f"{place}.value = {json.dumps(value)}")
    await tab.run(f"{DIALOG}.querySelector('[data-step=preview]').click()")


async def promote(tab: Tab, loop: Loop, worker: Worker) -> None:
    """Promote the tree by the buttons of the page."""
    await open_models(tab, worker)
    assert await tab.run("document.querySelector('.stack').textContent") == "lr 100.0\u00a0%"
    await tab.run("document.querySelector('[data-key=\"promote ht\"]').focus()")
    await tab.key("Enter")
    await tab.until(f"{DIALOG}.open && document.activeElement.name === 'reason'")
    await tab.key("2")  # is text here, and no key for a view
    assert await tab.run(f"{DIALOG}.querySelector('[name=reason]').value") == "2"
    await fill(tab, reason="  ", token=TOKEN)
    assert await tab.run(f"{DIALOG}.querySelector('[data-step=confirm]')") is None, "a reason is required"
    await fill(tab, reason=REASON, token="not-the-token-of-this-worker")
    await tab.until(f"{PROBLEM}.includes('not valid')")
    tab.complaints.clear()  # the browser logs the 401
    await fill(tab, token=TOKEN)
    await tab.until(f"{DIALOG}.querySelector('[data-step=confirm]')")
    rows = f"[...{DIALOG}.querySelectorAll('tbody tr')]"
    assert await tab.run(f"{rows}.map((row) => [...row.cells].map((cell) => cell.textContent))") == [
        ["lr", "answers 100.0\u00a0%", "shadow"],
        ["ht", "shadow", "answers 100.0\u00a0%"],
    ]
    assert answering(loop) == [["lr"], ["lr"]], "a dry run changes nothing"
    await tab.run(f"{DIALOG}.querySelector('[data-step=confirm]').click()")
    await tab.until(f"{STATE}?.includes('in all workers')", 60)
    assert answering(loop) == [["ht"], ["ht"]]
    offset = roles(loop, worker)["commands"][0]["offset"]
    assert await tab.run(STATE) == f"active from log offset {offset:,} on, in all workers"
    assert await tab.run(f"{DIALOG}.querySelector('[name=token]')") is None
    await tab.key("Enter")  # the button that closes it
    await tab.until(f"!{DIALOG}.open")
    await tab.until("document.querySelector('.stack').textContent === 'ht 100.0\u00a0%'")


async def tells(tab: Tab, worker: Worker) -> None:
    """Check that the page of a worker names the decision, its author and its reason."""
    await open_models(tab, worker)
    await tab.until("document.querySelector('.decisions > .rejected')")
    lines = await tab.run("[...document.querySelectorAll('.decisions > li')].map((each) => each.textContent)")
    assert "promote ht" in lines[0]
    assert "rejected: ht answers all requests already" in lines[0]
    assert "promote ht" in lines[1]
    assert f"by ada{REASON}lr 100.0\u00a0% → ht 100.0\u00a0%" in lines[1]
    since = await tab.run("document.querySelector('tr[data-model=ht]').textContent")
    assert f"by ada{REASON}" in since
    await tab.run("location.hash = 'loop'")
    await tab.until("document.body.dataset.view === 'loop'")
    change = await tab.run("document.querySelector('#change').textContent")
    assert change.startswith("What changed? promote ht 20")
    assert f"by ada {REASON}" in change
    await tab.until("document.querySelector('.back').textContent.startsWith('ht.1@')")
    assert await tab.run("document.querySelectorAll('main img, #verdict img').length") == 0
    assert tab.complaints == []


def test_a_model_is_promoted_by_its_buttons_and_the_page_knows_it_after_a_restart(loop: Loop) -> None:
    async def look() -> None:
        worker, other = loop.workers
        async with browser() as tab:
            await promote(tab, loop, worker)
            kept = await tab.run(
                "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
            )
            assert TOKEN not in kept
            assert not [each for each in tab.requested if TOKEN in each]
            assert tab.complaints == []
            assert give(loop, other, command="promote", model="ht", reason="again") == 409
            await tells(tab, worker)
            await asyncio.to_thread(other.stop)
            await asyncio.to_thread(other.restart)
            await tells(tab, other)

    asyncio.run(look())


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_the_form_of_a_command_can_be_read_and_fits(loop: Loop, theme: str, width: int) -> None:
    async def look() -> None:
        worker = loop.workers[0]
        async with browser() as tab:
            await tab.theme(theme)
            await tab.size(width, 800, mobile=width < 600)
            await open_models(tab, worker)
            await tab.run(LEGIBLE)
            await tab.run("document.querySelector('[data-key=share]').click()")
            await tab.until(f"{DIALOG}.open")
            for step in ("form", "plan"):
                assert await tab.run("faint()") == [], step
                assert await tab.run("broken()") == [], step
                sides = await tab.run(
                    f"(({{ left, right, bottom }}) => [left, right, bottom])({DIALOG}.getBoundingClientRect())"
                )
                assert 0 <= sides[0] < sides[1] <= width, (step, sides)
                assert sides[2] <= 800, (step, sides)
                if step == "form":
                    for name, part in (("lr", 75), ("ht", 25)):
                        place = f"{DIALOG}.querySelector('[data-share={name}]')"
                        await tab.run(f"{place}.value = {part}")
                    await fill(tab, reason="a first step", token=TOKEN)
                    await tab.until(f"{DIALOG}.querySelector('[data-step=confirm]')")
            await tab.run(f"{DIALOG}.close()")

    asyncio.run(look())


def test_what_the_page_shows_is_what_the_api_says(loop: Loop) -> None:
    def same() -> bool:
        sections = [worker.get(f"/tasks/{loop.task.name}/live/state") for worker in loop.workers]
        return bool(sections[0]["decisions"] == sections[1]["decisions"])

    until(same, 30, "both workers show the same decisions")
    state = loop.workers[1].get(f"/tasks/{loop.task.name}/live/state")
    assert state["models"] == roles(loop, loop.workers[1])["models"]
    offsets = {each["entry_id"]: each["offset"] for each in roles(loop, loop.workers[1])["commands"]}
    rows = [each for each in state["decisions"]["rows"] if each["state"] == "done"]
    assert {each["entry_id"]: each["offset"] for each in rows} == offsets
    assert TOKEN not in json.dumps(state)


def test_a_proposal_is_shown_and_rejected_by_its_buttons_and_nobody_approves_her_own(loop: Loop) -> None:
    worker = loop.workers[0]
    model = next(each["model"] for each in roles(loop, worker)["models"] if not each["share"])
    asked = {"command": "propose", "model": model, "reason": REASON, "id": "p-1"}
    assert give(loop, worker, **asked) == 200
    place = "document.querySelector('[data-proposal=p-1]')"

    async def answer(tab: Tab, command: str) -> None:
        await tab.run(f"{place}.querySelector('[data-key=\"{command} p-1\"]').click()")
        await tab.until(f"{DIALOG}.open && document.activeElement.name === 'reason'")
        await fill(tab, reason="read the evidence", token=TOKEN)

    async def look() -> None:
        async with browser() as tab:
            await open_models(tab, worker)
            await tab.until(place)
            assert REASON in await tab.run(f"{place}.textContent")
            assert f"promote {model}" in await tab.run(f"{place}.textContent")
            await answer(tab, "approve")
            await tab.until(f"{PROBLEM}.includes('another person must approve it')")
            await tab.run(f"{DIALOG}.close()")
            await answer(tab, "reject")
            await tab.until(f"{DIALOG}.querySelector('[data-step=confirm]')")
            await tab.run(f"{DIALOG}.querySelector('[data-step=confirm]').click()")
            await tab.until(f"{STATE}?.includes('in all workers')", 60)
            await tab.until(f"!{place}")
            assert await tab.run("document.querySelectorAll('main img').length") == 0

    asyncio.run(look())
    assert roles(loop, worker)["proposals"] == []


def test_a_new_revision_shows_the_lines_of_the_specification_that_changed(loop: Loop, tmp_path: Path) -> None:
    async def look() -> None:
        for each in loop.workers:
            await asyncio.to_thread(each.stop)
        changes = {'"learning_rate": 0.01': '"learning_rate": 0.05'}
        file = hotel_task(tmp_path / "changed", "models-page", changes, tree=True)
        worker = loop.worker(reference=f"{file}:cancellation_within_30_days")
        await asyncio.to_thread(worker.restart)
        async with browser() as tab:
            await open_models(tab, worker)
            await tab.until("document.querySelector('.difference')")
            lines = await tab.run(
                "[...document.querySelectorAll('.difference .removed, .difference .added')]"
                ".map((line) => line.textContent.trim())"
            )
            assert "-lr(learning_rate=0.01)" in lines
            assert "+lr(learning_rate=0.05)" in lines
            assert not [line for line in lines if "learning_rate" not in line]
            change = await tab.run("document.querySelector('#change').textContent")
            assert change.startswith("What changed? revision 2 of lr 20")
            await tab.run(LEGIBLE)
            assert await tab.run("faint()") == []

    asyncio.run(look())
