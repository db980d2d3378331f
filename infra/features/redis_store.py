"""Features in Redis or Valkey, in Feast's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from infra.features import feast
from infra.features.store import Put
from infra.redis_client import Address, RedisServer
from schemas.errors import BadRecord
from schemas.feature_row import FeatureRow, RowKey
from schemas.records import FeatureValue

FILL_TIMEOUT_S: Final = 5.0
"""How long a write may take: nobody waits for it."""

PUT: Final = """
local function time_of(data)
  local at, seconds, nanos = 1, 0, 0
  while at <= #data do
    local tag, number, factor = string.byte(data, at), 0, 1
    at = at + 1
    while true do
      local byte = string.byte(data, at)
      at = at + 1
      if byte < 128 then number = number + byte * factor break end
      number = number + (byte - 128) * factor
      factor = factor * 128
    end
    if tag == 8 then seconds = number elseif tag == 16 then nanos = number end
  end
  return seconds, nanos
end
local there = redis.call('HGET', KEYS[1], ARGV[1])
if there then
  local seconds, nanos = time_of(there)
  local new_seconds, new_nanos = time_of(ARGV[2])
  if seconds > new_seconds or (seconds == new_seconds and nanos > new_nanos) then return -1 end
  if seconds == new_seconds and nanos == new_nanos then return 0 end
end
redis.call('HSET', KEYS[1], unpack(ARGV))
return 1
"""
"""Writes a row unless one of the same or a later event time is there: -1 older, 0 same time, 1 written."""
ADVANCE: Final = """
local there = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if there ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
"""Notes how far the topic is read, unless another worker has, or the store was wiped."""


class RedisFeatures:
    """A store that workers share.

    Raises
    ------
    UsageError
        When the package `redis` is not installed, or the address is of another form.
    """

    shared = True

    def __init__(self, address: Address, timeout_s: float) -> None:
        server = RedisServer(address)
        self._project, self._cluster, self._translated = address.project, server.clustered, server.translated
        self._reading, self._writing = server.client(timeout_s), server.client(FILL_TIMEOUT_S)

    # ------------------------------------------------------------------ rows

    def read(
        self, keys: Sequence[RowKey], names: Mapping[str, Sequence[str]], timeout_s: float | None = None
    ) -> list[FeatureRow | None]:
        """See `FeatureStore.read`: one round trip."""
        if not keys:
            return []
        with self._translated():
            pipe = self._reading.pipeline(transaction=False)
            for key in keys:
                fields = [
                    feast.time_field(key.view),
                    *(feast.field(key.view, name) for name in names[key.view]),
                ]
                pipe.hmget(feast.hash_key(self._project, key), fields)
            found = pipe.execute()
        return [_row(key, names[key.view], each) for key, each in zip(keys, found, strict=True)]

    def write(self, rows: Sequence[FeatureRow], names: Mapping[str, Sequence[str]]) -> list[Put]:
        """See `FeatureStore.write`: one call of a script for each row."""
        calls = [
            (feast.hash_key(self._project, row.key), *_pairs(row, names.get(row.key.view, ())))
            for row in rows
        ]
        with self._translated():
            if self._cluster:
                return [Put(self._writing.eval(PUT, 1, *each)) for each in calls]
            pipe = self._writing.pipeline(transaction=False)
            for each in calls:
                pipe.eval(PUT, 1, *each)
            return [Put(each) for each in pipe.execute()]

    def delete(self, key: RowKey, names: Sequence[str]) -> None:
        """See `FeatureStore.delete`."""
        fields = [feast.time_field(key.view), *(feast.field(key.view, name) for name in names)]
        with self._translated():
            self._writing.hdel(feast.hash_key(self._project, key), *fields)

    # ------------------------------------------------------------------ progress along the topic

    def progress(self, topic: str, topic_id: str) -> dict[int, int]:
        """Return by partition the first offset that the store has not; none after it was wiped."""
        with self._translated():
            found = self._writing.hgetall(self._progress_key(topic))
        prefix = f"{topic_id}:"
        named = {field.decode(): int(value) for field, value in found.items()}
        return {int(each.removeprefix(prefix)): at for each, at in named.items() if each.startswith(prefix)}

    def advance(self, topic: str, topic_id: str, partition: int, before: int | None, after: int) -> bool:
        """Note that the store has a partition up to an offset; False when it was not at `before`."""
        expected = "" if before is None else str(before)
        with self._translated():
            arguments = (self._progress_key(topic), f"{topic_id}:{partition}", expected, after)
            return bool(self._writing.eval(ADVANCE, 1, *arguments))

    def _progress_key(self, topic: str) -> str:
        return f"riverloop:{self._project}:{topic}"

    def close(self) -> None:
        """See `FeatureStore.close`."""
        self._reading.close()
        self._writing.close()


def _pairs(row: FeatureRow, names: Sequence[str]) -> list[bytes]:
    view = row.key.view
    found = [feast.time_field(view), feast.encode_time(feast.Time.of_ms(row.ts))]
    for name in dict.fromkeys((*row.values, *names)):
        found += [feast.field(view, name), feast.encode_value(row.values.get(name))]
    return found


def _row(key: RowKey, names: Sequence[str], found: Sequence[bytes | None]) -> FeatureRow | None:
    time, *values = found
    if time is None:
        return None
    try:
        ts = feast.decode_time(time).ms
    except BadRecord:
        return None
    taken: dict[str, FeatureValue] = {}
    for name, data in zip(names, values, strict=True):
        value = _value(data)
        if value is not None:
            taken[name] = value
    return FeatureRow(key, ts, taken)


def _value(data: bytes | None) -> FeatureValue | None:
    try:
        return feast.decode_value(data)
    except BadRecord:
        return float("inf")  # no dictionary takes it: counted as invalid, not as missing
