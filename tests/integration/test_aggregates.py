"""Aggregates in the serve step, on real orders: workers die, and what they served is a plain computation's."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import pytest

from infra.embedded.pytest_plugin import Broker
from infra.hooks import TRANSACTION_POINTS
from infra.inbound import FORWARDED, header
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.partitioner import partition_of
from infra.taskfile import examples
from schemas.records import FeatureValue, Request
from schemas.state import POSITION_KEY, CountedRequest
from streams.aggregates.aggregates import AggregateRules, request_key
from streams.datafile import Event, in_time_order
from streams.driver import MemoryDriver
from tests.aggregates_plain import plain_aggregates
from tests.integration.loops import COPIES, Loop

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

RETAIL = examples() / "online_retail"
PARTITIONS = 3
DECLARED = """    aggregates=(
        Aggregate("orders_7d", by="customer_id", window=timedelta(days=7), how="count"),
        Aggregate("orders_28d", by="customer_id", window=timedelta(days=28), how="count"),
        Aggregate("value_7d", by="customer_id", window=timedelta(days=7), how="sum", value="value"),
        Aggregate("value_28d", by="customer_id", window=timedelta(days=28), how="mean", value="value"),
        Aggregate("countries_28d", by="customer_id", window=timedelta(days=28), how="distinct", value="country"),
        Aggregate("units_before", by="customer_id", window=timedelta(days=28), how="last", value="n_units"),
    ),
"""
GRACE = "    grace=timedelta(days=20),\n"
"""The predictions of a partition come from all partitions of requests, which are days apart in so fast a replay:
100 requests, and nobody orders for twelve days at the turn of the year."""


def retail_task(folder: Path, name: str, changes: Mapping[str, str]) -> Path:
    """Write the retail example as a task file with aggregates and another name."""
    text = (RETAIL / "task.py").read_text()
    changes = {
        'name="order-cancellation"': f'name="{name}"',
        'path="online_retail': f'path="{RETAIL}/online_retail',
        'Category(name="country"),\n': 'Category(name="country"),\n        Category(name="customer_id"),\n',
        "    horizon=timedelta(days=30),\n": DECLARED + "    horizon=timedelta(days=30),\n" + GRACE,
        "from streams import DataFile": "from streams import Aggregate, DataFile",
        **changes,
    }
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the retail example any more"
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "task.py"
    file.write_text(text)
    COPIES.add(file)
    return file


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    file = retail_task(tmp_path / "task", task_name, {})
    with Loop(str(file), Connection(broker.bootstrap), tmp_path, PARTITIONS, snapshot_every=1000) as made:
        yield made


def orders(loop: Loop, count: int) -> list[Event]:
    return list(islice(in_time_order(loop.loaded.file_events()), count))


def served(loop: Loop) -> dict[str, Mapping[str, FeatureValue]]:
    """Give the aggregates of each prediction; each request has one."""
    found: dict[str, Mapping[str, FeatureValue]] = {}
    for number in range(PARTITIONS):
        for message in read_all(loop.connection, loop.topics.predictions, number):
            prediction = loop.codec.decode_prediction(message.value())
            assert prediction.request_id not in found
            added = loop.task.features.added
            found[prediction.request_id] = {
                name: value for name, value in prediction.features.items() if name in added
            }
    return found


def plain(loop: Loop) -> dict[str, Mapping[str, FeatureValue]]:
    """Compute the aggregates of all requests, from what lies on the partitions of their entities."""
    rules, key = AggregateRules.of(loop.task), request_key(loop.task)
    found: dict[str, Mapping[str, FeatureValue]] = {}
    for number in range(PARTITIONS):
        own = list[Request]()
        for message in read_all(loop.connection, loop.topics.requests, number):
            request = loop.codec.decode_request(message.value())
            if partition_of((key(request) or "").encode(), PARTITIONS) == number:
                own.append(request)
        for request, each in zip(
            own, plain_aggregates(own, rules.aggregates, rules.lateness_ms), strict=True
        ):
            found[request.request_id] = {name: value for name, value in each.items() if value is not None}
    return found


def test_aggregates_are_a_plain_computation_whenever_workers_are_killed(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 100)
    chance, events = random.Random(7), orders(loop, 4_000)
    first, second = loop.worker(max_batch=25), loop.worker(max_batch=25)
    with loop.replaying(events, 0.004, key=request_key(loop.task)):
        for point in ("after-predict", *TRANSACTION_POINTS, "in-restore"):
            first.start(crash_point=f"{point}:{chance.randrange(12, 30)}")
            assert first.wait_ended(120) == -signal.SIGKILL, point
        second.start()
        first.restart()
        second.wait_ready()
        loop.wait_for_more(50)
        second.kill()
        second.restart()
    found = served(loop)
    assert found == plain(loop)
    # Keyed by the customer and sent in the order of time, they are what a backtest has.
    driver = MemoryDriver(loop.task, keep_log=False)
    added = loop.task.features.added
    expected = {
        each.request_id: {name: value for name, value in each.features.items() if name in added}
        for each in driver.run(events)
    }
    assert found == expected
    assert sum(int(each["orders_28d"]) for each in found.values()) > 3_000
    loop.assert_resolved()
    loop.assert_digests()
    loop.assert_verified()
    assert "Traceback" not in first.log + second.log


def test_requests_with_another_key_are_forwarded_to_their_entity_and_proved(loop: Loop) -> None:
    worker = loop.worker(max_batch=50)
    worker.start()
    worker.wait_ready()
    events = orders(loop, 400)
    with loop.replaying(events, 0.0):  # with their ids as keys
        pass
    assert served(loop) == plain(loop)
    forwarded = sum(
        header(message, FORWARDED) is not None
        for number in range(PARTITIONS)
        for message in read_all(loop.connection, loop.topics.requests, number)
    )
    assert 200 < forwarded < 340
    assert "were forwarded; the last one" in worker.log
    loop.assert_verified()
    worker.stop()
    # The changelog holds what the longest window and the lateness need, and no more.
    rules, kept = AggregateRules.of(loop.task), 0
    for number in range(PARTITIONS):
        records: dict[bytes, bytes] = {}
        for message in read_all(loop.connection, loop.topics.aggregates, number):
            records.pop(message.key() or b"", None)
            if message.value() is not None:
                records[message.key() or b""] = message.value() or b""
        position = loop.codec.decode_aggregates(records.pop(POSITION_KEY))
        assert not isinstance(position, CountedRequest)
        assert position.requests <= loop.end_of(loop.topics.requests, number)
        counted = [loop.codec.decode_aggregates(each) for each in records.values()]
        assert all(isinstance(each, CountedRequest) for each in counted)
        assert all(
            each.ts >= (position.stream_time or 0) - rules.kept_ms
            for each in counted
            if isinstance(each, CountedRequest)
        )
        kept += len(counted)
    assert kept == 400
