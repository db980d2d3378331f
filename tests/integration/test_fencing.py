"""Workers that die in the middle of a transaction: the others end it, long before its time-out would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # public

from infra.kafka.admin import client_of
from infra.kafka.connection import Connection
from infra.kafka.fencing import Fencing, client_id, members
from infra.kafka.offsets import end_offsets
from schemas.errors import BrokerError
from tests.integration.loops import Loop, hotel_task, until

pytestmark = pytest.mark.kafka

LONG_MS = 600_000
"""A time-out that no test waits for: what ends a transaction before it is fencing."""
FAILOVER_S = 15.0


@pytest.fixture(scope="module")
def connection(broker: Any) -> Connection:
    """Give the connection to the broker of this run."""
    return Connection(broker.bootstrap)


@pytest.fixture
def topic(connection: Connection, task_name: str) -> str:
    """Give a topic of the test's own."""
    with client_of(connection) as admin:
        for created in admin.create_topics([NewTopic(task_name, 1, 1)]).values():
            created.result()
    return task_name


@contextmanager
def member(connection: Connection, group: str, slot: str, topic: str) -> Iterator[None]:
    """Hold a member of a group, of which the group knows."""
    reported = {"group.id": group, "client.id": client_id(group, slot), "session.timeout.ms": 6000}
    consumer, ended = Consumer(connection.config(**reported)), threading.Event()
    consumer.subscribe([topic])

    def poll() -> None:
        while not ended.is_set():
            consumer.poll(0.05)

    polling = threading.Thread(target=poll, daemon=True)
    polling.start()
    try:
        until(lambda: slot in members(connection, group))
        yield
    finally:
        ended.set()
        polling.join()
        consumer.close()


def opened(connection: Connection, transactional_id: str, topic: str) -> Producer:
    """Leave a transaction open."""
    reported = {"transactional.id": transactional_id, "transaction.timeout.ms": LONG_MS, "log_level": 0}
    producer = Producer(connection.config(**reported))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(10) == 0
    return producer


def blocked(connection: Connection, topic: str) -> int:
    """Give how many offsets lie behind an open transaction."""
    place = (topic, 0)
    return end_offsets(connection, [place], committed=False)[place] - end_offsets(connection, [place])[place]


def test_the_slots_that_left_a_group_are_fenced_and_no_others(connection: Connection, topic: str) -> None:
    group = f"{topic}-group"
    with ExitStack() as stack:
        stack.enter_context(member(connection, group, "mine", topic))
        leaving = ExitStack()
        leaving.enter_context(member(connection, group, "dies", topic))
        stack.enter_context(member(connection, group, "lives", topic))
        fencing = Fencing(connection, group, "mine", lambda slot: [f"{topic}.a.{slot}", f"{topic}.b.{slot}"])
        assert fencing.rebalanced() == []
        dead, alive = (opened(connection, f"{topic}.a.{slot}", topic) for slot in ("dies", "lives"))
        leaving.close()
        until(lambda: "dies" not in members(connection, group))

        assert fencing.rebalanced() == ["dies"]
        with pytest.raises(KafkaException):
            dead.commit_transaction(10)
        assert blocked(connection, topic)  # by the one that lives
        alive.commit_transaction(10)
        until(lambda: not blocked(connection, topic), 10)
        assert fencing.rebalanced() == []  # once is enough


def test_the_own_slot_is_never_fenced(connection: Connection, topic: str) -> None:
    group = f"{topic}-group"
    fencing = Fencing(connection, group, "mine", lambda slot: [f"{topic}.{slot}"])
    with member(connection, group, "other", topic):
        with member(connection, group, "mine", topic):
            fencing.rebalanced()
        mine = opened(connection, f"{topic}.mine", topic)
        until(lambda: "mine" not in members(connection, group))
        assert fencing.rebalanced() == []
        mine.commit_transaction(10)


def test_a_cluster_that_does_not_answer_is_no_error_of_a_rebalance() -> None:
    nowhere = Connection("127.0.0.1:1", {"log_level": "0"})
    with pytest.raises(BrokerError, match="members of group"):
        members(nowhere, "group")
    assert Fencing(nowhere, "group", "mine", lambda slot: [slot]).rebalanced() == []


@pytest.mark.parametrize("point", ["between-produce-and-commit", "between-publish-and-commit"])
def test_a_survivor_ends_what_a_dead_worker_left_open_and_goes_on_within_15_s(
    connection: Connection, task_name: str, tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In small pieces: on a slow machine the events would end before the owner has published eight times.
    monkeypatch.setattr("infra.kafka.replay.UNANSWERED", 20)
    reference = f"{hotel_task(tmp_path, task_name)}:cancellation"
    with Loop(reference, connection, tmp_path, partitions=2) as loop:
        # Published often, so that the point is reached long before the events end on a fast machine.
        doomed, survivor = loop.owner_and_survivor(metrics_every_ms=50, max_batch=20)
        doomed.start(crash_point=f"{point}:8")
        doomed.wait_ready()
        survivor.restart()
        consumer = Consumer(
            connection.config(**{"group.id": "watch", "isolation.level": "read_committed", "log_level": 0})
        )
        with loop.replaying(loop.events(12_000), rest=False):
            doomed.wait_ended()
            died = time.monotonic()
            until(lambda: " fenced " in survivor.log, 30)
            # What the survivor writes from now on can be read at once.
            end = loop.end_of(loop.topics.log)
            consumer.assign([TopicPartition(loop.topics.log, 0, end)])
            until(lambda: consumer.poll(0.1), 30)
            assert time.monotonic() - died < FAILOVER_S, survivor.log
        consumer.close()
        loop.workers.remove(doomed)
        until(lambda: loop.resolutions() == loop.expected(), 120, "everything is resolved as without a death")
