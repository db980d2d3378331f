"""The store of features on a real server: newest event time wins; down, slow, wiped, locked, with TLS."""

from __future__ import annotations

import asyncio
import csv
import gzip
import logging
import random
import ssl
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from infra.features.reader import REST_S, LookupReader
from infra.features.redis_store import RedisFeatures
from infra.features.store import FeatureStore, MemoryFeatures, Put
from infra.redis_client import Address, check_address
from infra.taskfile import examples
from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.errors import BadRecord, FeaturesUnavailable, UsageError
from schemas.feature_row import FeatureRow, RowKey
from schemas.records import Request
from streams.lookup import Lookup, Lookups
from tests.valkey import Proxy, Valkey

NAMES = {"buyers": ("orders", "spent")}
FEATURES = Dictionary(
    Category(name="customer"), Integer(name="orders", missing=-1), Number(name="spent", optional=True),
    added=["orders", "spent"],
)  # fmt: skip


def lookups(timeout_ms: int = 20) -> Lookups:
    return Lookups([Lookup("buyers", "customer", ("orders", "spent"), timeout_ms)], FEATURES)


def row(name: str, ts: int, orders: int, spent: float | None = None) -> FeatureRow:
    values: dict[str, int | float] = (
        {"orders": orders} if spent is None else {"orders": orders, "spent": spent}
    )
    return FeatureRow(RowKey.of("buyers", {"customer": name}), ts, values)


def request(number: int, customer: str = "c-1") -> Request:
    return Request(f"r-{number}", 1_700_000_000_000, {"customer": customer})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as found:
        yield found


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeatureStore]:
    if request.param == "memory":
        yield MemoryFeatures()
        return
    with Valkey(tmp_path / "valkey") as server:
        found = RedisFeatures(Address(server.url), 1.0)
        yield found
        found.close()


def test_the_newest_event_time_wins_in_any_order(store: FeatureStore) -> None:
    randomly = random.Random(7)
    rows = [row(f"c-{customer}", ts, ts * 10 + customer) for customer in range(20) for ts in range(1, 30)]
    randomly.shuffle(rows)
    for start in range(0, len(rows), 7):
        store.write(rows[start : start + 7], NAMES)
    keys = [row(f"c-{customer}", 0, 0).key for customer in range(20)]
    assert store.read(keys, NAMES) == [row(f"c-{customer}", 29, 290 + customer) for customer in range(20)]
    assert store.write([row("c-1", 28, 0), row("c-1", 29, 0), row("c-1", 30, 1)], NAMES) == [
        Put.OLDER, Put.SAME_TIME, Put.TAKEN
    ]  # fmt: skip


def test_a_row_replaces_all_of_the_older_one(store: FeatureStore) -> None:
    store.write([row("c-1", 1, 4, 2.5)], NAMES)
    store.write([row("c-1", 2, 5)], NAMES)
    assert store.read([row("c-1", 0, 0).key, row("c-2", 0, 0).key], NAMES) == [row("c-1", 2, 5), None]
    store.delete(row("c-1", 0, 0).key, NAMES["buyers"])
    assert store.read([row("c-1", 0, 0).key], NAMES) == [None]


def test_writers_at_the_same_time_leave_the_newest_whole(server: Valkey) -> None:
    def write(seed: int) -> None:
        store, times = RedisFeatures(Address(server.url), 1.0), list(range(1, 301))
        random.Random(seed).shuffle(times)
        for ts in times:
            store.write([row("c-1", ts, ts, float(ts))], NAMES)
        store.close()

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    reader, seen, done = RedisFeatures(Address(server.url), 1.0), list[FeatureRow](), threading.Event()

    def read() -> None:
        while not done.is_set():
            (found,) = reader.read([row("c-1", 0, 0).key], NAMES)
            if found is not None:
                seen.append(found)

    watching = threading.Thread(target=read)
    watching.start()
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    done.set()
    watching.join()
    assert reader.read([row("c-1", 0, 0).key], NAMES) == [row("c-1", 300, 300, 300.0)]
    assert [each.ts for each in seen] == sorted(each.ts for each in seen)  # it never goes back
    assert all(each.values == {"orders": each.ts, "spent": float(each.ts)} for each in seen)  # nor is it half
    reader.close()


# ---------------------------------------------------------------------- for serving


def reading(address: Address, timeout_ms: int) -> tuple[LookupReader, Counter[str], Lookups]:
    counts, asked = Counter[str](), lookups(timeout_ms)
    return LookupReader("t", asked, RedisFeatures(address, asked.timeout_s), counts), counts, asked


def complete(reader: LookupReader, asked: Lookups, *requests: Request) -> tuple[list[Request], float]:
    async def run() -> list[Request]:
        return await reader.complete([asked.keyed(each, each) for each in requests])

    began = time.monotonic()
    return asyncio.run(run()), time.monotonic() - began


def orders(requests: list[Request]) -> list[object]:
    return [each.features.get("orders") for each in requests]


def test_one_read_serves_a_batch(server: Valkey) -> None:
    with Proxy(server.port) as proxy:
        reader, counts, asked = reading(Address(f"redis://127.0.0.1:{proxy.port}"), timeout_ms=1000)
        RedisFeatures(Address(server.url), 1.0).write([row("c-1", 1, 4, 2.5), row("c-2", 1, 5)], NAMES)
        complete(reader, asked, request(0))  # connects
        before = proxy.answers
        found, _ = complete(reader, asked, *(request(n, f"c-{n % 3}") for n in range(50)))
        assert proxy.answers - before == 1
        assert orders(found)[:3] == [None, 4, 5]
        assert counts == {"lookups": 51, "lookups_missing": 17}
        reader.close()


def test_a_server_that_is_down_costs_nothing_and_is_used_again(server: Valkey) -> None:
    reader, counts, asked = reading(Address(server.url), timeout_ms=200)
    RedisFeatures(Address(server.url), 1.0).write([row("c-1", 1, 4)], NAMES)
    assert orders(complete(reader, asked, request(1))[0]) == [4]
    server.stop()
    for number in range(20):
        found, _ = complete(reader, asked, request(number))
        assert found[0].features == {"customer": "c-1"}
    assert counts["lookups_late"] == 20
    assert complete(reader, asked, request(1))[1] < 0.1  # it rests
    server.start()
    RedisFeatures(Address(server.url), 1.0).write([row("c-1", 2, 7)], NAMES)
    time.sleep(REST_S + 0.1)
    assert orders(complete(reader, asked, request(9))[0]) == [7]
    reader.close()


def test_a_slow_server_is_waited_for_no_longer_than_the_bound(
    server: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    RedisFeatures(Address(server.url), 1.0).write([row("c-1", 1, 4)], NAMES)
    with Proxy(server.port) as proxy:
        reader, counts, asked = reading(Address(f"redis://127.0.0.1:{proxy.port}"), timeout_ms=100)
        assert orders(complete(reader, asked, request(0))[0]) == [4]
        proxy.delay_s = 2.0
        with caplog.at_level(logging.WARNING):
            took = [complete(reader, asked, request(number))[1] for number in range(8)]
        assert 0.08 < max(took[:3]) < 1.0
        assert max(took[3:]) < 0.08  # after three it is left alone for a while
        assert counts["lookups_late"] == 8
        assert len([each for each in caplog.records if "look-ups give nothing" in each.message]) == 1
        proxy.delay_s = 0.0
        time.sleep(REST_S + 0.1)
        complete(reader, asked, request(8))  # may still meet an answer on its way
        assert orders(complete(reader, asked, request(9))[0]) == [4]
        reader.close()


def test_a_wrong_password_is_said_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Valkey(tmp_path, "--requirepass", "the right one") as server:
        right = RedisFeatures(Address(server.url, "the right one"), 1.0)
        assert right.write([row("c-1", 1, 4)], NAMES) == [Put.TAKEN]
        reader, counts, asked = reading(Address(server.url, "hunter-2"), timeout_ms=500)
        with caplog.at_level(logging.WARNING):
            found, _ = complete(reader, asked, request(1))
        assert found[0].features == {"customer": "c-1"}
        assert counts["lookups_late"] == 1
        assert "WRONGPASS" in caplog.text or "invalid" in caplog.text.lower()
        assert "hunter-2" not in caplog.text
        with pytest.raises(FeaturesUnavailable):
            RedisFeatures(Address(server.url, "hunter-2"), 1.0).read([row("c-1", 0, 0).key], NAMES)
        reader.close()
        right.close()


@pytest.mark.parametrize(
    "url", ["redis://:secret@127.0.0.1:1/0", "redis://127.0.0.1:1?password=secret", "http://x"]
)
def test_an_address_that_shows_a_password_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_address(url)
    assert "secret" not in str(raised.value)


def test_tls_with_the_right_authority_and_no_other(server: Valkey, tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    RedisFeatures(Address(server.url), 1.0).write([row("c-1", 1, 4)], NAMES)
    with Proxy(server.port, context) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}?ssl_ca_certs={tmp_path}"
        store = RedisFeatures(Address(f"{url}/ca.pem"), 5.0)
        assert store.read([row("c-1", 0, 0).key], NAMES) == [row("c-1", 1, 4)]
        store.close()
        with pytest.raises(FeaturesUnavailable, match=r"(?i)certificate"):
            RedisFeatures(Address(f"{url}/other.pem"), 5.0).read([row("c-1", 0, 0).key], NAMES)


def test_a_required_look_up_rejects_and_no_other() -> None:
    lookup = Lookup("buyers", "customer", ("orders",), required=True)
    required = Lookups(
        [lookup], Dictionary(Category(name="customer"), Integer(name="orders"), added=["orders"])
    )
    counts = Counter[str]()
    keyed = required.keyed(request(1), request(1))
    found = required.merged(keyed, {keyed.keys[0]: None}, counts)  # type: ignore[dict-item]
    with pytest.raises(BadRecord, match=r"c-1\] is not known") as raised:
        required.check(found)
    assert raised.value.reason == "lookup_failed"
    late = required.merged(keyed, {}, counts)
    with pytest.raises(BadRecord, match="was not read within 20 ms"):
        required.check(late)
    assert lookups().check(lookups().merged(lookups().keyed(request(1), request(1)), {}, counts)) == {}


def test_a_value_that_the_dictionary_rejects_is_missing_and_counted(server: Valkey) -> None:
    reader, counts, asked = reading(Address(server.url), timeout_ms=1000)
    wrong = FeatureRow(row("c-1", 0, 0).key, 1, {"orders": "many", "spent": 2.5})
    RedisFeatures(Address(server.url), 1.0).write([wrong], NAMES)
    found, _ = complete(reader, asked, request(1))
    assert found[0].features == {"customer": "c-1", "spent": 2.5}
    assert counts == {"lookups": 1, "lookups_invalid": 1}
    reader.close()


def test_each_entity_of_a_request_has_its_own_row_as_on_real_orders(server: Valkey) -> None:
    with gzip.open(examples() / "online_retail" / "online_retail_orders_early.csv.gz", "rt") as file:
        orders = list(csv.DictReader(file))
    known, asked = orders[: len(orders) // 2], orders[len(orders) // 2 :]
    features = Dictionary(
        Category(name="customer_id"),
        Category(name="country"),
        Integer(name="customer_orders", missing=0),
        Number(name="customer_value", optional=True),
        Integer(name="country_orders", missing=0),
        added=["customer_orders", "customer_value", "country_orders"],
    )
    views = Lookups(
        [
            Lookup(
                "customers", "customer_id", {"customer_orders": "orders", "customer_value": "value"}, 1000
            ),
            Lookup("countries", "country", {"country_orders": "orders"}, 1000),
        ],
        features,
    )
    # What anyone would compute of the first half.
    bought, of_country, value = Counter[str](), Counter[str](), defaultdict[str, float](float)
    for each in known:
        bought[each["customer_id"]] += 1
        value[each["customer_id"]] += float(each["value"])
        of_country[each["country"]] += 1
    rows = [
        FeatureRow(RowKey.of("customers", {"customer_id": name}), 1, {"orders": count, "value": value[name]})
        for name, count in bought.items()
    ] + [
        FeatureRow(RowKey.of("countries", {"country": name}), 1, {"orders": count})
        for name, count in of_country.items()
    ]
    store, counts = RedisFeatures(Address(server.url), 1.0), Counter[str]()
    store.write(rows, {"customers": ("orders", "value"), "countries": ("orders",)})
    reader = LookupReader("shop", views, store, counts)
    requests = [
        Request(f"r-{number}", 2, {name: each[name] for name in ("customer_id", "country")})
        for number, each in enumerate(asked)
    ]
    found = asyncio.run(reader.complete([views.keyed(sent, sent) for sent in requests]))
    for done, request in zip(found, requests, strict=True):
        complete = features.complete(request.features, done.features)
        customer, country = request.features["customer_id"], request.features["country"]
        assert complete == {
            "customer_id": customer,
            "country": country,
            "customer_orders": bought[str(customer)],
            **({"customer_value": value[str(customer)]} if customer in bought else {}),
            "country_orders": of_country[str(country)],
        }
    assert counts["lookups"] == 2 * len(asked)
    new = sum(each["customer_id"] not in bought for each in asked)
    assert counts["lookups_missing"] == new + sum(each["country"] not in of_country for each in asked)
    assert 500 < new < len(asked) - 500
    reader.close()
