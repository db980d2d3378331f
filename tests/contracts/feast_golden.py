"""What Feast writes into Redis, as a file: `python feast_golden.py HOST:PORT > feast_golden.json`.

Needs feast==0.67 and a Redis or Valkey server that is empty. Nothing of riverloop is imported, so that it runs in
an environment of its own; `test_feast_layout.py` compares the file with what riverloop writes.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

PROJECT = "shop"
TS = (0, 1, 999, 1_000, 1_700_000_000_000, 1_700_000_000_250, 4_102_444_800_001)
ENTITIES: list[dict[str, Any]] = [
    {"customer_id": "c-7"},
    {"customer_id": "ünï:código"},
    {"customer_id": 7},
    {"customer_id": -(2**63)},
    {"merchant": "m-1", "customer_id": 2**63 - 1},
    {"z": "1", "a": "2", "m": 3},
]
VALUES: list[dict[str, Any]] = [
    {"orders": 4, "spent": 12.5, "vip": True, "band": "gold"},
    {"orders": 0, "spent": 0.0, "vip": False, "band": ""},
    {"orders": -1, "spent": -0.5, "band": "größer ✓"},
    {"orders": 2**63 - 1, "spent": 1e300},
    {"orders": -(2**63), "long name: with ünicode": 1},
]


def cases() -> list[dict[str, Any]]:
    """Rows that differ in all parts."""
    return [
        {
            "project": PROJECT,
            "view": ("customer", "customer_statistics_of_30_days", "c")[number % 3],
            "entity": ENTITIES[number % len(ENTITIES)],
            "ts": TS[number % len(TS)],
            "values": VALUES[number % len(VALUES)],
        }
        for number in range(60)
    ]


def written(address: str) -> list[dict[str, Any]]:
    """Let Feast write each row into an empty server; returns the rows with the hash that it made."""
    import redis
    from feast import FeatureView, FileSource
    from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.repo_config import RepoConfig

    host, port = address.split(":")
    client: Any = redis.Redis(host=host, port=int(port))
    config = RepoConfig(
        project=PROJECT,
        provider="local",
        registry="unused.db",
        online_store=RedisOnlineStoreConfig(connection_string=address),
        entity_key_serialization_version=3,
    )

    def value(each: Any) -> Any:
        kind = {bool: "bool_val", int: "int64_val", float: "double_val", str: "string_val"}[type(each)]
        return Value(**{kind: each})

    found = []
    for case in cases():
        client.flushall()
        view = FeatureView(name=case["view"], source=FileSource(path="unused.parquet"), schema=[])
        entity = case["entity"]
        key = EntityKey(join_keys=list(entity), entity_values=[value(each) for each in entity.values()])
        values = {name: value(each) for name, each in case["values"].items()}
        when = datetime.fromtimestamp(case["ts"] / 1000, UTC)
        RedisOnlineStore().online_write_batch(config, view, [(key, values, when, None)], None)
        names: Any = client.keys()
        (name,) = names
        stored: Any = client.hgetall(name)
        fields = {field.hex(): data.hex() for field, data in sorted(stored.items())}
        found.append(case | {"key": name.hex(), "fields": fields})
    return found


if __name__ == "__main__":
    json.dump(written(sys.argv[1]), sys.stdout, indent=1, ensure_ascii=False)
    print()
