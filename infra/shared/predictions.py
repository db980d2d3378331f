"""The shared predictions of a task in a worker: claims, reads, and writes behind the answers."""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final, NamedTuple

from infra.clock import now_ms
from infra.kafka.transaction import OutRecord
from infra.shared.asks import Asks
from infra.shared.lane import Lane
from infra.shared.store import ANSWER, CLAIM, RECORD, Claim, Keep, Read, SharedStore, Step
from infra.shared.written import WrittenPredictions
from infra.task.context import TaskContext
from schemas.errors import FeaturesUnavailable

CLAIM_S: Final = 1.0
"""A worker that claimed a request and has not answered after this time may be dead: another one takes it over."""
LATE_S: Final = CLAIM_S / 2
"""Who answers later than this after a claim asks first whether another worker has taken the request over."""
ASK_S: Final = 0.1
"""How long a caller waits for the store, each time."""
WRITE_S: Final = 1.0
MOST: Final = 10_000
"""Predictions that wait to be written."""
MOST_BYTES: Final = 64 * 1024 * 1024
LINGER_S: Final = 0.01
"""Predictions are written together with those of so long after them: each write takes processor time of its own."""
RETRY_S: Final = 0.5
OLD_S: Final = 30.0
"""A prediction that could not be written for so long is given up."""
FAILURES: Final = 3
"""So many asks in a row that fail, and nobody waits for the store for a while."""
REST_S: Final = 0.5
SAY_S: Final = 30.0
CLOSE_S: Final = 2.0
log = logging.getLogger(__name__)


class Mine(NamedTuple):
    """A request that this worker answers."""

    request_id: str
    claim: bytes
    late_at: float
    """Monotonic; infinite where the store could not be asked."""

    @property
    def late(self) -> bool:
        """Whether another worker may have claimed it by now."""
        return time.monotonic() > self.late_at


class _Written(NamedTuple):
    keep: Keep
    since: float


class SharedPredictions:
    """What the workers of a task know together of its predictions.

    A prediction comes here after Kafka has acknowledged it, or its transaction has committed; never before.

    Parameters
    ----------
    asks, writes
        The same store, for callers who wait, and for what nobody waits for.
    counts
        Here are counted: `shared_late` and `shared_lost`.
    """

    def __init__(self, context: TaskContext, asks: Asks, writes: SharedStore, counts: Counter[str]) -> None:
        self._context, self._asks, self._writes, self._counts = context, asks, writes, counts
        name, self._written = context.task.name, WrittenPredictions(context)
        self._worker, self._numbers = secrets.token_hex(8), count()
        self._failures, self._rest_until, self._say_at = 0, 0.0, 0.0
        self._writing = Lane[_Written](
            *(f"share {name}", self._write, lambda job: len(job.keep.value)),
            most=MOST,
            most_bytes=MOST_BYTES,
            retry_s=RETRY_S,
            linger_s=LINGER_S,
        )

    # ------------------------------------------------------------------ asked while a caller waits

    async def claim(self, request_ids: Sequence[str]) -> list[Mine | bytes]:
        """Claim requests; gives by request that it is ours to answer, or what lies there.

        A store that fails or is late leaves each worker to answer for itself, as it does without one.
        """
        mine = [Mine(each, self._mark(), time.monotonic() + LATE_S) for each in request_ids]
        found = await self._run([Claim(each.request_id, each.claim) for each in mine])
        if found is None:
            return [each._replace(late_at=float("inf")) for each in mine]
        return [each if there is None else there for each, there in zip(mine, found, strict=True)]

    async def take_over(self, request_id: str, claim: bytes) -> Mine | bytes | None:
        """Claim a request in place of a worker that does not answer; None where the store does not say.

        What that worker may have written comes first: see `written`.
        """
        mine = Mine(request_id, self._mark(), time.monotonic() + LATE_S)
        found = await self._run([Keep(request_id, mine.claim, claim)])
        if found is None:
            return None
        return mine if found[0] is None else found[0]

    async def written(self, mine: Mine, claim: bytes) -> bytes | None:
        """Return the prediction that the worker of an earlier claim wrote, and give it to all; None without one."""
        value = await self._written.find(mine.request_id, int(claim[len(CLAIM) :].partition(b"-")[0]))
        if value is not None:
            self._put([Keep(mine.request_id, RECORD + value, mine.claim)])
        return None if value is None else RECORD + value

    async def read(self, request_id: str) -> bytes | None:
        """Return what lies under a request id; None also where the store does not answer."""
        found = await self._run([Read(request_id)])
        return None if found is None else found[0]

    async def keep_now(self, mine: Mine, answer: bytes) -> bytes | None:
        """Write an answer that comes late; gives what lies there instead, None where it is written, or unknown."""
        value = ANSWER + answer
        found = await self._run([Keep(mine.request_id, value, mine.claim)])
        return None if found is None or found[0] == value else found[0]

    def _mark(self) -> bytes:
        return CLAIM + f"{now_ms()}-{self._worker}-{next(self._numbers)}".encode()

    async def _run(self, steps: Sequence[Step]) -> list[bytes | None] | None:
        """Take steps; None where the store fails, or does not answer in time."""
        if not steps:
            return []
        now = time.monotonic()
        if now < self._rest_until:
            self._counts["shared_late"] += len(steps)
            return None
        try:
            found = await self._asks.run(steps, ASK_S)
        except FeaturesUnavailable as error:
            self._counts["shared_late"] += len(steps)
            self._failed(error)
            return None
        self._failures = 0
        return found

    def _failed(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures >= FAILURES:
            self._rest_until = time.monotonic() + REST_S
        self._say(error)

    def _say(self, error: BaseException) -> None:
        if (now := time.monotonic()) >= self._say_at:
            self._say_at = now + SAY_S
            name = self._context.task.name
            log.warning("%s: other workers do not give back this worker's predictions now: %s", name, error)

    # ------------------------------------------------------------------ written behind the answers

    def keep(self, mine: Mine, answer: bytes) -> None:
        """Write an answer that Kafka has acknowledged."""
        self._put([Keep(mine.request_id, ANSWER + answer, mine.claim)])

    def release(self, mine: Mine) -> None:
        """Take back the claim of a request that gets no prediction."""
        self._put([Keep(mine.request_id, b"", mine.claim)])

    def committed(self, records: Iterable[OutRecord]) -> None:
        """Write the predictions among the records of a transaction that has committed."""
        topic, frame = self._context.topics.predictions, self._context.frame
        keeps = []
        for each in records:
            if each.topic == topic and each.key is not None and each.value is not None:
                value = each.value if frame is None else frame.without(each.value)
                keeps.append(Keep(each.key.decode(), RECORD + value))
        self._put(keeps)

    def _put(self, keeps: Sequence[Keep]) -> None:
        now = time.monotonic()
        self._counts["shared_lost"] += self._writing.add([_Written(each, now) for each in keeps])

    def _write(self, jobs: Sequence[_Written]) -> bool:
        """Write (in a thread); False where that comes again."""
        try:
            self._writes.run([each.keep for each in jobs])
        except FeaturesUnavailable as error:
            self._say(error)
            if time.monotonic() - jobs[0].since < OLD_S:
                return False
            self._counts["shared_lost"] += len(jobs)
        return True

    def close(self) -> None:
        """Write what waits, for up to two seconds, and close the store (blocks)."""
        self._counts["shared_lost"] += self._writing.close(CLOSE_S)
        self._written.close()
        self._asks.close()
        self._writes.close()
