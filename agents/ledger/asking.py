"""Requests that faults send of their own, over HTTP and on the topic."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import Producer

from agents.ledger.field import Field
from agents.ledger.worker import LedgerWorker
from infra.taskfile import load_task
from schemas.errors import BrokerError
from schemas.records import Outcome, Request
from schemas.topics import PARTITIONER
from streams.examples import synthetic_examples
from streams.ledger.facts import OF_A_FAULT
from streams.ledger.plan import Step

ACKNOWLEDGED_S: Final = 120.0
Answer = tuple[int, str]
"""Status, and the reason of a problem."""


def bodies(field: Field, worker: LedgerWorker, count: int) -> list[dict[str, Any]]:
    """Make requests for HTTP, with features as the dictionary allows them."""
    task = load_task(worker.reference).task
    number = field.random.randrange(10**9)
    examples = synthetic_examples(task.features, task.kind, count, number)
    return [
        {"request_id": f"{OF_A_FAULT}{number}-{n}", "ts": field.sender.event_time, "features": dict(features)}
        for n, (features, _) in enumerate(examples)
    ]


def ask(worker: LedgerWorker, body: dict[str, Any]) -> Answer:
    """Ask for a prediction.

    Raises
    ------
    BrokerError
        When the worker does not answer at all.
    """
    call = urllib.request.Request(  # noqa: S310  loopback
        f"{worker.url}/tasks/{worker.task}/predictions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:  # noqa: S310  loopback
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, str(json.loads(error.read()).get("reason"))
    except OSError as error:  # it must outlive its broker; what ended it may be below Python: see `dmesg`
        raise BrokerError(f"the worker at {worker.url} does not answer: {error}") from error


def ask_without_broker(field: Field, worker: LedgerWorker, asked: Sequence[dict[str, Any]]) -> None:
    """Ask while the broker does not answer: acknowledged, or refused with a problem that says so."""

    def one(body: dict[str, Any]) -> None:
        status, reason = ask(worker, body)
        if status == 200:
            field.acknowledged.append(body["request_id"])
        elif (status, reason) not in ((503, "not_acknowledged"), (503, "not_ready")):
            field.failures.append(f"without its broker a worker answers {status} {reason}")

    # All at once: each is refused only after some seconds.
    with ThreadPoolExecutor(len(asked)) as pool:
        list(pool.map(one, asked))


def ask_until_acknowledged(field: Field, worker: LedgerWorker, asked: Sequence[dict[str, Any]]) -> None:
    """Ask as a client does that got no answer: again, until it is acknowledged.

    Raises
    ------
    BrokerError
        When it is not, in time.
    """
    until = time.monotonic() + ACKNOWLEDGED_S
    for body in asked:
        while body["request_id"] not in field.acknowledged:
            if time.monotonic() > until:
                raise BrokerError(f"{body['request_id']} is not acknowledged although the broker is back")
            ask_without_broker(field, worker, [body])


def put(field: Field, amounts: Sequence[float], *, labelled: int) -> None:
    """Write requests with these amounts to the topic, and outcomes of the first ones.

    What must come of them goes to `field.of_faults`. The caller says what comes of those without an outcome.
    """
    producer = Producer(field.connection.config(partitioner=PARTITIONER))
    number, ts = field.random.randrange(10**9), field.sender.event_time
    for n, amount in enumerate(amounts):
        name = f"{OF_A_FAULT}{number}-{n}"
        features = {"amount": amount, "age": n, "returning": n % 2 == 0}
        record = Request(name, ts, features)
        producer.produce(field.topics.requests, field.codec.encode(record), name.encode())
        if n < labelled:
            outcome = Outcome(name, ts + 1, n % 3 == 0)
            field.of_faults[name] = (Step("labelled", outcome.ts, outcome.value),)
            producer.produce(field.topics.outcomes, field.codec.encode(outcome), name.encode())
    field.sender.asked_elsewhere += len(amounts)
    if producer.flush(60):
        raise BrokerError("a fault's requests could not be delivered")
