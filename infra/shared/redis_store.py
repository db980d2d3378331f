"""Shared predictions in Redis or Valkey: one text for each request id, which expires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from infra.redis_client import Address, RedisServer
from infra.shared.store import Claim, Keep, Step

KEEP: Final = """
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return there end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return false
"""
"""Writes a value in place of a claim, or of nothing; gives what else is there."""


class RedisPredictions:
    """The predictions of one task.

    Parameters
    ----------
    name
        Of the task on its cluster, such that no other task has the same: part of each key.
    ttl_s
        For how long a prediction stays, and the claim of a worker that died.

    Raises
    ------
    UsageError
        See `RedisServer`.
    """

    def __init__(self, address: Address, name: str, ttl_s: float, timeout_s: float) -> None:
        server = RedisServer(address)
        self._prefix = f"riverloop:{address.project}:prediction:{name}:"
        self._ttl_ms = round(ttl_s * 1000)
        self._clustered, self._translated = server.clustered, server.translated
        self._client = server.client(timeout_s)

    def run(self, steps: Sequence[Step]) -> list[bytes | None]:
        """See `SharedStore.run`."""
        with self._translated():
            # A cluster's pipeline takes no script.
            calls = self._client if self._clustered else self._client.pipeline(transaction=False)
            counts, found = [], []
            for step in steps:
                given = self._take(calls, step)
                counts.append(len(given))
                found += given
            if not self._clustered:
                found = calls.execute()
        results: list[bytes | None] = []
        for step, count in zip(steps, counts, strict=True):
            given, found = found[:count], found[count:]
            claimed = isinstance(step, Claim) and given[0]
            value = None if claimed else given[-1]
            results.append(value if isinstance(value, bytes) else None)
        return results

    def _take(self, calls: Any, step: Step) -> list[Any]:
        """Make the calls of a step; gives what each returns."""
        key = self._prefix + step.request_id
        if isinstance(step, Claim):
            # Not SET with NX and GET in one, which servers before Redis 7 reject.
            return [calls.set(key, step.value, nx=True, px=self._ttl_ms), calls.get(key)]
        if not isinstance(step, Keep):
            return [calls.get(key)]
        if step.claim:
            return [calls.eval(KEEP, 1, key, step.claim, step.value, self._ttl_ms)]
        return [calls.set(key, step.value, nx=True, px=self._ttl_ms)]

    def close(self) -> None:
        """See `SharedStore.close`."""
        self._client.close()
