from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.embedded.broker import EmbeddedBroker
from infra.embedded.pytest_plugin import Broker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from schemas.errors import BrokerError
from schemas.topics import MAX_DEAD_LETTER_BYTES, MAX_TOPIC_RECORD_BYTES, TaskTopics, topics

pytestmark = pytest.mark.kafka


def until(reached: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid: int) -> bool:
    # An orphan that nobody has reaped yet is dead, although its number is still taken.
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def produce(bootstrap: str, topic: str, value: bytes) -> None:
    outcomes: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": MAX_DEAD_LETTER_BYTES})
    producer.produce(topic, value, on_delivery=lambda error, _message: outcomes.append(error))
    assert producer.flush(30) == 0
    assert outcomes == [None]


def consume(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"{topic}-reader",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic])
    try:
        return [message.value() for message in consumer.consume(count, timeout=30)]
    finally:
        consumer.close()


def test_records_come_back_even_dead_letters_of_oversized_records(broker: Broker, task_name: str) -> None:
    names = TaskTopics(task_name)
    create_topics(Connection(broker.bootstrap), topics(task_name, 2))
    oversized = os.urandom(MAX_TOPIC_RECORD_BYTES)
    produce(broker.bootstrap, names.requests, b"small")
    produce(broker.bootstrap, names.dead_letters, oversized)
    assert consume(broker.bootstrap, names.requests, 1) == [b"small"]
    assert consume(broker.bootstrap, names.dead_letters, 1) == [oversized]


@pytest.mark.parametrize("stored", ["producer", "lz4", "gzip"])
def test_records_come_back_however_clients_and_topics_compress_them(
    stored: str, broker: Broker, task_name: str
) -> None:
    topic = f"{task_name}-{stored}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1, config={"compression.type": stored})])[topic].result()
    kinds = ("none", "gzip", "snappy", "lz4", "zstd")
    failed: list[KafkaError | None] = []
    for kind in kinds:
        producer = Producer(
            {"bootstrap.servers": broker.bootstrap, "compression.type": kind, "linger.ms": 20}
        )
        for number in range(50):
            producer.produce(
                topic,
                f"{kind} {number} {'x' * 200}".encode(),
                on_delivery=lambda error, _: failed.append(error),
            )
        assert producer.flush(30) == 0
    assert failed == [None] * 250
    said = {value.decode().split(" x")[0] for value in consume(broker.bootstrap, topic, 250) if value}
    assert said == {f"{kind} {number}" for kind in kinds for number in range(50)}


def test_a_killed_broker_comes_back_with_its_records_on_its_port(tmp_path: Path, task_name: str) -> None:
    topic = TaskTopics(task_name).log
    data = tmp_path / "kafka"
    broker = EmbeddedBroker(data)
    try:
        broker.start()
        address = broker.bootstrap
        create_topics(Connection(address), topics(task_name, 1))
        produce(address, topic, b"before")
        broker.kill()
        assert not broker.running
        port = int(address.rpartition(":")[2])
        with (
            socket.create_server(("127.0.0.1", port)),
            pytest.raises(BrokerError, match="taken by another process"),
        ):
            broker.start()
        broker.start()
        assert broker.bootstrap == address
        produce(address, topic, b"after")
        with pytest.raises(BrokerError, match=re.escape(f"another broker runs on {data}")):
            EmbeddedBroker(data).start()
        assert consume(address, topic, 2) == [b"before", b"after"]
    finally:
        broker.stop()
    assert not broker.running
    with EmbeddedBroker(data) as again:
        assert again.bootstrap == address
        assert consume(address, topic, 2) == [b"before", b"after"]


PARENT = """
import subprocess, sys, threading, time
from infra.embedded.broker import EmbeddedBroker
broker = EmbeddedBroker()
# The starting thread ends long before the process does.
thread = threading.Thread(target=broker.start)
thread.start()
thread.join()
# A forked child holds copies of all our pipes and outlives us.
if {fork}:
    import os
    if os.fork() == 0:
        os.close(1)
        time.sleep({fork})
        os._exit(0)
print(broker.pid, broker.log_file.parent, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("fork_s", [0, 30], ids=["alone", "leaving a forked child behind"])
def test_the_broker_dies_with_its_killed_parent(fork_s: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT.format(fork=fork_s)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        # Half a second later: the end of the thread that started it is no reason to die.
        time.sleep(0.7)
        assert alive(int(pid))
        parent.kill()
    assert until(lambda: not alive(int(pid)), 5.0)
    assert until(lambda: not Path(directory).exists(), 5.0)


def test_the_broker_dies_with_its_killed_watchdog_and_its_place_is_cleaned_up() -> None:
    with EmbeddedBroker() as broker:
        directory, pid = broker.log_file.parent, broker.pid
        watchdog = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        assert watchdog != os.getpid()
        os.kill(watchdog, signal.SIGKILL)
        assert until(lambda: not alive(pid), 5.0)
        assert not broker.running
        assert directory.exists()
    assert not directory.exists()


def test_a_failed_start_names_the_log_and_shows_its_last_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(BrokerError) as caught:
        EmbeddedBroker(heap="1k").start()
    (log,) = tmp_path.glob("*/broker.log")
    assert str(log) in str(caught.value)
    assert "Too small maximum heap" in str(caught.value)
    assert [path.name for path in log.parent.iterdir() if path.is_dir()] == []


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match="data directory cannot be made"):
        EmbeddedBroker(tmp_path / "file" / "kafka").start()


def test_a_broker_that_was_not_started_says_so(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    broker.stop()
    assert not broker.running
    for attribute in ("bootstrap", "pid"):
        with pytest.raises(BrokerError):
            getattr(broker, attribute)
