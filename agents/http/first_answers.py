"""The first answers to requests, whichever worker gave them: in this worker's memory, or in the shared store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from agents.http.prediction_cache import Answer, PredictionCache
from infra.shared.predictions import CLAIM_S, Mine
from infra.shared.store import ANSWER, CLAIM
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.records import Prediction

if TYPE_CHECKING:
    from infra.shared.predictions import SharedPredictions

PAUSES_S: Final = (0.002, 0.05)
"""The first and the longest pause of a wait for another worker."""
LOOKS_S: Final = (0.01, 0.02, 0.05)
"""Pauses of a look-up that meets a claim: an answer is shared a moment after it was given."""
WAIT_S: Final = 3 * CLAIM_S
"""How long an answer of another worker is waited for, before this one answers for itself."""


class FirstAnswers:
    """Claims requests for this worker, and takes what others have answered into its cache.

    Parameters
    ----------
    body
        Makes the answer that a prediction is over HTTP.
    """

    def __init__(
        self,
        shared: SharedPredictions,
        cache: PredictionCache,
        codec: Codec,
        body: Callable[[Prediction], bytes],
        given: Callable[[], None],
    ) -> None:
        self._shared, self._cache, self._codec, self._body, self._given = shared, cache, codec, body, given

    async def claim(self, request_ids: Iterable[str]) -> dict[str, Mine | None]:
        """Claim requests that are not in the cache.

        Returns
        -------
        dict
            By request: None where another call is about to answer it. Requests that have their answer are left out:
            it is in the cache now.
        """
        wanted = [*dict.fromkeys(request_ids)]
        found: dict[str, Mine | None] = {}
        for name, each in zip(wanted, await self._shared.claim(wanted), strict=True):
            if isinstance(each, Mine):
                found[name] = each
            elif each.startswith(CLAIM):
                found[name] = None
            elif not self._take(name, each):
                found[name] = Mine(name, b"", float("inf"))
        return found

    async def wait(self, request_id: str) -> Mine | None:
        """Wait for another call to answer a request: None once it is in the cache, else it is ours to answer.

        Of a worker that does not answer within `CLAIM_S`, the request is taken over. If it has written a prediction
        after all, that is the answer.
        """
        until, pause = time.monotonic() + WAIT_S, PAUSES_S[0]
        claim, since = b"", 0.0
        while (now := time.monotonic()) < until:
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSES_S[1])
            if self._cache.get(request_id) is not None:
                return None
            (there,) = await self._shared.claim([request_id])
            if isinstance(there, bytes) and there == claim and now > since + CLAIM_S:
                taken = await self._shared.take_over(request_id, claim)
                if isinstance(taken, Mine):
                    value = await self._shared.written(taken, claim)
                    return None if value is not None and self._take(request_id, value) else taken
                there = taken or Mine(request_id, b"", float("inf"))
            if isinstance(there, Mine):
                return there
            if not there.startswith(CLAIM):
                return None if self._take(request_id, there) else Mine(request_id, b"", float("inf"))
            if there != claim:
                claim, since = there, time.monotonic()
        return Mine(request_id, b"", float("inf"))

    def _take(self, request_id: str, value: bytes) -> bool:
        body = self._read(value)
        if body is None:
            return False
        if self._cache.get(request_id) is None:
            self._cache.add(request_id, Answer(body))
            self._given()
        return True

    def _read(self, value: bytes) -> bytes | None:
        """Return the answer that a value holds; None for what this version of the package cannot read."""
        if value.startswith(ANSWER):
            return value[1:]
        try:
            return self._body(self._codec.decode_prediction(value[1:]))
        except BadRecord:
            return None

    async def look_up(self, request_id: str) -> bytes | None:
        """Return the answer to a request; None where there is none."""
        value = await self._shared.read(request_id)
        for pause in LOOKS_S:
            if value is None or not value.startswith(CLAIM):
                break
            await asyncio.sleep(pause)
            value = await self._shared.read(request_id)
        if value is None or value.startswith(CLAIM) or (body := self._read(value)) is None:
            return None
        self._given()
        return body

    def acknowledged(self, answer: Answer) -> None:
        """Give an answer to all workers: Kafka has its prediction."""
        if answer.mine is not None:
            self._shared.keep(answer.mine, answer.body)

    def release(self, mine: Mine) -> None:
        """Give back a request that gets no prediction."""
        self._shared.release(mine)

    async def settle(self, mine: Mine, answer: Answer) -> None:
        """Make an answer that came late that of the worker that was faster, where there is one."""
        until = time.monotonic() + WAIT_S
        value = await self._shared.keep_now(mine, answer.body)
        while value is not None and value.startswith(CLAIM) and time.monotonic() < until:
            await asyncio.sleep(PAUSES_S[1])
            value = await self._shared.read(mine.request_id)
        if value is not None and not value.startswith(CLAIM) and (body := self._read(value)) is not None:
            answer.body = body
