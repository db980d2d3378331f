"""What happens to the cluster, and what foreign producers do to its topics."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import Producer

from agents.ledger.field import Field
from agents.ledger.strike import Strike
from infra.kafka.broker import EmbeddedBroker
from infra.taskfile import load_task
from schemas.errors import BrokerError
from streams.examples import synthetic_examples

AWAY_S: Final = 60.0
ASKED: Final = 20
"""Requests sent over HTTP while the broker is away."""
ACKNOWLEDGED_S: Final = 120.0
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
    task = load_task(worker.reference).task
    number = field.random.randrange(10**9)
    examples = synthetic_examples(task.features, task.kind, ASKED, number)
    bodies = [
        {"request_id": f"fault-{number}-{n}", "ts": field.sender.event_time, "features": dict(features)}
        for n, (features, _) in enumerate(examples)
    ]
    broker.kill()
    back = time.monotonic() + AWAY_S
    # All at once: each is refused only after some seconds.
    with ThreadPoolExecutor(len(bodies)) as pool:
        list(pool.map(lambda body: _ask(field, worker.url, worker.task, body), bodies))
    time.sleep(max(0.0, back - time.monotonic()))
    broker.start()
    field.back()
    _wait_all(field)
    until = time.monotonic() + ACKNOWLEDGED_S
    for body in bodies:
        # As a client does: until it is acknowledged.
        while body["request_id"] not in field.acknowledged:
            if time.monotonic() > until:
                raise BrokerError(f"{body['request_id']} is not acknowledged although the broker is back")
            _ask(field, worker.url, worker.task, body)


def _ask(field: Field, url: str, task: str, body: dict[str, Any]) -> None:
    """Ask for a prediction: acknowledged, or refused with a problem that says so."""
    call = urllib.request.Request(  # noqa: S310  loopback
        f"{url}/tasks/{task}/predictions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(call, timeout=60):  # noqa: S310  loopback
            field.acknowledged.append(body["request_id"])
    except urllib.error.HTTPError as error:
        reason = json.loads(error.read()).get("reason")
        if (error.code, reason) not in ((503, "not_acknowledged"), (503, "not_ready")):
            raise BrokerError(f"without its broker a worker answers {error.code} {reason}") from error
    except OSError as error:  # it must outlive its broker; what ended it may be below Python: see `dmesg`
        raise BrokerError(
            f"the worker at {url} ended by itself while its broker was away: {error}"
        ) from error


def poison(field: Field) -> None:
    """Write records that are none, on both inputs, among the good ones."""
    producer = Producer(field.connection.config())
    for topic in (field.topics.requests, field.topics.outcomes):
        for number in range(field.partitions):
            for value in POISON:
                producer.produce(topic, value, b"fault-poison", number)
                field.refused["unreadable"] += 1
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
    Strike("poison", "Records that cannot be read lie among the others: each is one dead letter.", poison),
    Strike("misplaced", "A producer puts 30 % of the outcomes on a wrong partition.", misplaced),
)
"""In the order in which the page lists them."""
