"""Calls over HTTP while workers come and go."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.integration.loops import Loop, Worker


class Callers:
    """Calls over HTTP, one after the other, of whichever worker is ready; as a load balancer would."""

    def __init__(self, loop: Loop, workers: list[Worker]) -> None:
        self.loop, self.workers = loop, workers
        self.answered: list[float] = []
        self.ids: list[str] = []
        """Of the calls that were answered."""
        self.refused = 0
        self._ending = threading.Event()

    def run(self) -> None:
        # None is newer than what is played meanwhile, or requests would expire before their outcomes are sent.
        events, number = self.loop.events(600), 0
        while not self._ending.wait(0.02):
            number += 1
            event = events[number % len(events)]
            body = {
                "request_id": f"http-{number}",
                "ts": event.request.ts,
                "features": dict(event.request.features),
            }
            if self._any(body):
                self.answered.append(time.monotonic())
                self.ids.append(f"http-{number}")

    def _any(self, body: dict[str, Any]) -> bool:
        for worker in self.workers:
            if not worker.running or not worker.url:
                continue
            url = f"{worker.url}/tasks/{self.loop.task.name}/predictions"
            request = urllib.request.Request(
                url, json.dumps(body).encode(), {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                self.refused += 1
        return False

    @contextmanager
    def calling(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ending.set()
            thread.join(30)

    @property
    def longest_gap_s(self) -> float:
        return max(b - a for a, b in zip(self.answered, self.answered[1:], strict=False))
