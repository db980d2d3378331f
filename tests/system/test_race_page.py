"""The leaderboard of a race in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from tests.browser import browser
from tests.integration.loops import Loop, hotel_task

pytestmark = [pytest.mark.kafka, pytest.mark.system("chromium"), pytest.mark.timeout(300)]
RACING = {
    "from streams import DataFile,": "from streams import DataFile, Grid, Race,",
    "    models=models(DefaultAtHorizon(False)),": "    models=models(DefaultAtHorizon(False)),\n"
    "    challengers=Grid(models(DefaultAtHorizon(False))[0], {'learning_rate': (0.001, 0.1)}, sample=0.5),\n"
    "    gate=Race(least=50, recent=50),",
}


@pytest.fixture
def loop(riverloop_broker: Broker, tmp_path: Path) -> Iterator[Loop]:
    """A worker with a race."""
    reference = f"{hotel_task(tmp_path / 'task', 'race-page', RACING)}:cancellation_within_30_days"
    with Loop(reference, Connection(riverloop_broker.bootstrap), tmp_path, 2, metrics_every_ms=1) as loop:
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
