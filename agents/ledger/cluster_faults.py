"""What happens to the cluster, and what foreign producers do to its topics."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from confluent_kafka import Producer

from agents.ledger.asking import ask_until_acknowledged, ask_without_broker, bodies
from agents.ledger.field import Field
from agents.ledger.strike import Strike
from agents.ledger.worker import LedgerWorker
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import partition_count
from schemas.errors import BrokerError

AWAY_S: Final = 60.0
HANGS_S: Final = 25.0
NOTICED_S: Final = 10.0
"""Within which a worker says that it is not ready when its broker hangs."""
ASKED: Final = 20
"""Requests sent over HTTP while the broker is away."""
POISON: Final = (b"poison", b"", None)
"""Values that are no record."""


def broker_crash(field: Field) -> None:
    """Kill the broker and start it again on the same data and port."""
    broker = _ours(field)
    broker.kill()
    broker.start()
    field.back()
    _wait_all(field)


def broker_away(field: Field) -> None:
    """Leave the workers without a broker for a minute, ask over HTTP, and ask again when it is back."""
    broker, worker = _ours(field), field.pick()
    asked = bodies(field, worker, ASKED)
    broker.kill()
    back = time.monotonic() + AWAY_S
    ask_without_broker(field, worker, asked)
    time.sleep(max(0.0, back - time.monotonic()))
    broker.start()
    field.back()
    _wait_all(field)
    ask_until_acknowledged(field, worker, asked)


def cluster_hangs(field: Field) -> None:
    """Stop the broker's process in mid-air; workers must say that they are not ready, and be ready afterwards."""
    broker, worker = _ours(field), field.pick()
    asked = bodies(field, worker, ASKED)
    os.kill(broker.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask_without_broker, field, worker, asked)
            for each in field.running():
                _wait_not_ready(field, each, began)
            asking.result()
        time.sleep(max(0.0, began + HANGS_S - time.monotonic()))
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    field.back()
    _wait_all(field)
    ask_until_acknowledged(field, worker, asked)


def _wait_not_ready(field: Field, worker: LedgerWorker, began: float) -> None:
    while time.monotonic() < began + HANGS_S:
        try:
            worker.get("/ready", 5.0)
        except urllib.error.HTTPError as error:
            if error.code == 503:
                break
        except OSError as error:
            field.failures.append(f"worker {worker.number} does not answer while the broker hangs: {error}")
        time.sleep(0.1)
    after = time.monotonic() - began
    field.say(f"worker {worker.number} is not ready {after:.1f} s after its broker hangs")
    if after > NOTICED_S:
        field.failures.append(f"worker {worker.number} was ready for {after:.1f} s while its broker hung")


def poison(field: Field) -> None:
    """Write records that are none, on both inputs, among the good ones."""
    producer = Producer(field.connection.config())
    for topic in (field.topics.requests, field.topics.outcomes):
        for number in range(partition_count(field.connection, topic)):
            for value in POISON:
                producer.produce(topic, value, b"fault-poison", number)
                field.refused["unreadable"] += 1
                field.sender.asked_elsewhere += topic == field.topics.requests
    if producer.flush(60):
        raise BrokerError("poison records could not be delivered")


def misplaced(field: Field) -> None:
    """Let three of ten outcomes lie on the wrong partition, as librdkafka's default partitioner does."""
    field.sender.misplaced = 0.3
    field.wait_progress(1000)
    field.sender.misplaced = 0.0


def _ours(field: Field) -> EmbeddedBroker:
    if field.broker is None:
        raise BrokerError("this fault needs a broker of the ledger's own")
    return field.broker


def _wait_all(field: Field) -> None:
    for worker in field.running():
        field.wait_ready(worker)


CLUSTER_FAULTS: Final = (
    Strike("broker-crash", "The broker is killed (SIGKILL) and started again.", broker_crash, True),
    Strike(
        "broker-away",
        "The broker is away for 60 s while HTTP requests come: 503, and what was acknowledged is there.",
        broker_away,
        True,
    ),
    Strike(
        "cluster-hangs",
        "The broker's process stands still for 25 s (SIGSTOP) while HTTP requests come: workers are not ready "
        "within 10 s, and what was acknowledged is there.",
        cluster_hangs,
        True,
    ),
    Strike("poison", "Records that cannot be read lie among the others: each is one dead letter.", poison),
    Strike("misplaced", "A producer puts 30 % of the outcomes on a wrong partition.", misplaced),
)
"""In the order in which the page lists them."""
