"""A change stream is the outcome feed: each change gives one outcome or one dead letter, whoever dies."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # public

from infra.embedded.pytest_plugin import Broker
from infra.inbound import header
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.partitioner import partition_of
from infra.task.mapped_outcomes import MAPPED
from tests.integration.loops import Loop, invoked, rejection, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
TASK_FILE = """
from datetime import timedelta
from river.dummy import NoChangeClassifier
from schemas import Dictionary, Number
from streams import Model, OutcomeMapping, Task
task = Task(
    name="{name}", question="?", horizon=timedelta(days=1), features=Dictionary(Number(name="x")),
    models=(Model("none", NoChangeClassifier),),
    outcomes_from=(
        OutcomeMapping(
            topic="{name}.orders", format="debezium", request_id="after.request_id", value="after.status",
            values={{"paid": True, "refused": False}}, delete="unavailable", where={{"source.table": "orders"}},
        ),
    ),
)
"""
COUNT = 300


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    file = tmp_path / "task.py"
    file.write_text(TASK_FILE.format(name=task_name))
    with Loop(f"{file}:task", Connection(broker.bootstrap), tmp_path, 3, max_batch=20) as made:
        yield made


def make_topic(loop: Loop, partitions: int) -> str:
    name = f"{loop.task.name}.orders"
    admin = AdminClient({"bootstrap.servers": loop.connection.bootstrap})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result()
    return name


def change(number: int, ts: int) -> bytes:
    row = {"id": number, "request_id": f"o-{number}", "status": "paid" if number % 3 else "refused"}
    if number % 50 == 7:
        row["status"] = "lost"  # which the mapping does not have
    envelope: dict[str, Any] = {"op": "u", "before": None, "after": row, "ts_ms": ts}
    if number % 10 == 9:
        envelope |= {"op": "d", "before": row, "after": None}
    table = "customers" if number % 25 == 3 else "orders"
    return json.dumps(envelope | {"source": {"ts_ms": ts, "table": table}}).encode()


def kind_of(number: int) -> str:
    if number % 25 == 3:
        return "ignored"
    if number % 10 == 9:
        return "unavailable"
    return "rejected" if number % 50 == 7 else "labelled"


def places(loop: Loop) -> Counter[str]:
    """Give where the outcomes on the topic come from, each on the partition of its key."""
    found: Counter[str] = Counter()
    for number in range(loop.partitions):
        for message in read_all(loop.connection, loop.topics.outcomes, number):
            assert partition_of(message.key() or b"", loop.partitions) == number
            found[(header(message, MAPPED) or b"").decode()] += 1
    return found


def reported(loop: Loop) -> set[str]:
    """Give the requests of the outcomes on the topic."""
    return {
        (message.key() or b"").decode()
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.outcomes, number)
    }


def test_each_change_gives_one_outcome_or_one_dead_letter(loop: Loop) -> None:
    topic = make_topic(loop, 2)
    first, second = loop.worker(), loop.worker()
    first.start(crash_point="between-map-and-commit:3")
    second.start()
    producer = Producer({"bootstrap.servers": loop.connection.bootstrap, "partitioner": "murmur2_random"})
    began = int(time.time() * 1000) - COUNT
    for number in range(COUNT):
        request = {"request_id": f"o-{number}", "ts": began + number, "features": {"x": number}}
        producer.produce(loop.topics.requests, json.dumps(request), f"o-{number}")
    assert producer.flush(20) == 0
    sent: dict[str, int] = {}

    def noted(error: Any, message: Any) -> None:
        assert error is None
        sent[f"{topic}[{message.partition()}]@{message.offset()}"] = json.loads(message.key())["id"]

    for number in range(COUNT):
        key = json.dumps({"id": number})
        producer.produce(topic, change(number, began + COUNT + number), key, on_delivery=noted)
        if number % 10 == 9:
            producer.produce(topic, None, key)  # the tombstone behind a deletion
        producer.poll(0)
        time.sleep(0.02)
        if number == COUNT // 2:
            assert first.wait_ended(60) == -9  # it died in the middle of a transaction
            second.kill()
            first.start()
            second.start(crash_point="between-map-and-commit:2")
    assert producer.flush(20) == 0
    assert second.wait_ended(60) == -9
    expected = {place: number for place, number in sent.items() if kind_of(number) != "ignored"}
    outcomes = {place for place, number in expected.items() if kind_of(number) != "rejected"}
    until(lambda: places(loop).total() >= len(outcomes), 60, "all outcomes are written")
    assert places(loop) == Counter(outcomes)
    rejected = {place for place, number in expected.items() if kind_of(number) == "rejected"}
    until(lambda: len(loop.dead_letters()) >= len(rejected), 60, "all dead letters are written")
    assert Counter(str(each.source) for each in loop.dead_letters()) == Counter(rejected)
    assert {(each.reason, each.field) for each in loop.dead_letters()} == {("out_of_range", "after.status")}

    # What the loop makes of them: a label each, or none where the row was deleted.
    kinds = Counter(kind_of(number) for number in range(COUNT))
    until(lambda: loop.resolutions().total() >= kinds["labelled"] + kinds["unavailable"], 60, "all is joined")
    found = loop.resolutions()
    assert found == Counter(
        (f"o-{number}", kind_of(number), bool(number % 3) if kind_of(number) == "labelled" else None, None)
        for number in range(COUNT)
        if kind_of(number) in {"labelled", "unavailable"}
    )


def test_a_topic_that_was_recreated_is_read_from_its_beginning(loop: Loop) -> None:
    topic = make_topic(loop, 1)
    worker = loop.worker()
    worker.restart()
    producer = Producer({"bootstrap.servers": loop.connection.bootstrap})
    now = int(time.time() * 1000)
    for number in (1, 2):
        producer.produce(topic, change(number, now))
    assert producer.flush(20) == 0
    until(lambda: places(loop).total() == 2, 60)
    admin = AdminClient({"bootstrap.servers": loop.connection.bootstrap})
    admin.delete_topics([topic])[topic].result()
    until(lambda: topic not in admin.list_topics(timeout=10).topics, 30)
    make_topic(loop, 1)
    producer = Producer({"bootstrap.servers": loop.connection.bootstrap})
    for number in (4, 5, 6):
        producer.produce(topic, change(number, now))
    assert producer.flush(20) == 0
    # Until that is noticed, what lies behind the old offset is read, and then again: the join counts it once.
    until(
        lambda: reported(loop) == {f"o-{number}" for number in (1, 2, 4, 5, 6)}, 60, "the new topic is read"
    )
    assert "was recreated" in worker.log
    # Changes that retention deletes before they are read are no loss in silence.
    worker.stop()
    producer.produce(topic, change(8, now))
    assert producer.flush(20) == 0
    [done] = admin.delete_records([TopicPartition(topic, 0, 4)]).values()
    done.result()
    worker.start()
    assert "--reset-offsets" in rejection(worker, "were deleted before they were read")


def test_a_missing_topic_is_named_before_a_worker_starts(loop: Loop) -> None:
    worker = loop.worker()
    worker.start()
    assert worker.wait_ended() == 2
    assert f"takes outcomes from topics that do not exist on {loop.connection.bootstrap}" in worker.log
    where = ("--bootstrap", loop.connection.bootstrap)
    invoked("check", loop.loaded.reference, *where, code=1)
