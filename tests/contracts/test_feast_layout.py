"""What lies in Redis is what Feast 0.67 writes, byte for byte; `feast_golden.py` made the file with Feast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.features import feast
from infra.features.redis_store import RedisFeatures
from infra.features.store import Put
from infra.redis_client import Address
from schemas.errors import BadRecord
from schemas.feature_row import FeatureRow, RowKey
from tests.contracts.feast_golden import cases
from tests.valkey import Valkey

FILE = Path(__file__).with_name("feast_golden.json")
GOLDEN: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))


def row_of(case: dict[str, Any]) -> FeatureRow:
    return FeatureRow(RowKey.of(case["view"], case["entity"]), case["ts"], case["values"])


def test_the_file_is_of_these_cases() -> None:
    assert [
        {name: each[name] for name in case} for case, each in zip(cases(), GOLDEN, strict=True)
    ] == cases()


def test_redis_holds_what_feast_writes(tmp_path: Path) -> None:
    import redis

    with Valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        store = RedisFeatures(Address(server.url, project="shop"), 1.0)
        for case in GOLDEN:
            client.flushall()
            row = row_of(case)
            assert store.write([row], {}) == [Put.TAKEN]
            (key,) = client.keys()
            assert key.hex() == case["key"], case
            assert {name.hex(): data.hex() for name, data in client.hgetall(key).items()} == case["fields"], (
                case
            )
            assert store.read([row.key], {case["view"]: [*case["values"]]}) == [row]
        store.close()


def test_what_feast_wrote_is_read(tmp_path: Path) -> None:
    import redis

    with Valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        store = RedisFeatures(Address(server.url, project="shop"), 1.0)
        for case in GOLDEN:
            client.flushall()
            fields = {bytes.fromhex(name): bytes.fromhex(data) for name, data in case["fields"].items()}
            client.hset(bytes.fromhex(case["key"]), mapping=fields)
            row = row_of(case)
            assert store.read([row.key], {case["view"]: [*case["values"], "unknown"]}) == [row]
        store.close()


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("1807", 7),  # int32
        ("18ffffffffffffffffff01", -1),
        ("350000003f", 0.5),  # float
        ("4080e2cfaa06", 1_700_000_000),  # unix_timestamp
        ("980100", None),  # null
        ("", None),
    ],
)
def test_other_scalars_of_feast_are_read(data: str, value: object) -> None:
    assert feast.decode_value(bytes.fromhex(data)) == value


@pytest.mark.parametrize(
    "data", ["0a0141", "6203080102", "ff", "20", "1205ab", "1201ff", "23", "20" + "ff" * 11]
)
def test_what_is_no_scalar_is_refused(data: str) -> None:
    with pytest.raises(BadRecord):
        feast.decode_value(bytes.fromhex(data))


@pytest.mark.parametrize("ts", [0, 999, 1_000, 1_700_000_000_250, 2**53 - 1])
def test_a_time_is_read_back(ts: int) -> None:
    assert feast.decode_time(feast.encode_time(feast.Time.of_ms(ts))).ms == ts
