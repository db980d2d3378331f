"""The store of shared predictions, real and in memory: claims, first values, times, a server that fails."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from infra.kafka.transaction import OutRecord
from infra.redis_client import Address
from infra.shared.asks import ThreadAsks
from infra.shared.predictions import SharedPredictions
from infra.shared.redis_asks import RedisAsks
from infra.shared.redis_store import Layout, RedisPredictions
from infra.shared.store import ANSWER, CLAIM, Claim, Keep, Read, SharedStore, Step
from schemas.errors import FeaturesUnavailable
from tests.shared import MemoryPredictions
from tests.unit.http_worker import make_http_task
from tests.valkey import Proxy, Valkey

ONE, TWO = CLAIM + b"one", CLAIM + b"two"


class OnLoop:
    """`RedisAsks` as a store that blocks, with an event loop of its own."""

    def __init__(self, asks: RedisAsks) -> None:
        self._asks, self._loop = asks, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, steps: Sequence[Step]) -> list[bytes | None]:
        return asyncio.run_coroutine_threadsafe(self._asks.run(steps, 1.0), self._loop).result()

    def close(self) -> None:
        self._asks.close()
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def layout(name: str = "stay:topic-id", project: str = "riverloop", ttl_s: float = 60.0) -> Layout:
    return Layout(project, name, ttl_s)


def redis_store(url: str, password: str = "", ttl_s: float = 60.0) -> RedisPredictions:
    return RedisPredictions(Address(url, password), layout(ttl_s=ttl_s), 1.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with Valkey(tmp_path / "valkey") as found:
        yield found


@pytest.fixture(params=["memory", "threads", "loop", "cluster"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedStore]:
    if request.param == "memory":
        yield MemoryPredictions()
        return
    clustered = request.param == "cluster"
    with Valkey(tmp_path / "valkey", *(("--cluster-enabled", "yes") if clustered else ())) as server:
        if clustered:
            with redis.Redis(port=server.port) as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                    time.sleep(0.02)
        url = (
            server.url.replace("redis://", "redis+cluster://").removesuffix("/0") if clustered else server.url
        )
        loop = request.param == "loop"
        found = OnLoop(RedisAsks(Address(url), layout())) if loop else redis_store(url)
        yield found
        found.close()


def test_one_claims_and_the_others_see_it(store: SharedStore) -> None:
    assert store.run([Claim("a", ONE), Claim("b", ONE), Read("a")]) == [None, None, ONE]
    assert store.run([Claim("a", TWO), Claim("c", TWO), Read("d")]) == [ONE, None, None]
    # Only the claim's own value takes its place.
    assert store.run([Keep("a", b"A2", TWO), Keep("b", b"A1", ONE), Read("a")]) == [ONE, None, ONE]
    assert store.run([Keep("b", b"A2", TWO), Claim("b", TWO), Read("b")]) == [b"A1", b"A1", b"A1"]
    # Without a claim it is written where nothing lies.
    store.run([Keep("a", b"R"), Keep("b", b"R"), Keep("d", b"R1"), Keep("d", b"R2")])
    assert store.run([Read("a"), Read("b"), Read("d")]) == [ONE, b"A1", b"R1"]
    # A claim is taken over by who saw it, once.
    assert store.run([Keep("c", CLAIM + b"three", TWO), Keep("c", CLAIM + b"four", TWO)])[0] is None
    assert store.run([Read("c"), Keep("c", TWO, CLAIM + b"three")]) == [CLAIM + b"three", None]
    # And taken back by whoever made it.
    assert store.run([Keep("a", b"", TWO), Keep("c", b"", TWO)]) == [ONE, None]
    assert store.run([Read("a"), Claim("c", ONE), Keep("gone", b"", ONE)]) == [ONE, None, None]


def test_of_many_that_claim_at_once_one_wins(store: SharedStore) -> None:
    names, won = [f"r-{number}" for number in range(200)], Counter[str]()

    def claim(worker: int) -> None:
        order = random.Random(worker).sample(names, len(names))
        found = store.run([Claim(name, CLAIM + b"%d" % worker) for name in order])
        won.update(name for name, there in zip(order, found, strict=True) if there is None)

    threads = [threading.Thread(target=claim, args=(worker,)) for worker in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert won == Counter(names)


def test_predictions_expire(server: Valkey) -> None:
    store = redis_store(server.url, ttl_s=0.3)
    store.run([Claim("a", ONE), Keep("b", b"A1")])
    assert store.run([Read("a"), Read("b")]) == [ONE, b"A1"]
    time.sleep(0.35)
    assert store.run([Claim("a", TWO), Read("b")]) == [None, None]
    store.close()


def test_tasks_and_clusters_do_not_see_each_other(server: Valkey) -> None:
    here = redis_store(server.url)
    there = RedisPredictions(Address(server.url), layout("stay:another-topic-id"), 1.0)
    other = RedisPredictions(Address(server.url), layout(project="other"), 1.0)
    here.run([Keep("a", b"A1")])
    assert there.run([Read("a")]) == other.run([Read("a")]) == [None]
    for each in (here, there, other):
        each.close()


def test_a_wrong_password_is_said_and_never_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Valkey(tmp_path, "--requirepass", "the right one") as server:
        wrong = redis_store(server.url, "hunter-2")
        with pytest.raises(FeaturesUnavailable) as raised:
            wrong.run([Read("a")])
        assert "hunter-2" not in str(raised.value)
        task, counts = make_http_task(), Counter[str]()
        shared = SharedPredictions(task.context, ThreadAsks(wrong), wrong, counts)
        with caplog.at_level(logging.WARNING):
            shared.committed([OutRecord("stay.predictions", b"a", b"value")])
            shared.close()
        assert counts["shared_lost"] == 1
        assert "do not give back" in caplog.text
        assert "hunter-2" not in caplog.text
        right = redis_store(server.url, "the right one")
        assert right.run([Claim("a", ONE)]) == [None]
        right.close()


def test_what_was_answered_while_the_server_was_away_is_written_when_it_is_back(server: Valkey) -> None:
    task, counts = make_http_task(), Counter[str]()
    shared = SharedPredictions(
        task.context, ThreadAsks(redis_store(server.url)), redis_store(server.url), counts
    )
    server.stop()
    shared.committed([OutRecord("stay.predictions", b"r-%d" % number, b"value") for number in range(1200)])
    time.sleep(1.2)
    server.start()
    store = redis_store(server.url)
    ends = time.monotonic() + 10
    while store.run([Read("r-1199")]) == [None]:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert None not in store.run([Read(f"r-{number}") for number in range(1200)])
    assert counts["shared_lost"] == 0
    shared.close()
    store.close()


def test_on_the_event_loop_a_server_that_stops_is_slow_or_locked_fails_in_time(tmp_path: Path) -> None:
    async def run(asks: RedisAsks, steps: Sequence[Step], timeout_s: float = 0.2) -> tuple[Any, float]:
        began = time.monotonic()
        try:
            return await asks.run(steps, timeout_s), time.monotonic() - began
        except FeaturesUnavailable as error:
            return str(error), time.monotonic() - began

    async def all_of_it(server: Valkey) -> None:
        with Proxy(server.port) as proxy:
            asks = RedisAsks(Address(f"redis://127.0.0.1:{proxy.port}/0", "the right one"), layout())
            found = await asyncio.gather(
                *(run(asks, [Claim(f"r-{n}", ONE), Read("a")], 5.0) for n in range(50))
            )
            assert [each for each, _ in found] == [[None, None]] * 50
            proxy.delay_s = 0.5
            slow = await asyncio.gather(*(run(asks, [Read("r-1")]) for _ in range(20)))
            assert {each for each, _ in slow} == {"no answer within 200 ms"}
            assert max(took for _, took in slow) < 0.45
            proxy.delay_s = 0.0
            await asyncio.sleep(1.2)
            await run(asks, [Read("r-1")])  # the last one on the connection that was stuck
            assert (await run(asks, [Read("r-1"), Read("r-51")]))[0] == [ONE, None]
            server.stop()
            said, took = await run(asks, [Read("r-1")])
            assert isinstance(said, str)
            assert took < 0.45
            server.start()
            found = [await run(asks, [Claim("r-1", TWO)], 2.0) for _ in range(3)]
            assert found[-1][0] == [TWO]  # the first one may still meet the connection that was closed
            asks.close()
        wrong = RedisAsks(Address(server.url, "hunter-2"), layout())
        said, _ = await run(wrong, [Read("a")], 2.0)
        assert "invalid username-password" in said
        assert "hunter-2" not in said
        refused = RedisAsks(Address(server.url, "the right one"), Layout("x", "y", 0.0))
        mixed = await asyncio.gather(run(refused, [Read("a")], 2.0), run(refused, [Keep("a", b"R")], 2.0))
        assert mixed[0][0] == [None]
        assert "invalid expire" in mixed[1][0]
        assert (await run(refused, [Read("a"), Read("b")], 2.0))[0] == [None, None]
        refused.close()
        await asyncio.sleep(0.05)

    with Valkey(tmp_path, "--requirepass", "the right one") as server:
        asyncio.run(all_of_it(server))


def test_a_server_that_is_full_is_one_that_refuses(tmp_path: Path) -> None:
    with Valkey(tmp_path, "--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server:
        store = redis_store(server.url)
        many = [Keep(f"r-{number}", ANSWER + bytes(10_000)) for number in range(1000)]
        with pytest.raises(FeaturesUnavailable, match="maxmemory"):
            store.run(many)
        assert store.run([Read("r-0")]) == [ANSWER + bytes(10_000)]
        store.close()


def test_a_cluster_that_is_away_stops_no_worker() -> None:
    store = redis_store("redis+cluster://127.0.0.1:1")
    with pytest.raises(FeaturesUnavailable, match=r"127\.0\.0\.1:1"):
        store.run([Read("a")])
    store.close()
