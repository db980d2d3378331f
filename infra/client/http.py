"""Scores and outcomes over HTTP: one class for threads, one for asyncio."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack
from urllib.parse import quote, urlsplit

from infra.client.calls import (
    RETRY,
    Answer,
    OutcomeOptions,
    RequestOptions,
    outcome_fields,
    read_reply,
    request_fields,
)
from infra.clock import now_ms
from schemas.errors import CallFailed, UsageError

if TYPE_CHECKING:
    import aiohttp

PAUSE_S: Final = 0.1
"""Before the next try, unless the worker names a time."""
UNREACHABLE: Final = 0
"""The status of a call without an answer."""


class HttpOptions(TypedDict, total=False):
    """Options of both clients."""

    token: str | None
    """Sent as a bearer token; None: none."""
    timeout_s: float
    """For one try, in s; 10 by default."""
    retry_s: float
    """For all tries of a call, in s; 10 by default, 0: one try."""


class _Endpoint:
    """Where calls go, and how long they are tried."""

    def __init__(
        self, url: str, task: str, *, token: str | None = None, timeout_s: float = 10.0, retry_s: float = 10.0
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:  # no number
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"a worker's address is http://HOST:PORT or https://HOST:PORT, not {url!r}")
        self.secure, self.host, self.port = parts.scheme == "https", parts.hostname, port
        self.place, self.root = parts.netloc, f"{parts.path.rstrip('/')}/tasks/{quote(task, safe='')}"
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.timeout_s, self.retry_s = timeout_s, retry_s
        self.headers = {"Content-Type": "application/json"}
        if token is not None:
            self.headers["Authorization"] = f"Bearer {token}"

    def pause_s(self, failed: CallFailed, retry_after: str | None, ends: float) -> float:
        """Return how long to wait before the next try; raise the error where there is none."""
        pause_s = float(retry_after) if retry_after and retry_after.isdecimal() else PAUSE_S
        if failed.status not in (UNREACHABLE, RETRY) or time.monotonic() + pause_s > ends:
            raise failed
        return pause_s

    def unreachable(self, error: Exception) -> CallFailed:
        """Return the error for a call without an answer."""
        found = str(error) or type(error).__name__
        return CallFailed(UNREACHABLE, "unreachable", f"{self.place} does not answer: {found}")


class HttpClient:
    """A worker over HTTP; threads may share it, and each has its own connection.

    A call that a worker cannot answer yet (503), or that gets no answer, is repeated. That is safe: a worker
    gives a repeated request the same answer, and equal outcomes count once.

    Parameters
    ----------
    url
        The address of a worker or of a load balancer, such as ``http://worker-1:8080``.
    task
        The task's name.
    **options
        `token`, `timeout_s`, `retry_s`: see `HttpOptions`.
    """

    def __init__(self, url: str, task: str, **options: Unpack[HttpOptions]) -> None:
        self._to = _Endpoint(url, task, **options)
        self._own = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads."""
        for connection in self._open:
            connection.close()

    def score(
        self, request_id: str, features: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Answer:
        """Ask for a score.

        Parameters
        ----------
        request_id
            Unique in the task; the outcome is reported under it.
        features
            The features, by name.
        **options
            `ts` (by default the time of arrival), `entity_key`, `parents`: see `RequestOptions`.

        Raises
        ------
        CallFailed
            With the worker's reason; `status` is 0 when no worker answered.
        """
        fields = request_fields(request_id, features, **options)
        return Answer.of_reply(self._call("POST", "/predictions", json.dumps(fields)))

    def prediction(self, request_id: str) -> Answer:
        """Return an answer that this worker has given, from its cache.

        Raises
        ------
        CallFailed
            With the reason ``not_cached`` when this worker does not have it.
        """
        return Answer.of_reply(self._call("GET", f"/predictions/{quote(request_id, safe='')}"))

    def report(self, request_id: str, value: Any, **options: Unpack[OutcomeOptions]) -> None:
        """Report an outcome; it is on the topic when this returns.

        Parameters
        ----------
        request_id
            The request that it is the outcome of.
        value
            True or false, a class, or a number; None, with a `reason`: no truth will come.
        **options
            `ts`, `revision`, `reason`, `reporter`: see `OutcomeOptions`.

        Raises
        ------
        CallFailed
            As in `score`.
        """
        fields = outcome_fields(request_id, value, now_ms(), **options)
        self._call("POST", "/outcomes", json.dumps(fields))

    def _call(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        ends = time.monotonic() + self._to.retry_s
        while True:
            retry_after = None
            try:
                status, retry_after, data = self._once(method, path, body)
                return read_reply(status, data)
            except CallFailed as failed:
                time.sleep(self._to.pause_s(failed, retry_after, ends))

    def _once(self, method: str, path: str, body: str | None) -> tuple[int, str | None, bytes]:
        connection = self._connection()
        try:
            # Bytes, since the headers would be sent before a text's.
            sent = None if body is None else body.encode()
            connection.request(method, self._to.root + path, sent, self._to.headers)
            answer = connection.getresponse()
            return answer.status, answer.headers["Retry-After"], answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # the next request opens it again
            raise self._to.unreachable(error) from error

    def _connection(self) -> http.client.HTTPConnection:
        made: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if made is None:
            kind = http.client.HTTPSConnection if self._to.secure else http.client.HTTPConnection
            made = self._own.connection = kind(self._to.host, self._to.port, timeout=self._to.timeout_s)
            self._open.append(made)
        return made


class AsyncHttpClient:
    """The same for asyncio, in an ``async with`` block; tasks share its connections.

    Parameters
    ----------
    url, task, **options
        As of `HttpClient`.
    """

    def __init__(self, url: str, task: str, **options: Unpack[HttpOptions]) -> None:
        self._to = _Endpoint(url, task, **options)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # Imported here: it takes longer than everything else of the client, and threads do without.
        import aiohttp  # noqa: PLC0415

        timeout = aiohttp.ClientTimeout(total=self._to.timeout_s)
        self._session = aiohttp.ClientSession(self._to.url, headers=self._to.headers, timeout=timeout)
        return self

    async def __aexit__(self, *failure: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def score(
        self, request_id: str, features: Mapping[str, Any], **options: Unpack[RequestOptions]
    ) -> Answer:
        """Ask for a score, as `HttpClient.score`."""
        fields = request_fields(request_id, features, **options)
        return Answer.of_reply(await self._call("POST", "/predictions", json.dumps(fields)))

    async def prediction(self, request_id: str) -> Answer:
        """Return an answer that this worker has given, as `HttpClient.prediction`."""
        return Answer.of_reply(await self._call("GET", f"/predictions/{quote(request_id, safe='')}"))

    async def report(self, request_id: str, value: Any, **options: Unpack[OutcomeOptions]) -> None:
        """Report an outcome, as `HttpClient.report`."""
        fields = outcome_fields(request_id, value, now_ms(), **options)
        await self._call("POST", "/outcomes", json.dumps(fields))

    async def _call(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        ends = time.monotonic() + self._to.retry_s
        while True:
            retry_after = None
            try:
                status, retry_after, data = await self._once(method, path, body)
                return read_reply(status, data)
            except CallFailed as failed:
                await asyncio.sleep(self._to.pause_s(failed, retry_after, ends))

    async def _once(self, method: str, path: str, body: str | None) -> tuple[int, str | None, bytes]:
        import aiohttp  # noqa: PLC0415  as in __aenter__, which has loaded it
        import yarl  # noqa: PLC0415

        if self._session is None:
            raise UsageError("open the client first: async with AsyncHttpClient(...) as client")
        try:
            # The path is quoted already.
            where = yarl.URL(self._to.root + path, encoded=True)
            async with self._session.request(method, where, data=body) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._to.unreachable(error) from error
