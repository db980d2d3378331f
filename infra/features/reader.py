"""Reads what the look-ups of requests need, in one time-bound read for a batch or a call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from infra.features.store import FeatureStore
from infra.inbound import Inbound
from schemas.codec import Codec
from schemas.errors import FeaturesUnavailable
from schemas.feature_row import FeatureRow, RowKey
from schemas.records import Request
from streams.lookup import KeyedRequest, Lookups

THREADS: Final = 4
"""Reads at a time; an answer of a store takes a fraction of a millisecond."""
FAILURES: Final = 3
"""So many reads in a row that fail, and the store is left alone for a while."""
REST_S: Final = 0.5
SAY_S: Final = 30.0
"""Seconds between two lines in the log about a store that fails."""
log = logging.getLogger(__name__)


class LookupReader:
    """Completes requests with what the store has.

    A store that is late or fails costs a request its bound, three times; then nobody waits for it for half a
    second.

    Parameters
    ----------
    counts
        See `Lookups.merged`.
    """

    def __init__(self, task: str, lookups: Lookups, store: FeatureStore, counts: Counter[str]) -> None:
        self._task, self._lookups, self._store, self._counts = task, lookups, store, counts
        self._pool = ThreadPoolExecutor(THREADS, f"look-up {task}") if store.shared else None
        self._failures, self._rest_until, self._say_at = 0, 0.0, 0.0

    def decoder(self, codec: Codec) -> Callable[[Any], Request]:
        """Return what reads a request, as `Codec.decode_request`, with the keys of its look-ups."""

        def decode(data: Any) -> Request:
            sent = codec.decode_sent(data)
            return self._lookups.keyed(sent, codec.protection.asked(sent))

        return decode

    async def look_up(self, items: Iterable[Inbound]) -> None:
        """Complete the requests of a batch, in place."""
        usable = [item for item in items if item.bad is None]
        found = await self.complete([item.record for item in usable])
        for item, request in zip(usable, found, strict=True):
            item.complete(request)

    async def complete(self, requests: Sequence[Request]) -> list[Request]:
        """Return requests with the features that were found in time; see `Lookups.merged`."""
        keyed = (each for each in requests if isinstance(each, KeyedRequest))
        keys = [*dict.fromkeys(key for each in keyed for key in each.keys if key is not None)]
        rows = await self._read(keys) if keys else {}
        return [self._lookups.merged(each, rows, self._counts) for each in requests]

    async def _read(self, keys: Sequence[RowKey]) -> Mapping[RowKey, FeatureRow | None]:
        names = self._lookups.names
        if self._pool is None:
            return dict(zip(keys, self._store.read(keys, names), strict=True))
        if time.monotonic() < self._rest_until:
            return {}
        # In a thread, whose socket has a bound of its own: a loop that is busy must not make an answer late.
        reading = self._pool.submit(self._store.read, keys, names)
        waiting = asyncio.wrap_future(reading)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.wait({waiting}, timeout=self._lookups.timeout_s)
        try:
            if not reading.done():
                raise FeaturesUnavailable(f"no answer within {self._lookups.timeout_s * 1000:g} ms")
            found = reading.result()
        except FeaturesUnavailable as error:
            self._failed(error)
            return {}
        self._failures = 0
        return dict(zip(keys, found, strict=True))

    def _failed(self, error: FeaturesUnavailable) -> None:
        self._failures += 1
        now = time.monotonic()
        if self._failures >= FAILURES:
            self._rest_until = now + REST_S
        if now >= self._say_at:
            log.warning("%s: look-ups give nothing: %s", self._task, error)
            self._say_at = now + SAY_S

    def close(self) -> None:
        """Close the store, once what is under way has ended."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._store.close()
