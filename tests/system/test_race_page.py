"""The leaderboard of a race, its challengers and their validations in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from tests.browser import browser
from tests.integration.loops import Loop, hotel_task, invoked

pytestmark = [pytest.mark.kafka, pytest.mark.system("chromium"), pytest.mark.timeout(300)]
LEGIBLE = (Path(__file__).parent / "legible.js").read_text("utf-8")
RACING = {
    "from streams import DataFile,": "from streams import DataFile, Grid, Loss, Race, ScoreRange, Validation,",
    "    models=models(DefaultAtHorizon(False)),": "    models=models(DefaultAtHorizon(False)),\n"
    "    challengers=Grid(models(DefaultAtHorizon(False))[0], {'learning_rate': (0.001, 0.1)}, sample=0.5),\n"
    "    gate=Race(least=50, recent=50),\n"
    "    validation=Validation(every=50, window=200, checks=(Loss(limit=1e-6, least=20), ScoreRange())),",
}


@pytest.fixture(scope="module")
def loop(riverloop_broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A worker with a race."""
    folder = tmp_path_factory.mktemp("race")
    reference = f"{hotel_task(folder / 'task', 'race-page', RACING)}:cancellation_within_30_days"
    with Loop(reference, Connection(riverloop_broker.bootstrap), folder, 2, metrics_every_ms=1) as loop:
        worker = loop.worker()
        worker.start()
        worker.wait_ready()
        loop.play(loop.events(300))
        yield loop


def test_the_leaderboard_names_the_leader_first_and_each_challenger(loop: Loop) -> None:
    (worker,) = loop.workers
    race = worker.get(f"/tasks/{loop.task.name}/models")["race"]
    assert [each["model"] for each in race][:1] == ["lr"]
    assert {each["model"] for each in race} == {"lr", "lr-0-001", "lr-0-1"}

    async def look() -> None:
        async with browser() as tab:
            await tab.call("Page.navigate", url=f"{worker.url}/#models")
            await tab.until(
                "document.body.dataset.phase === 'live' && document.querySelector('tr[data-race]')"
            )
            rows = await tab.run(
                "[...document.querySelectorAll('tr[data-race]')].map((row) => [...row.cells].slice(0, 2)"
                ".map((cell) => cell.textContent))"
            )
            assert rows == [[each["model"], each["status"]] for each in race]
            assert rows[0] == ["lr", "leads"]
            assert tab.complaints == []

    asyncio.run(look())


def test_a_failed_validation_is_shown_with_its_checks_and_can_be_read(loop: Loop) -> None:
    (worker,) = loop.workers
    where = ("--bootstrap", loop.connection.bootstrap, "--group", str(loop._settings["group"]))
    invoked("validate", loop.loaded.reference, "--once", "--snapshots", loop.store.uri, *where, code=1)
    listed = "[...document.querySelectorAll('[data-validation]')]"

    async def look() -> None:
        async with browser() as tab:
            await tab.size(1280, 2400)
            await tab.call("Page.navigate", url=f"{worker.url}/#models")
            await tab.until(f"{listed}.length === 3")
            found = await tab.run(
                f"{listed}.map((each) => [each.dataset.validation, each.className, each.textContent])"
            )
            assert {model for model, *_ in found} == {each.name for each in loop.task.models}
            assert any(kind == "rejected" and "loss FAILED: " in shown for _, kind, shown in found)
            assert all("score range passed: " in shown for *_, shown in found)
            gates = await tab.run(
                "[...document.querySelectorAll('[data-gate]')].map((each) => each.textContent)"
            )
            assert len(gates) == 2
            assert all("against lr.1" in each and "waits for " in each for each in gates)
            await tab.run(LEGIBLE)
            assert await tab.run("faint()") == []
            assert await tab.run("broken()") == []
            assert tab.complaints == []

    asyncio.run(look())
