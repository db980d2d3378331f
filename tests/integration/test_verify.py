"""`riverloop verify` on a real broker: a history copied onto topics as it is, whole and tampered with."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from agents.cli.snapshots import snapshots as snapshots_command
from agents.cli.verify import verify as verify_command
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics, topic_id
from infra.kafka.connection import Connection
from infra.runtime import runtime_fingerprint
from infra.snapshots.store import SnapshotStore
from infra.verify import KafkaSource, verify
from schemas.errors import BrokerError
from schemas.topics import TaskTopics, topics
from tests.history import History, ordinary

pytestmark = pytest.mark.kafka

TASK_FILE = """
from datetime import timedelta
from river import linear_model, preprocessing
from schemas import Dictionary, Number
from streams import DefaultAtHorizon, Model, OnArrival, Task

def pipeline():
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()

task = Task(
    name="{name}", question="Will it be cancelled?",
    features=Dictionary(Number(name="x", unit="1"), Number(name="y", unit="1")),
    horizon=timedelta(days=10), revision_horizon=timedelta(days=100),
    models=(Model("lr", pipeline, policy=OnArrival()), Model("window", pipeline, policy=DefaultAtHorizon())),
)
"""


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap)


@pytest.fixture
def history(task_name: str, connection: Connection) -> History:
    create_topics(connection, topics(task_name, 2))
    log = topic_id(connection, TaskTopics(task_name).log)
    return ordinary(task_name, 2, runtime=runtime_fingerprint()[0], log_topic_id=log)


def publish(history: History, connection: Connection) -> None:
    """Copy a history to a cluster, record by record at the same offsets."""
    producer = Producer(connection.config(**{"enable.idempotence": True}))
    for (topic, number), kept in history.records.items():
        for record in kept:
            producer.produce(topic, record.value(), record.key(), number, headers=record.headers())
            producer.poll(0)
    assert producer.flush(30) == 0


def run(history: History, broker: Broker, folder: Path, *more: str) -> Result:
    """Run the command on a history that is published."""
    name = history.loaded.task.name
    file = folder / f"{name}.py"
    file.write_text(TASK_FILE.format(name=name))
    return CliRunner().invoke(verify_command, [str(file), "--bootstrap", broker.bootstrap, *more])


def test_verify_proves_a_history_on_a_cluster(
    history: History, connection: Connection, broker: Broker, tmp_path: Path
) -> None:
    publish(history, connection)
    result = run(history, broker, tmp_path, "--json")
    reported = json.loads(result.stdout)
    assert (result.exit_code, reported["failures"], reported["ok"]) == (0, [], True)
    assert reported["scores_reproduced"] == {"lr": reported["predictions"], "window": reported["predictions"]}
    assert reported["snapshots_checked"] == 18
    people = run(history, broker, tmp_path)
    assert people.exit_code == 0
    assert "everything holds" in people.stdout
    assert "scores of lr reproduced bit for bit" in people.stdout


Tamper = Callable[[History], str]


def a_score(history: History) -> str:
    place = (history.topics.predictions, 0)
    record = history.records[place][7]
    prediction = history.codec.decode_prediction(record.value())
    score = prediction.scores[0]
    assert isinstance(score.score, float)
    changed = replace(score, score=score.score + 1e-16 if score.score < 0.5 else score.score - 1.2e-16)
    assert changed != score
    history.change(*place, 7, replace(prediction, scores=(changed, *prediction.scores[1:])))
    return f"{score.version} does not reproduce the served score"


def a_missing_entry(history: History) -> str:
    place = (history.topics.log, 0)
    at = next(i for i, entry in enumerate(history.entries()) if entry.kind == "expired")
    del history.records[place][at]
    return "is not pending, and the log has no resolution of it"


def a_second_entry(history: History) -> str:
    kept = history.records[history.topics.log, 0]
    again = next(each for each in kept if history.codec.decode_entry(each.value()).kind == "labelled")
    kept.append(replace(again, at=len(kept)))
    return "is in the log more than once"


def another_label(history: History) -> str:
    at, entry = next((i, each) for i, each in enumerate(history.entries()) if each.kind == "labelled")
    assert entry.outcome is not None
    changed = replace(entry, outcome=replace(entry.outcome, value=not entry.outcome.value))
    history.change(history.topics.log, 0, at, changed)
    return "does not match the outcome on the topic"


def a_changed_model(history: History) -> str:
    fold: Any = history.models[0]
    fold.estimator.learn_one({"x": 1.0, "y": 1.0}, True)
    version = history.snapshot()[0].manifest.version
    return f"snapshot {version} differs from the fold of the log"


@pytest.mark.parametrize("tamper", [a_score, a_missing_entry, a_second_entry, another_label, a_changed_model])
def test_verify_names_what_was_tampered_with(
    history: History, connection: Connection, broker: Broker, tmp_path: Path, tamper: Tamper
) -> None:
    expected = tamper(history)
    publish(history, connection)
    result = run(history, broker, tmp_path)
    assert result.exit_code == 1
    assert expected in result.stderr.replace("\n", " ")
    assert "WRONG: " + history.loaded.task.name in result.stderr or "WRONG: lr.1@" in result.stderr


def test_stored_snapshots_are_opened_listed_and_shown(
    history: History, connection: Connection, broker: Broker, tmp_path: Path
) -> None:
    store = SnapshotStore(str(tmp_path / "store"))
    for made in history.snapshot():
        store.save(made.manifest, made.state, made.probes)
    publish(history, connection)
    with KafkaSource(connection) as source:
        report = verify(history.loaded, history.codec, source, history.runtime, store)
    assert report.failures == []
    assert report.snapshots == 18
    name, version = history.loaded.task.name, str(history.models[0].version)
    file = tmp_path / "listed.py"
    file.write_text(TASK_FILE.format(name=name))
    where = ["--snapshots", str(tmp_path / "store")]
    listed = CliRunner().invoke(snapshots_command, ["list", str(file), *where, "--json"])
    assert {each["version"] for each in json.loads(listed.stdout)["snapshots"]} >= {version}
    shown = CliRunner().invoke(snapshots_command, ["show", str(file), version, *where])
    assert shown.exit_code == 0
    assert "LogisticRegression" in shown.stdout


def test_an_open_transaction_is_waited_for(history: History, connection: Connection) -> None:
    publish(history, connection)
    producer = Producer(connection.config(**{"transactional.id": f"{history.loaded.task.name}.open"}))
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(history.topics.log, b"never committed", partition=0)
    producer.flush(30)
    ends = time.monotonic() + 2
    with KafkaSource(connection) as source:
        found = source.ends([(history.topics.log, 0)])
        producer.abort_transaction(30)
        assert time.monotonic() < ends + 30
        assert found == {(history.topics.log, 0): len(history.records[history.topics.log, 0]) + 1}
        assert verify(history.loaded, history.codec, source, history.runtime).ok


def test_topics_that_do_not_exist_are_named(connection: Connection, task_name: str) -> None:
    missing = ordinary(task_name)
    with (
        KafkaSource(connection) as source,
        pytest.raises(BrokerError, match=rf"{task_name}\.\S+ does not exist.*riverloop topics create"),
    ):
        verify(missing.loaded, missing.codec, source, missing.runtime)
