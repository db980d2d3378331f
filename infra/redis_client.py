"""Connections to the Redis or Valkey server that the workers of a task share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from schemas.errors import FeaturesUnavailable, UsageError

SCHEMES: Final = ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix")
CONNECT_TIMEOUT_S: Final = 1.0
LONGEST: Final = 200


class Address(NamedTuple):
    """Where the store is, and as whom."""

    url: str
    """Of `SCHEMES`; without a password."""
    password: str = ""
    project: str = "riverloop"
    """Feast's project, part of each key."""


def check_address(url: str) -> None:
    """Check the URL of a store.

    Raises
    ------
    UsageError
        When it is of another form, or holds a password, which would be shown.
    """
    parts = urlsplit(url)
    if parts.password or "password=" in parts.query:
        raise UsageError(
            "the URL of the feature store has a password: set it in RIVERLOOP_FEATURE_STORE_PASSWORD, or in a file "
            "that RIVERLOOP_FEATURE_STORE_PASSWORD_FILE names"
        )
    if parts.scheme not in SCHEMES or not (parts.hostname or parts.path):
        raise UsageError(
            f"the feature store {url[:LONGEST]!r} must be redis://HOST:PORT/DB, rediss:// with TLS, or "
            "redis+cluster:// or rediss+cluster://"
        )


class RedisServer:
    """Makes clients of the server at an address, and translates their errors.

    Raises
    ------
    UsageError
        When the package `redis` is not installed, or the address is of another form.
    """

    def __init__(self, address: Address) -> None:
        check_address(address.url)
        self._address = address
        self._place = address.url.split("?", maxsplit=1)[0][:LONGEST]
        self.clustered = "+cluster" in urlsplit(address.url).scheme
        try:
            import redis  # noqa: PLC0415  an extra: only a worker with such a store imports it
        except ImportError:
            raise UsageError(
                "a feature store in Redis needs the extra: pip install 'riverloop[redis]'"
            ) from None
        self._redis: Any = redis
        self.rejection: type[Exception] = redis.ResponseError
        """The error of a command that the server does not take; the connection stays as it is."""
        # A cluster that is away is no RedisError.
        self._errors = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)

    def client(self, timeout_s: float) -> Any:
        """Return a client whose calls fail after a time; any thread may call it."""
        address, redis = self._address, self._redis
        options = {
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(timeout_s, CONNECT_TIMEOUT_S),
            "protocol": 2,
            "password": address.password or None,
        }
        from redis.backoff import NoBackoff  # noqa: PLC0415  as above
        from redis.retry import Retry  # noqa: PLC0415  as above

        if self.clustered:
            url, retry = address.url.replace("+cluster", "", 1), Retry(NoBackoff(), 1)
            return _WhenUsed(lambda: redis.RedisCluster.from_url(url, retry=retry, **options))
        # The caller has its own bound: a client that tries again would exceed it.
        return redis.Redis.from_url(address.url, retry=Retry(NoBackoff(), 0), **options)

    async def connection(self) -> Any:
        """Return a connection of the event loop, without bounds in time of its own; not of a cluster."""
        from redis import asyncio  # noqa: PLC0415  as above
        from redis.asyncio.retry import Retry  # noqa: PLC0415  as above
        from redis.backoff import NoBackoff  # noqa: PLC0415  as above

        address, retry = self._address, Retry(NoBackoff(), 0)
        pool: Any = asyncio.ConnectionPool.from_url(
            address.url, protocol=2, password=address.password or None, retry=retry
        )
        connection = pool.make_connection()
        await connection.connect()
        return connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Translate the errors of a block.

        Raises
        ------
        FeaturesUnavailable
            With the server's words, and never the password.
        """
        try:
            yield
        except self._errors as error:
            said = str(error) or type(error).__name__
            if self._address.password:
                said = said.replace(self._address.password, "***")
            raise FeaturesUnavailable(
                f"the feature store {self._place} does not answer: {said:.300}"
            ) from error


class _WhenUsed:
    """A cluster's client, made at its first use: it connects then, and a worker starts without the store."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, threading.Lock()
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        with self._lock:
            if self._made is None:
                self._made = self._make()
        return getattr(self._made, name)

    def close(self) -> None:
        """Close it, where it was used."""
        if self._made is not None:
            self._made.close()
