"""The fault harness on a real broker: faults lose, double and change nothing, and tampering is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.taskfile import LoadedTask, load_task
from schemas.codec import Codec
from schemas.errors import UsageError
from schemas.records import Entry
from schemas.topics import TaskTopics
from streams.join.join_rules import JoinRules
from tests.faults.__main__ import TASK
from tests.faults.check.check import Check
from tests.faults.check.facts import FACTS
from tests.faults.history import HistoryReader
from tests.faults.report import RunOptions
from tests.faults.run import FaultRun, closing_ids
from tests.faults.workload.workload import Workload

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

FAULTS = ("kill", "partitions-added", "offsets-lost")
OPTIONS = RunOptions(seed=4, rounds=3, requests=5000, workers=2, partitions=2, faults=FAULTS)
Alter = Callable[[Entry], Entry]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedTask:
    text = TASK.read_text()
    file = tmp_path_factory.mktemp("task") / "task.py"
    file.write_text(text.replace('name="faults"', 'name="faults-of-a-test"'))
    return load_task(str(file))


@pytest.fixture(scope="module")
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture(scope="module")
def report(
    loaded: LoadedTask, connection: Connection, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RIVERLOOP_DATA", str(tmp_path_factory.mktemp("data")))
        return FaultRun(loaded, OPTIONS, connection, print).run()


def test_a_killed_worker_added_partitions_and_lost_offsets_lose_double_and_change_nothing(
    report: dict[str, Any],
) -> None:
    assert (report["lost"], report["doubled"], report["wrong"]) == (0, 0, 0), report["examples"]
    assert report["ok"]
    assert {name: row["rounds"] for name, row in report["faults"].items()} == dict.fromkeys(FAULTS, 1)
    assert report["faults"]["kill"]["longest_s"] > 0
    # Without records there would be nothing to lose.
    assert {"labelled", "expired", "late", "revised", "unavailable"} <= report["entries"].keys()
    assert report["records"] > 2 * OPTIONS.requests
    assert report["dead_letters"] > 100


def altered_value(entry: Entry) -> Entry:
    assert entry.outcome is not None
    return replace(entry, outcome=replace(entry.outcome, value=not entry.outcome.value))


def test_a_record_added_to_the_log_or_the_predictions_is_found(
    report: dict[str, Any], loaded: LoadedTask, connection: Connection
) -> None:
    assert report["ok"]
    task, topics = loaded.task, TaskTopics(loaded.task.name)
    codec = Codec(task.name, task.kind, task.features, serving=True)

    def check() -> Check:
        closing = closing_ids(OPTIONS.partitions)
        load = Workload(OPTIONS.seed, OPTIONS.requests, task.features, task.kind, JoinRules.of(task), closing)
        made = Check(load, report["fault_dead_letters"])
        HistoryReader(connection, loaded, codec, OPTIONS.partitions).read(made)
        made.finish()
        return made

    def append(topic: str, value: bytes) -> None:
        producer = Producer(connection.config())
        producer.produce(topic, value, b"tampered", partition=0)
        assert producer.flush(30) == 0

    assert check().findings.ok
    prediction = next(iter(read_all(connection, topics.predictions)))
    append(topics.predictions, prediction.value() or b"")
    assert check().findings.doubled.count == 1
    facts = [codec.decode_entry(message.value()) for message in read_all(connection, topics.log)]
    entry = next(each for each in facts if each.kind in FACTS and each.outcome is not None)
    append(topics.log, codec.encode(entry))
    assert check().findings.doubled.count == 2
    append(topics.log, codec.encode(altered_value(replace(entry, entry_id="elsewhere[0]@1#0"))))
    assert check().findings.doubled.count == 3


def test_a_run_on_topics_that_hold_records_is_rejected(
    report: dict[str, Any], loaded: LoadedTask, connection: Connection
) -> None:
    assert report["ok"]
    with pytest.raises(UsageError, match="needs empty topics"):
        FaultRun(loaded, OPTIONS, connection, print).run()
