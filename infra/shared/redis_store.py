"""Shared predictions in Redis or Valkey: one text for each request id, which expires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from infra.redis_client import Address, RedisServer
from infra.shared.store import Claim, Keep, Step

Argument = str | bytes | int
CLAIM: Final = """
local there = redis.call('GET', KEYS[1])
if not there then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
return there
"""
"""Writes a claim where nothing lies; gives what lies there."""
KEEP: Final = """
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return there end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return false
"""
"""Writes a value in place of a claim, or of nothing; gives what else is there."""


class Layout:
    """The command of each step, which has one reply.

    Parameters
    ----------
    name
        Of the task on its cluster, such that no other task has the same: part of each key.
    ttl_s
        For how long a prediction stays, and the claim of a worker that died.
    """

    def __init__(self, project: str, name: str, ttl_s: float) -> None:
        self._prefix, self._ttl_ms = f"riverloop:{project}:prediction:{name}:", round(ttl_s * 1000)

    def command(self, step: Step) -> tuple[Argument, ...]:
        """Return the command of a step."""
        key = self._prefix + step.request_id
        if isinstance(step, Claim):
            return "EVAL", CLAIM, 1, key, step.value, self._ttl_ms
        if not isinstance(step, Keep):
            return "GET", key
        if step.claim:
            return "EVAL", KEEP, 1, key, step.claim, step.value, self._ttl_ms
        return "SET", key, step.value, "NX", "PX", self._ttl_ms

    @staticmethod
    def result(step: Step, reply: Any) -> bytes | None:
        """Return what a step gives."""
        return reply if isinstance(reply, bytes) and not (isinstance(step, Keep) and not step.claim) else None


class RedisPredictions:
    """The predictions of one task, for threads.

    Raises
    ------
    UsageError
        See `RedisServer`.
    """

    def __init__(self, address: Address, layout: Layout, timeout_s: float) -> None:
        server = RedisServer(address)
        self._layout, self._clustered, self._translated = layout, server.clustered, server.translated
        self._client = server.client(timeout_s)

    def run(self, steps: Sequence[Step]) -> list[bytes | None]:
        """See `SharedStore.run`."""
        with self._translated():
            # A cluster's pipeline takes no script.
            calls = self._client if self._clustered else self._client.pipeline(transaction=False)
            found = [calls.execute_command(*self._layout.command(step)) for step in steps]
            if not self._clustered:
                found = calls.execute()
        return [self._layout.result(step, reply) for step, reply in zip(steps, found, strict=True)]

    def close(self) -> None:
        """See `SharedStore.close`."""
        self._client.close()
