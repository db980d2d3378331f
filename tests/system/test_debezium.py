"""A table in PostgreSQL as the outcome feed: Debezium writes its changes, a worker makes outcomes of them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Message, Producer

from infra.embedded.pytest_plugin import Broker
from infra.inbound import header
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.task.mapped_outcomes import MAPPED
from schemas.errors import BrokerError
from tests.debezium import Debezium
from tests.integration.loops import Loop, invoked, until
from tests.postgres import Postgres

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.system("pg_ctlcluster", package="postgresql"),
    pytest.mark.timeout(600),
]
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
            topic="{name}.public.orders", format="debezium", request_id="after.request_id", value="after.status",
            values={{"paid": True, "refused": False}}, where={{"after.status": ("paid", "refused")}},
            delete="unavailable",
        ),
    ),
)
"""
COUNT = 240
"""Orders; in the table one more has lain before the connector began."""


@pytest.fixture
def loop(broker: Broker, tmp_path: Path, task_name: str) -> Iterator[Loop]:
    file = tmp_path / "task.py"
    file.write_text(TASK_FILE.format(name=task_name))
    with Loop(f"{file}:task", Connection(broker.bootstrap), tmp_path, 3, max_batch=20) as made:
        yield made


def changes(loop: Loop) -> list[Message]:
    """Read what the connector has written."""
    topic = loop.task.outcomes_from[0].topic
    return [message for number in (0, 1) for message in read_all(loop.connection, topic, number)]


def made_of(loop: Loop) -> Counter[str]:
    """Give where the outcomes on the topic come from."""
    return Counter(
        (header(message, MAPPED) or b"").decode()
        for number in range(loop.partitions)
        for message in read_all(loop.connection, loop.topics.outcomes, number)
    )


def counted(message: Message) -> bool:
    """Whether a change is to give an outcome, as the envelope says."""
    envelope = json.loads(message.value() or b"null")
    return bool(envelope) and (envelope["op"] == "d" or envelope["after"]["status"] != "open")


def order(number: int) -> list[str]:
    """What happens to an order after it was made, each in a transaction of its own."""
    where = f"WHERE request_id = 'o-{number}'"
    paid, refused = (f"UPDATE orders SET status = '{status}' {where}" for status in ("paid", "refused"))
    return [[paid], [refused], [f"DELETE FROM orders {where}"], [paid, refused]][number % 4]


def test_changes_of_a_real_table_are_joined_once(loop: Loop, tmp_path: Path) -> None:
    producer = Producer({"bootstrap.servers": loop.connection.bootstrap, "partitioner": "murmur2_random"})
    began = int(time.time() * 1000)
    for number in range(-1, COUNT):
        request = {"request_id": f"o-{number}", "ts": began, "features": {"x": number}}
        producer.produce(loop.topics.requests, json.dumps(request), f"o-{number}")
    assert producer.flush(20) == 0
    with Postgres() as postgres:
        postgres.run(
            "CREATE TABLE orders (request_id text PRIMARY KEY, status text NOT NULL)",
            "INSERT INTO orders VALUES ('o--1', 'paid')",
        )
        connector = Debezium(
            tmp_path / "connect", loop.connection.bootstrap, postgres, loop.task.name, "orders"
        )
        with connector:
            until(lambda: _is_there(loop), 60, "the connector has made the topic")
            first, second = loop.worker(), loop.worker()
            first.start(crash_point="between-map-and-commit:4")
            second.start(crash_point="between-map-and-commit:6")
            _write(postgres, 0, COUNT // 2)
            assert first.wait_ended(90) == -9  # it died in the middle of a transaction
            assert second.wait_ended(90) == -9
            connector.kill()
            _write(postgres, COUNT // 2, COUNT)  # while nobody reads
            connector.start()
            first.restart()
            second.restart()
            wanted = {b"o-%d" % number for number in range(-1, COUNT)}
            until(lambda: {_request(each) for each in changes(loop) if counted(each)} == wanted, 60)
            _joined(loop)
            # A worker reports its lag on the foreign topic, and the topology has it.
            topic = loop.task.outcomes_from[0].topic
            label = f'{{task="{loop.task.name}",topic="{topic}"}}'
            until(lambda: f"riverloop_lag_records{label} 0" in first.metrics + second.metrics, 30)
            assert f"riverloop_lag_seconds{label}" in first.metrics + second.metrics
            shown = invoked("topics", "show", loop.loaded.reference)
            assert shown.startswith(f"outcomes-from: {topic} -> {loop.topics.outcomes}, ")
    assert loop.dead_letters() == []
    loop.assert_verified()
    loop.assert_digests()


def _request(message: Message) -> bytes:
    found = json.loads(message.key() or b"null")["payload"]["request_id"]
    return bytes(found.encode())


def _is_there(loop: Loop) -> bool:
    try:
        return bool(changes(loop))
    except BrokerError:  # there is no such topic yet
        return False


def _write(postgres: Postgres, first: int, end: int) -> None:
    for begin in range(first, end, 20):
        numbers = range(begin, begin + 20)
        made = [f"INSERT INTO orders VALUES ('o-{number}', 'open')" for number in numbers]
        # Between a first and a second value of an order lies more than a millisecond.
        rounds = [[each[at] for each in map(order, numbers) if len(each) > at] for at in (0, 1)]
        postgres.run(*made, *rounds[0], "SELECT pg_sleep(0.05)", *rounds[1])


def _joined(loop: Loop) -> None:
    """Each change that counts gives one outcome, and each order what the table says in the end."""
    places = {
        f"{each.topic()}[{each.partition()}]@{each.offset()}" for each in changes(loop) if counted(each)
    }
    until(lambda: made_of(loop).total() >= len(places), 60, "all outcomes are written")
    assert made_of(loop) == Counter(places)
    quarter = COUNT // 4
    expected = Counter({"labelled": 3 * quarter + 1, "unavailable": quarter, "revised": quarter})
    until(lambda: loop.resolutions().total() >= expected.total(), 60, "all is joined")
    found = loop.resolutions()
    assert set(found.values()) == {1}
    assert Counter(kind for _, kind, _, _ in found) == expected
    truth = {request: value for request, kind, value, _ in found if kind in {"labelled", "unavailable"}}
    assert truth["o--1"] is True
    assert all(truth[f"o-{each}"] is [True, False, None, True][each % 4] for each in range(COUNT))
    revised = {request: value for request, kind, value, _ in found if kind == "revised"}
    assert revised == {f"o-{number}": False for number in range(3, COUNT, 4)}
