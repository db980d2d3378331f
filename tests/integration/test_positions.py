"""Topics that change underneath a loop: each change is handled or rejected; nothing is lost in silence.

Each topic of a task, and each way in which it may move: docs/concepts/positions.md has the table.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
)

from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import client_of, create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import committed_offsets, end_offsets
from infra.kafka.partitioner import partition_of
from infra.verify import Report
from schemas.records import Outcome, Request
from schemas.topics import topics
from tests.integration.loops import (
    Loop,
    Worker,
    command,
    hotel_task,
    no_traceback,
    ready_document,
    rejection,
    until,
)
from tests.topics import delete_topics

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
SECONDS = 40.0
"""Within which a change is to be noticed; a busy machine gets more than the two seconds that it takes."""


@pytest.fixture
def reference(tmp_path: Path, task_name: str) -> str:
    return f"{hotel_task(tmp_path / 'task', task_name)}:cancellation_within_30_days"


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


class Field(Loop):
    """A loop, the services around it, and a person with an admin client."""

    def __init__(self, reference: str, connection: Connection, folder: Path, partitions: int = 2) -> None:
        super().__init__(reference, connection, folder, partitions, snapshot_every=100)
        self.reference = reference
        self.examples = [event.request for event in self.events(300)]
        self.asked: list[str] = []
        self.reported: list[str] = []

    # ---- the services

    def _send(self, topic: str, records: Sequence[tuple[str, bytes]]) -> None:
        producer = Producer(self.connection.config(partitioner="murmur2_random", acks="all"))
        for key, value in records:
            producer.produce(topic, value, key.encode())
        assert producer.flush(30) == 0

    def ask(self, count: int) -> list[str]:
        """Send requests."""
        first = len(self.asked)
        return self.ask_of([f"r-{number}" for number in range(first, first + count)])

    def ask_of(self, ids: Sequence[str]) -> list[str]:
        """Send the requests of those ids."""
        requests = [
            Request(each, self.examples[0].ts + number, self.examples[number % 300].features)
            for each in ids
            for number in [int(each[2:])]
        ]
        self._send(self.topics.requests, [(each.request_id, self.codec.encode(each)) for each in requests])
        self.asked += ids
        return [*ids]

    def report(self, ids: Sequence[str]) -> None:
        """Send outcomes."""
        outcomes = [
            Outcome(each, self.examples[0].ts + int(each[2:]) + 1, int(each[2:]) % 3 == 0) for each in ids
        ]
        self._send(self.topics.outcomes, [(each.request_id, self.codec.encode(each)) for each in outcomes])
        self.reported += ids

    # ---- what is there

    def answers(self) -> Counter[str]:
        """Count the predictions by request."""
        return Counter(
            self.codec.decode_prediction(message.value()).request_id
            for number in range(self.partitions)
            for message in read_all(self.connection, self.topics.predictions, number)
        )

    def labels(self) -> Counter[str]:
        """Count the entries with a label by request."""
        return Counter(
            entry.prediction.request_id
            for _, entry in self.entries()
            if entry.kind == "labelled" and entry.prediction is not None
        )

    def wait_answered(self, ids: Sequence[str]) -> None:
        until(lambda: {*ids} <= {*self.answers()}, SECONDS * 2, "requests are answered")

    def wait_labelled(self, ids: Sequence[str]) -> None:
        until(lambda: {*ids} <= {*self.labels()}, SECONDS * 2, "outcomes are joined")

    def work(self, count: int = 30) -> list[str]:
        """Ask and tell, and wait until it is learned."""
        ids = self.ask(count)
        self.wait_answered(ids)
        self.report(ids)
        self.wait_labelled(ids)
        return ids

    def assert_once(self) -> Report:
        """Check that all was answered once, labelled once, and is proved."""
        assert self.answers() == Counter(self.asked)
        assert self.labels() == Counter(self.reported)
        return self.assert_verified()

    # ---- the person

    def grow(self, topic: str, partitions: int) -> None:
        with client_of(self.connection) as admin:
            for future in admin.create_partitions([NewPartitions(topic, partitions)]).values():
                future.result(20)

    def delete(self, *names: str) -> None:
        delete_topics(self.connection, names)

    def create(self) -> None:
        create_topics(self.connection, topics(self.task.name, self.partitions))

    def again(self, *names: str) -> None:
        """Delete topics and make them again."""
        self.delete(*names)
        self.create()

    def cut(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records before an offset; -1: all."""
        with client_of(self.connection) as admin:
            for future in admin.delete_records([TopicPartition(topic, partition, offset)]).values():
                future.result(20)

    def policy(self, topic: str, policy: str) -> None:
        entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
        with client_of(self.connection) as admin:
            for future in admin.incremental_alter_configs([resource]).values():
                future.result(20)

    def groups(self) -> dict[str, list[tuple[str, int]]]:
        """Give the places of which each group has offsets."""
        names = self.topics
        shared = [
            (topic, number)
            for topic in (names.requests, names.predictions, names.outcomes)
            for number in range(self.partitions)
        ]
        group = self.task.name
        return {group: [*shared, (names.quality, 0)], f"{group}.{group}.log": [(names.log, 0)]}

    def move_offsets(self, where: Callable[[tuple[str, int]], int]) -> None:
        """Set the groups' offsets as kafka-consumer-groups does."""
        for group, places in self.groups().items():
            moved = [TopicPartition(*place, where(place)) for place in places]
            with client_of(self.connection) as admin:
                for future in admin.alter_consumer_group_offsets(
                    [ConsumerGroupTopicPartitions(group, moved)]
                ).values():
                    future.result(20)

    def delete_groups(self) -> None:
        with client_of(self.connection) as admin:
            for future in admin.delete_consumer_groups([*self.groups()]).values():
                future.result(20)

    def accept(self, *names: str) -> dict[str, Any]:
        argv, environment, folder = command(
            "topics", "accept", self.reference, *names, "--bootstrap", self.connection.bootstrap, "--json"
        )
        done = subprocess.run(
            argv, env=environment, cwd=folder, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture
def field(reference: str, connection: Connection, tmp_path: Path) -> Iterator[Field]:
    with Field(reference, connection, tmp_path) as made:
        yield made


def rejected(worker: Worker) -> set[str]:
    """Give what the worker's metrics say it rejects."""
    with urllib.request.urlopen(f"{worker.url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {
        line.split('what="')[1].split('"')[0]
        for line in lines
        if line.startswith("riverloop_topic_rejected{") and line.endswith(" 1.0")
    }


# ---------------------------------------------------------------------- grown


def test_topics_may_have_more_partitions_than_the_loop_and_get_them_while_it_runs(field: Field) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work()
    # All of them but the one whose partitions are the joins'.
    for topic in (names.requests, names.outcomes):
        field.grow(topic, 5)
    for topic in (names.log, names.metrics, names.alerts, names.quality, names.snapshots, names.control):
        field.grow(topic, 2)
    for topic in (names.join_state, names.dead_letters):
        field.grow(topic, 3)
    field.work(60)
    assert {number for number in range(5) if field.end_of(names.requests, number)} > {0, 1}
    until(lambda: worker.status()["counts"].get("further", 0) > 10, SECONDS, "outcomes are forwarded")
    worker.kill()
    worker.restart()
    field.work(40)
    assert worker.status()["counts"].get("misplaced", 0) == 0, "services place them right, by more partitions"
    assert not any(
        field.end_of(topic, 1) for topic in (names.log, names.metrics, names.quality, names.snapshots)
    )
    worker.stop()
    field.delete_groups()  # the forwarded copies say how far the further partitions are
    ends = {number: field.end_of(names.outcomes, number) for number in range(2)}
    worker.restart()
    field.work(20)
    assert sum(field.end_of(names.outcomes, number) - ends[number] for number in range(2)) < 60
    field.assert_once()
    no_traceback(worker)


def test_two_workers_share_the_joins_though_outcomes_have_more_partitions(field: Field) -> None:
    field.grow(field.topics.outcomes, 5)
    workers = [field.worker(), field.worker()]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.wait_ready()
    until(lambda: [len(each.status()["partitions"]) for each in workers] == [1, 1], SECONDS, "they share")
    field.work(60)
    workers[0].kill()
    field.work(60)
    field.assert_once()


def test_predictions_with_more_partitions_than_the_joins_are_rejected_until_they_are_made_again(
    field: Field,
) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work()
    waiting = field.ask(20)
    field.wait_answered(waiting)
    field.grow(names.predictions, 4)
    assert "topics create TASK --partitions 2" in rejection(
        worker, "no join would read the other predictions"
    )
    assert rejected(worker) == {names.predictions}
    field.again(names.predictions)
    until(lambda: ready_document(worker).get("status") == "ready", SECONDS, "it goes on by itself")
    field.report(waiting)
    field.wait_labelled(waiting)
    field.work()
    assert field.verify().ok
    no_traceback(worker)


# ---------------------------------------------------------------------- the groups' offsets


@pytest.mark.parametrize("way", ["expired", "earliest", "latest", "a time between"])
def test_the_loop_s_own_state_has_the_last_word_over_the_groups_offsets(field: Field, way: str) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work(40)
    waiting = field.ask(20)
    field.wait_answered(waiting)
    until(field.published, SECONDS, "all is published")
    worker.stop()
    unread = field.ask(25)
    field.report(waiting)
    ends = end_offsets(field.connection, [place for each in field.groups().values() for place in each])
    if way == "expired":
        field.delete_groups()
    else:
        share = {"earliest": 0.0, "latest": 1.0, "a time between": 0.5}[way]
        field.move_offsets(lambda place: int(ends[place] * share))
    worker.restart()
    field.wait_answered(unread)
    field.wait_labelled(waiting)
    field.work(10)
    until(field.published, SECONDS, "all is published")
    worker.stop()
    field.assert_once()
    offsets: dict[tuple[Any, str], list[int]] = {}
    for message in read_all(field.connection, names.metrics):
        metric = field.codec.decode_metric(message.value())
        parts = (metric.name, metric.model, metric.version, metric.role, metric.window, metric.segment)
        key = (message.key(), " ".join(str(each) for each in parts))
        offsets.setdefault(key, []).append(metric.log_offset)
    assert all(each == sorted(set(each)) for each in offsets.values()), "a metric is published again"
    assert f"the offset of group {field.task.name} for {names.requests}" in worker.log
    no_traceback(worker)


def test_offsets_of_a_partition_that_was_never_read_do_not_hold_once_the_task_has_answered(
    field: Field,
) -> None:
    ids = [f"r-{number}" for number in range(60)]
    read, unread = ([each for each in ids if partition_of(each.encode(), 2) == place] for place in (0, 1))
    worker = field.worker()
    worker.restart()
    field.wait_answered(field.ask_of(read))
    worker.stop()
    field.ask_of(unread)
    field.report(ids)
    # All of partition 1 is behind the offsets that somebody has set.
    ends = end_offsets(field.connection, [place for each in field.groups().values() for place in each])
    field.move_offsets(lambda place: ends[place])
    worker.restart()
    field.wait_answered(unread)
    field.wait_labelled(ids)
    worker.stop()
    field.assert_once()
    assert "reading continues at 0: nothing of the partition has been processed" in worker.log
    no_traceback(worker)


# ---------------------------------------------------------------------- made again


@pytest.mark.parametrize("running", [False, True])
def test_sources_that_were_deleted_and_made_again_are_read_from_their_beginning(
    field: Field, running: bool
) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work(60)
    waiting = field.ask(20)
    field.wait_answered(waiting)
    if not running:
        worker.stop()
    field.again(names.outcomes, names.requests)
    field.report(waiting)
    new = field.ask(30)
    if not running:
        worker.restart()
    field.wait_answered(new)
    field.wait_labelled(waiting)
    field.report(new)
    field.wait_labelled(new)
    assert field.answers() == Counter(field.asked)
    assert field.labels() == Counter(field.reported)
    report = field.verify()
    assert report.failures == []
    assert f"{names.outcomes} was recreated 1 times" in " ".join(report.notes)
    assert f"topic {names.outcomes} was recreated" in worker.log
    assert any(entry.entry_id.startswith(f"{names.outcomes}~2[") for _, entry in field.entries())
    no_traceback(worker)


@pytest.mark.parametrize("running", [False, True])
def test_topics_that_others_read_may_be_made_again(field: Field, running: bool) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work(60)
    if not running:
        worker.stop()
    field.again(
        *(names.metrics, names.alerts, names.quality, names.snapshots, names.control, names.dead_letters)
    )
    if not running:
        worker.restart()
    else:
        until(lambda: worker.status()["counts"].get("topics_renewed", 0) == 6, SECONDS, "it is noticed")
    field.work(30)
    until(lambda: field.end_of(names.metrics) and field.end_of(names.quality), SECONDS, "it is published")
    assert field.answers() == Counter(field.asked)
    assert field.verify().failures == []
    no_traceback(worker)


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("which", ["log", "join_state"])
def test_what_was_learned_and_what_waits_is_not_begun_anew_without_a_word(
    field: Field, which: str, running: bool
) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work(60)
    waiting = field.ask(20)
    field.wait_answered(waiting)
    topic = str(getattr(names, which))
    if not running:
        worker.stop()
    field.again(topic)
    if not running:
        worker.start()
    why = rejection(worker, f"topic {topic} was recreated")
    assert f"riverloop topics accept TASK {topic}" in why
    assert topic in rejected(worker)
    assert worker.running
    worker.stop()
    field.accept(topic)
    worker.restart()
    field.work(30)
    if which == "log":
        field.report(waiting)
        field.wait_labelled(waiting)
    assert field.verify().failures == []
    no_traceback(worker)


# ---------------------------------------------------------------------- deleted, and back


def test_a_missing_topic_stops_its_task_and_no_other_until_it_is_back(
    tmp_path: Path, task_name: str, connection: Connection
) -> None:
    file = hotel_task(tmp_path / "task", task_name)
    with (
        Field(f"{file}:cancellation_within_30_days", connection, tmp_path) as field,
        Field(f"{file}:cancellation", connection, tmp_path) as other,
    ):
        worker = field.worker(other.reference)
        worker.restart()
        field.work()
        for topic in (field.topics.requests, field.topics.outcomes, field.topics.metrics):
            field.delete(topic)
            why = rejection(worker, f"topic {topic} is missing")
            assert "topics create TASK --partitions 2" in why
            assert rejected(worker) == {topic}
            ids = other.ask(20)
            other.wait_answered(ids)
            field.create()
            until(lambda: ready_document(worker).get("status") == "ready", SECONDS, "it is back")
            field.work(20)
        assert field.verify().failures == []
        assert other.answers() == Counter(other.asked)
        no_traceback(worker)


# ---------------------------------------------------------------------- cut and compacted


@pytest.mark.parametrize("running", [False, True])
def test_records_that_are_deleted_before_they_are_read_are_said_and_may_be_accepted(
    field: Field, running: bool
) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work(60)
    waiting = field.ask(30)
    field.wait_answered(waiting)
    on_its_way: list[str] = []
    if running:
        os.kill(worker.pid, signal.SIGSTOP)
        # The broker answers the fetch that waits there, and the worker that is stopped sends no other.
        on_its_way = field.ask(4)
        time.sleep(1)
    else:
        worker.stop()
    lost = field.ask(40)
    for number in range(2):
        field.cut(names.requests, number, -1)
    field.report(waiting[:20])
    for number in range(2):
        field.cut(names.outcomes, number, -1)
    if running:
        os.kill(worker.pid, signal.SIGCONT)
    else:
        worker.start()
    why = rejection(worker, "deleted, by retention or by hand")
    assert "riverloop topics accept TASK" in why
    assert rejected(worker) == {"positions"}
    worker.stop()
    field.accept(names.requests, names.outcomes)
    worker.restart()
    field.work(20)
    field.report(waiting[20:])
    field.wait_labelled(waiting[20:])
    answers = field.answers()
    asked = [each for each in field.asked if each not in lost and (each not in on_its_way or each in answers)]
    assert answers == Counter(asked)
    assert field.verify().failures == []
    no_traceback(worker)


@pytest.mark.parametrize("running", [False, True])
def test_what_is_read_may_be_deleted(field: Field, running: bool) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work(60)
    places = [(topic, number) for topic in (names.predictions, names.outcomes) for number in range(2)]
    ends = end_offsets(field.connection, places, committed=False)
    # In silence the joins note that they have passed the marks of transactions.
    until(
        lambda: committed_offsets(field.connection, field.task.name, places) == ends, SECONDS, "it is noted"
    )
    if not running:
        worker.stop()
    for topic, number in (*places, (names.requests, 0), (names.requests, 1), (names.quality, 0)):
        field.cut(topic, number, -1)
    if not running:
        worker.restart()
    field.work(20)
    assert field.verify().failures == []
    no_traceback(worker)


def test_a_cleanup_policy_that_would_lose_records_stops_the_task_until_it_is_set_back(field: Field) -> None:
    worker, names = field.worker(), field.topics
    worker.restart()
    field.work()
    for topic, wrong, right in (
        (names.outcomes, "compact", "delete"),
        (names.log, "compact,delete", "delete"),
        (names.join_state, "delete", "compact"),
    ):
        field.policy(topic, wrong)
        assert f"--add-config cleanup.policy={right}" in rejection(
            worker, f"topic {topic} has cleanup.policy"
        )
        assert rejected(worker) == {topic}
        field.policy(topic, right)
        until(lambda: ready_document(worker).get("status") == "ready", SECONDS, "it goes on")
    field.work()
    field.assert_once()
    no_traceback(worker)
