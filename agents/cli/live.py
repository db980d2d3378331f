"""The demo's live terminal view, and the sum of its workers' statuses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from agents.cli.common import shown
from agents.cli.processes import WorkerProcess

RESOLUTIONS = ("labelled", "expired", "late", "revised", "unavailable")
SETTLED_S = 1.5
PATIENCE_S = 120.0


def together(statuses: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up the statuses of one task's workers."""
    owner = next((each for each in statuses if each["owner"]), statuses[0])
    join: dict[str, int] = {}
    for each in statuses:
        for name, count in each["join"].items():
            join[name] = join.get(name, 0) + count
    positions = {each["next_offset"] for each in statuses}
    return {
        "join": join,
        "waiting": sum(each["waiting"] for each in statuses),
        "most_waiting": sum(each["most_waiting"] for each in statuses),
        "served": sum(each["counts"].get("predictions", 0) for each in statuses),
        "entries": max(each["next_offset"] for each in statuses),
        "published": owner["published_offset"],
        "models": owner["models"],
        "freshness_ms": max((each["freshness_ms"] for each in statuses), key=lambda each: each["p99"]),
        "same_offset": len(positions) == 1,
    }


class LiveView:
    """Shows the loop as a loop while it runs.

    Parameters
    ----------
    task, requests
        The task's name, and how many requests there will be.
    workers
        Those to ask.
    live
        Whether to draw at all.
    """

    def __init__(self, task: str, requests: int, workers: Sequence[WorkerProcess], *, live: bool) -> None:
        self.task, self.requests, self.workers = task, requests, workers
        self._live = Live(console=Console(stderr=True), refresh_per_second=4) if live else None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def ask(self) -> dict[str, Any]:
        """Ask the workers."""
        return together([worker.status() for worker in self.workers])

    def refresh(self, sent: int) -> None:
        """Draw the current state."""
        found = self.ask()
        if self._live:
            self._live.update(self._draw(sent, found))

    def settle(self) -> dict[str, Any]:
        """Wait until everything is joined, learned and published."""
        until = time.monotonic() + PATIENCE_S
        before: Any = None
        since = time.monotonic()
        while True:
            found = self.ask()
            state = (found["join"], found["entries"], found["published"], found["served"])
            if state != before:
                before, since = state, time.monotonic()
            settled = found["same_offset"] and found["published"] >= found["entries"]
            if (settled and time.monotonic() - since > SETTLED_S) or time.monotonic() > until:
                return found | {"digests_equal": self._digests_equal()}
            time.sleep(0.2)

    def _digests_equal(self) -> bool:
        """Whether all workers hold equal states at equal offsets."""
        first, *others = [worker.get(f"/tasks/{self.task}/digests") for worker in self.workers]
        return all(each == first for each in others)

    def _draw(self, sent: int, found: dict[str, Any]) -> Group:
        elapsed = max(time.monotonic() - self._started, 1e-9)
        flow = Table.grid(padding=(0, 2))
        resolved = sum(found["join"].get(kind, 0) for kind in RESOLUTIONS)
        learned = max(each["learned"] for each in found["models"].values())
        steps = {
            "requests": sent,
            "predictions": found["served"],
            "waiting": found["waiting"],
            "resolved": resolved,
            "learned": learned,
        }
        flow.add_row(*(Text(name, style="dim") for name in steps))
        flow.add_row(*(Text(f"{count:,}", style="bold") for count in steps.values()))
        flow.add_row(*(Text(f"{count / elapsed:,.0f}/s", style="dim") for count in steps.values()))
        models = Table(box=None, header_style="dim", padding=(0, 2))
        names = sorted({name for each in found["models"].values() for name in each.get("metrics", {})})
        for column in ("model", "version", "role", *names):
            models.add_column(column)
        for name, each in found["models"].items():
            values = (shown(each.get("metrics", {}).get(metric)) for metric in names)
            models.add_row(name, each["version"], each["role"], *values)
        fresh = found["freshness_ms"]
        return Group(
            Text(f"{self.task}  {elapsed:.0f} s", style="bold"),
            Padding(ProgressBar(total=self.requests, completed=sent, width=72), 0),
            flow,
            models,
            Text(f"freshness p50 {fresh['p50']:.0f} ms, p99 {fresh['p99']:.0f} ms", style="dim"),
        )
