"""What became of a request, over HTTP."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from agents.http.problems import Problem
from agents.http.task import HttpTask
from infra.audit.requests import RequestAudit
from schemas.codec import Codec
from schemas.errors import BrokerError, StoreError

WAIT_S: Final = 6.0
"""How long a call waits for the index; below the bound of every call."""
PAUSE: Final = 2.0
"""Of the time that a thread could spend indexing, it rests two thirds: the worker goes on serving."""


class RequestAudits:
    """Finds what became of the requests of one task, in a thread of its own.

    The first call makes the index of the task's topics, or takes up the one that lies in the worker's folder.
    """

    def __init__(self, task: HttpTask) -> None:
        self._task = task
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"audit-{task.context.task.name}")
        self._audit: RequestAudit | None = None
        self._lock = asyncio.Lock()
        self._updating: asyncio.Future[bool] | None = None

    async def find(self, request_id: str) -> dict[str, Any]:
        """Return all that is known of a request.

        Raises
        ------
        Problem
            404 where nothing is known, 503 while the index is being made or Kafka does not answer.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WAIT_S), self._lock:
                if self._updating is not None and not self._updating.done():
                    await asyncio.wait({self._updating})  # it may have begun before the request was written
                self._updating = loop.run_in_executor(self._pool, self._update)
                await asyncio.wait({self._updating})
                self._updating.result()
        except TimeoutError:
            raise self._not_ready() from None
        except (BrokerError, StoreError) as error:
            raise Problem(503, "index_not_ready", str(error)) from error
        assert self._audit is not None
        found = await loop.run_in_executor(self._pool, self._audit.find, request_id)
        if not found["found"]:
            detail = (
                f"no topic has a record of request {request_id[:200]!r}; topics are kept for a limited time"
            )
            raise Problem(404, "unknown_request", detail)
        return found

    def _update(self) -> bool:
        if self._audit is None:
            context, data = self._task.context, self._task.settings.data_folder
            self._audit = RequestAudit(context.connection, context.loaded, data, PAUSE, self._registered)
        return self._audit.update()

    def _not_ready(self) -> Problem:
        done, total = (0, 0) if self._audit is None else self._audit.index.progress
        detail = f"the index of requests is being made: {done:,} of {total:,} offsets are read; retry"
        return Problem(503, "index_not_ready", detail, done=done, total=total)

    def _registered(self, codec: Codec) -> Codec:
        codec.reader.unframe = self._task.context.codec.reader.unframe
        return codec

    def close(self) -> None:
        """End the thread, and then the clients."""
        if self._audit is not None:
            self._audit.index.stopping = True
            self._pool.submit(self._audit.close)
        self._pool.shutdown(wait=False)
