"""A store of shared predictions in memory, which tests can let fail or wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from infra.shared.store import Claim, Keep, Step
from schemas.errors import FeaturesUnavailable


class MemoryPredictions:
    """See `SharedStore`; all workers of a test use the same one."""

    def __init__(self, ttl_s: float = 60.0) -> None:
        self._ttl_s = ttl_s
        self._values: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self.fails, self.delay_s, self.closed, self.calls = False, 0.0, False, 0

    def run(self, steps: Sequence[Step]) -> list[bytes | None]:
        """See `SharedStore.run`."""
        self.calls += 1
        time.sleep(self.delay_s)
        if self.fails:
            raise FeaturesUnavailable("it is down")
        with self._lock:
            return [self._take(each) for each in steps]

    def _take(self, step: Step) -> bytes | None:
        now = time.monotonic()
        there, until = self._values.get(step.request_id, (None, now))
        if until <= now:
            there = None
        if isinstance(step, Claim) and there is None:
            self._values[step.request_id] = step.value, now + self._ttl_s
        if isinstance(step, Keep):
            if there is not None and there != step.claim:
                return there
            if step.value:
                self._values[step.request_id] = step.value, now + self._ttl_s
            else:
                with suppress(KeyError):
                    del self._values[step.request_id]
            return None
        return there

    @property
    def values(self) -> dict[str, bytes]:
        """What lies there."""
        with self._lock:
            return {name: value for name, (value, _) in self._values.items()}

    def close(self) -> None:
        """See `SharedStore.close`."""
        self.closed = True
