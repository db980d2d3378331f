"""The pictures of the live page: `python -m docs.make.pictures.live` runs the demo and takes them from Chromium.

They are taken while the demo runs, with some commands given, so they differ each time; some minutes. It needs
Debian's chromium.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urljoin

from confluent_kafka import Producer

from infra.taskfile import load_task
from schemas.topics import PARTITIONER, TaskTopics
from tests.browser import Tab, browser

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "docs" / "images"

TASK = "docs/examples/hotel_bookings/task.py:cancellation_within_30_days"
VIEWS = ("models", "quality", "labels", "drift", "features", "versions", "dead_letters")
READY = "document.body.dataset.phase === 'live'"
ANSWERED = (
    "Number(document.querySelector('[data-stage=\"predictions\"] span').textContent.replace(/[^0-9]/g, ''))"
)
ENOUGH = 18_000
ADA, TOKEN = "ada", "pictures-of-the-live-page"
COMMANDS = (
    {"command": "share", "shares": {"lr": 0.95, "ht": 0.05}, "reason": "first step of the tree"},
    {"command": "share", "shares": {"lr": 0.75, "ht": 0.25}, "reason": "no complaint in two days"},
    {"command": "retire", "model": "lr", "reason": "replaced by the tree"},
)
"""The last one is rejected."""
BAD = (
    b'{"request_id": "R-4711", "ts": 1441065600000, "features": {"LeadTime": "three weeks", "Adults": 2}}',
    b'{"request_id": "R-4712", "features": {"LeadTime": 21, "Adults": 2}}',
    b"LeadTime;Adults;Meal\r\n21;2;BB",
)
"""Requests as a service might send them that has not read the contract."""


def reject(bootstrap: str, name: str) -> None:
    """Send some requests that cannot be used."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": PARTITIONER})
    for number in range(24):
        producer.produce(TaskTopics(name).requests, BAD[(number % 5) % 3], key=f"R-{number}")
    producer.flush(10)


async def said(stream: asyncio.StreamReader, pattern: str) -> str:
    """Wait until the demo says something; gives the group of the pattern."""
    while line := (await stream.readline()).decode():
        if found := re.search(pattern, line):
            return found[1]
    raise SystemExit(f"the demo ended and never said {pattern}")


def give(url: str, name: str, commands: Sequence[Mapping[str, object]]) -> None:
    """Give some commands."""
    for command in commands:
        body = json.dumps(command).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
        asked = urllib.request.Request(urljoin(url, f"/tasks/{name}/commands"), body, headers)
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(asked, timeout=30):
            pass


async def view(tab: Tab, name: str, file: str) -> None:
    """Take the picture of a view, once its charts are drawn."""
    await tab.run(f"location.hash = {json.dumps(name)}")
    await tab.until(f"document.body.dataset.view === {json.dumps(name)} && {READY}")
    await asyncio.sleep(2)
    (IMAGES / f"live-{file}.png").write_bytes(await tab.picture())


async def take(url: str, name: str) -> None:
    """Take all pictures."""
    async with browser() as tab:
        await tab.theme("dark")
        await tab.size(1280, 720)
        await tab.call("Page.navigate", url=url)
        await tab.until(f"{READY} && {ANSWERED} >= {ENOUGH}", 600)
        await asyncio.to_thread(give, url, name, COMMANDS)
        await view(tab, "loop", "loop")
        for each in VIEWS:
            await tab.size(1280, 608 if each == "drift" else 720)
            await view(tab, each, each.replace("_", "-"))
        await tab.theme("light")
        await view(tab, "loop", "loop-light")
        await tab.size(390, 844, mobile=True)
        await view(tab, "loop", "phone")


async def main() -> None:
    """Run the demo, take the pictures while it runs, and end it."""
    name = load_task(str(ROOT / TASK)).task.name
    command = [
        "-m",
        "agents.cli.main",
        "demo",
        TASK,
        "--free",
        "--partitions",
        "4",
        "--workers",
        "2",
        "--stay",
    ]
    with tempfile.TemporaryDirectory() as home:
        demo = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=ROOT,
            env=os.environ | {"XDG_DATA_HOME": home, "RIVERLOOP_HTTP_TOKEN": f"{ADA}:{TOKEN}"},
            stderr=asyncio.subprocess.PIPE,
        )
        assert demo.stderr is not None
        try:
            bootstrap = await said(demo.stderr, r"answers at (\S+),")
            url = await said(demo.stderr, r"look on at (\S+)")
            reject(bootstrap, name)
            await take(url, name)
        finally:
            demo.send_signal(signal.SIGINT)
            await demo.communicate()


if __name__ == "__main__":
    asyncio.run(main())
