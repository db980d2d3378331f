from __future__ import annotations

import dataclasses
import time

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import check_topics, create_topics, topic_id
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError, UsageError
from schemas.topics import TaskTopics, topics
from tests.topics import delete_topics

pytestmark = pytest.mark.kafka


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


def test_created_topics_are_what_was_declared(connection: Connection, task_name: str) -> None:
    specs = topics(task_name, 3)
    assert len(check_topics(connection, specs)) == len(specs)
    assert sorted(create_topics(connection, specs)) == sorted(spec.name for spec in specs)
    assert check_topics(connection, specs) == []
    assert create_topics(connection, specs) == []


def test_a_check_names_what_is_missing_and_what_differs(connection: Connection, task_name: str) -> None:
    names = TaskTopics(task_name)
    made = [spec for spec in topics(task_name, 3) if spec.name != names.alerts]
    create_topics(connection, made)
    wanted = [
        dataclasses.replace(spec, retention_ms=5) if spec.name == names.metrics else spec
        for spec in topics(task_name, 3)
        if spec.name != names.requests
    ] + [spec for spec in topics(task_name, 4) if spec.name == names.requests]
    missing, partitions, retention = sorted(check_topics(connection, wanted), key=len)
    assert missing.startswith(f"topic {names.alerts} is missing")
    assert f"topic {names.metrics} has retention.ms=2592000000, not 5" in retention
    assert f"topic {names.requests} has 3 partitions, not 4" in partitions


def test_a_topic_made_anew_has_another_id(connection: Connection, task_name: str) -> None:
    specs = topics(task_name, 1)
    log = TaskTopics(task_name).log
    create_topics(connection, specs)
    first = topic_id(connection, log)
    assert topic_id(connection, log) == first
    delete_topics(connection, [spec.name for spec in specs] + ["never-was"])
    with pytest.raises(BrokerError, match=log):
        topic_id(connection, log)
    create_topics(connection, specs)
    assert topic_id(connection, log) != first


def test_the_committed_end_stops_at_an_open_transaction(connection: Connection, task_name: str) -> None:
    create_topics(connection, topics(task_name, 1))
    log = (TaskTopics(task_name).log, 0)
    producer = Producer(connection.config(**{"transactional.id": task_name}))
    producer.init_transactions(30)
    producer.begin_transaction()
    for _ in range(3):
        producer.produce(log[0], b"entry")
    assert producer.flush(30) == 0
    assert end_offsets(connection, [log]) == {log: 0}
    assert end_offsets(connection, [log], committed=False) == {log: 3}
    producer.commit_transaction(30)
    deadline = time.monotonic() + 10
    # Three entries and the commit marker.
    while end_offsets(connection, [log]) != {log: 4}:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_does_not_exist_or_answer_is_named(connection: Connection, task_name: str) -> None:
    with pytest.raises(BrokerError, match=f"{task_name}/0"):
        end_offsets(connection, [(task_name, 0)])
    with pytest.raises(UsageError, match=r"no\.such\.property"):
        topic_id(Connection(connection.bootstrap, {"no.such.property": "1"}), task_name)
    with pytest.raises(UsageError) as caught:
        topic_id(Connection(connection.bootstrap, {"ssl.key.password": "no.such", "no.such": "1"}), task_name)
    assert "***" in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_unreachable_cluster_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.kafka.admin.TIMEOUT_S", 1.0)
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:9"):
        create_topics(Connection("127.0.0.1:9"), topics("unreachable", 1))


def test_a_question_for_offsets_waits_for_no_timer(connection: Connection, task_name: str) -> None:
    """librdkafka asks for the leaders once more after 1 or 3 s where a new client is not connected yet."""
    names = TaskTopics(task_name)
    create_topics(connection, topics(task_name, 1))
    longest = 0.0
    for _ in range(150):
        began = time.monotonic()
        end_offsets(connection, [(names.requests, 0)])
        longest = max(longest, time.monotonic() - began)
    assert longest < 1.0
