"""Confluent's clients and a real registry, Apicurio, around the loop."""

from __future__ import annotations

import json
import re
import time
import weakref
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.embedded.pytest_plugin import Broker
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.registry.client import RegistryClient
from schemas.framing import prefix
from tests.apicurio import Apicurio
from tests.integration.loops import Loop, invoked, until

pytestmark = [pytest.mark.kafka, pytest.mark.system("tar"), pytest.mark.timeout(600)]
PAGE = Path(__file__).parents[2] / "docs/how-to/schema-registry.md"
TASK_FILE = """
from datetime import timedelta
from river.dummy import NoChangeClassifier
from schemas import Category, Dictionary, Number
from streams import Model, Task
task = Task(
    name="{name}", question="?", horizon=timedelta(days=1),
    features=Dictionary(Number(name="total"), Category(name="{second}", optional={optional})),
    models=(Model("none", NoChangeClassifier),),
)
"""
FOREIGN = {
    "type": "record",
    "name": "OrderPlaced",
    "fields": [
        {"name": "request_id", "type": "string"},
        {"name": "ts", "type": "long"},
        {
            "name": "features",
            "type": {"type": "record", "name": "Order", "fields": [{"name": "total", "type": "double"}]},
        },
    ],
}


@pytest.fixture(scope="module")
def apicurio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    with Apicurio(tmp_path_factory.mktemp("registry") / "log") as started:
        yield started


def task_file(folder: Path, name: str, second: str = "shop", *, optional: bool = True) -> Path:
    file = folder / f"{second}.py"
    file.write_text(TASK_FILE.format(name=name, second=second, optional=optional))
    return file


def test_schemas_are_registered_by_topic_and_incompatible_ones_rejected(
    apicurio: Apicurio, tmp_path: Path, task_name: str
) -> None:
    file = task_file(tmp_path, task_name)
    [printed] = re.findall(r"^riverloop (schemas register .*)$", PAGE.read_text(), re.MULTILINE)
    words = [*printed.replace("task.py", str(file)).split(), "--json"]
    found = json.loads(invoked(*words, RIVERLOOP_SCHEMA_REGISTRY=apicurio.url))
    assert set(found) == {f"{task_name}.{each}-value" for each in ("requests", "outcomes", "predictions")}
    assert json.loads(invoked(*words, RIVERLOOP_SCHEMA_REGISTRY=apicurio.url)) == found  # again: the same
    client = RegistryClient(apicurio.url, {})
    assert client.compatibility(f"{task_name}.requests-value") == "BACKWARD"
    other = task_file(tmp_path, task_name, "country", optional=False)
    invoked("schemas", "register", str(other), code=1, RIVERLOOP_SCHEMA_REGISTRY=apicurio.url)


class Sender:
    """Sends records as another team does, with Confluent's serializer."""

    def __init__(self, loop: Loop, url: str) -> None:
        self.loop, self.began = loop, int(time.time() * 1000) - 10_000
        self.registry = SchemaRegistryClient({"url": url, "timeout": 20})  # then it asks again
        address = loop.connection.bootstrap
        self.producer = Producer({"bootstrap.servers": address, "partitioner": "murmur2_random"})
        options = {"auto.register.schemas": False}
        self.requests, self.outcomes = (
            AvroSerializer(self.registry, json.dumps(loop.codec.schemas[name]), conf=options)
            for name in ("Request", "Outcome")
        )

    def ask(self, number: int) -> None:
        record = {"request_id": f"o-{number}", "ts": self.began + number, "entity_key": None, "parents": []}
        record["features"] = {"total": 1.0, "shop": "x"}
        self._send(self.loop.topics.requests, self.requests, record)

    def report(self, number: int) -> None:
        record = {"request_id": f"o-{number}", "ts": self.began + 100 + number, "value": number % 2 == 0}
        self._send(self.loop.topics.outcomes, self.outcomes, record)

    def ask_in_foreign_schema(self, number: int, schema_id: int) -> None:
        out = BytesIO()
        record = {"request_id": f"o-{number}", "ts": self.began + number, "features": {"total": 2.0}}
        fastavro.schemaless_writer(out, fastavro.parse_schema(FOREIGN), record)
        self.write(self.loop.topics.requests, prefix(schema_id) + out.getvalue(), f"o-{number}")

    def _send(self, topic: str, write: AvroSerializer, record: dict[str, Any]) -> None:
        value = write(record, SerializationContext(topic, MessageField.VALUE))
        assert value is not None
        self.write(topic, value, record["request_id"])

    def write(self, topic: str, value: bytes, key: str) -> None:
        self.producer.produce(topic, value, key)
        assert self.producer.flush(20) == 0

    def count(self) -> int:
        """Return how many predictions there are; asks no registry."""
        return sum(1 for _ in read_all(self.loop.connection, self.loop.topics.predictions))

    def answered(self) -> list[str]:
        """Read the predictions as another team does; gives the requests."""
        topic, read = self.loop.topics.predictions, AvroDeserializer(self.registry)
        values = [message.value() for message in read_all(self.loop.connection, topic)]
        context = SerializationContext(topic, MessageField.VALUE)
        return [read(value, context)["request_id"] for value in values]


def test_the_loop_runs_on_framed_records_and_waits_for_a_registry_that_is_away(
    apicurio: Apicurio, broker: Broker, tmp_path: Path, task_name: str
) -> None:
    file = task_file(tmp_path, task_name)
    settings: dict[str, Any] = {"schema_registry": apicurio.url, "registry_predictions": "true"}
    with Loop(f"{file}:task", Connection(broker.bootstrap), tmp_path, **settings) as loop:
        words = ("topics", "create", str(file), "--bootstrap", broker.bootstrap)
        invoked(*words, RIVERLOOP_SCHEMA_REGISTRY=apicurio.url)
        worker, sender = loop.worker(), Sender(loop, apicurio.url)
        weakref.finalize(sender, sender.registry.close)
        worker.restart()
        for number in range(5):
            sender.ask(number)
        until(lambda: sender.answered() == [f"o-{number}" for number in range(5)], 120, "they are answered")
        for number in range(5):
            sender.report(number)
        until(lambda: loop.dead_letters() or len(label_ids(loop)) == 5, 120, "they are joined")
        assert loop.dead_letters() == []

        # Another team's schema is registered; the registry hangs before the worker has seen it.
        client = RegistryClient(apicurio.url, {})
        foreign_id = client.register(f"{task_name}.foreign-value", json.dumps(FOREIGN), "NONE")
        with apicurio.away():
            sender.ask(5)
            until(lambda: sender.count() == 6, 120, "what is known needs no registry")
            sender.ask_in_foreign_schema(6, foreign_id)
            until(lambda: f"records wait for schema {foreign_id}" in worker.log, 120)
            assert sender.count() == 6
            assert loop.dead_letters() == []
        until(lambda: sender.count() == 7, 120, "the record that waited is answered")
        sender.ask_in_foreign_schema(7, 999_999)
        until(loop.dead_letters, 120, "an id that the registry does not have is rejected")
        assert [each.reason for each in loop.dead_letters()] == ["unknown_schema"]


def label_ids(loop: Loop) -> set[str]:
    return {name for name, kind, _, _ in loop.resolutions() if kind == "labelled"}
