"""Requests that faults send in addition to the workload, over HTTP and on the topic."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import Producer

from infra.taskfile import load_task
from schemas.errors import BrokerError
from schemas.records import Outcome, Request
from schemas.topics import PARTITIONER
from streams.examples import synthetic_examples
from tests.faults.check.facts import FAULT_PREFIX
from tests.faults.context import FaultContext
from tests.faults.worker import HarnessWorker
from tests.faults.workload.plan import Step

ACKNOWLEDGED_S: Final = 120.0
Answer = tuple[int, str]
"""HTTP status, and the reason of a problem."""


def make_bodies(context: FaultContext, worker: HarnessWorker, count: int) -> list[dict[str, Any]]:
    """Create HTTP requests with features that the dictionary allows."""
    task = load_task(worker.reference).task
    number = context.random.randrange(10**9)
    examples = synthetic_examples(task.features, task.kind, count, number)
    return [
        {
            "request_id": f"{FAULT_PREFIX}{number}-{n}",
            "ts": context.sender.event_time,
            "features": dict(features),
        }
        for n, (features, _) in enumerate(examples)
    ]


def post(worker: HarnessWorker, body: dict[str, Any]) -> Answer:
    """Request a prediction.

    Raises
    ------
    BrokerError
        When the worker does not answer at all.
    """
    call = urllib.request.Request(
        f"{worker.url}/tasks/{worker.task}/predictions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(call, timeout=60) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, str(json.loads(error.read()).get("reason"))
    except OSError as error:  # a worker outlives its broker; the cause may be outside Python: see `dmesg`
        raise BrokerError(f"the worker at {worker.url} does not answer: {error}") from error


def post_without_broker(
    context: FaultContext, worker: HarnessWorker, bodies: Sequence[dict[str, Any]]
) -> None:
    """Send requests while the broker does not answer: each is acknowledged, or rejected with the right problem."""

    def one(body: dict[str, Any]) -> None:
        status, reason = post(worker, body)
        if status == 200:
            context.acknowledged.append(body["request_id"])
        elif (status, reason) not in ((503, "not_acknowledged"), (503, "not_ready")):
            context.failures.append(f"without its broker a worker answers {status} {reason}")

    # In parallel: each is rejected only after some seconds.
    with ThreadPoolExecutor(len(bodies)) as pool:
        list(pool.map(one, bodies))


def post_until_acknowledged(
    context: FaultContext, worker: HarnessWorker, bodies: Sequence[dict[str, Any]]
) -> None:
    """Repeat each request until it is acknowledged, as a client does that got no answer.

    Raises
    ------
    BrokerError
        When it is not, in time.
    """
    until = time.monotonic() + ACKNOWLEDGED_S
    for body in bodies:
        while body["request_id"] not in context.acknowledged:
            if time.monotonic() > until:
                raise BrokerError(f"{body['request_id']} is not acknowledged although the broker is back")
            post_without_broker(context, worker, [body])


def produce_requests(context: FaultContext, amounts: Sequence[float], *, labelled: int) -> None:
    """Write requests with these amounts to the topic, and outcomes for the first `labelled` of them.

    The entries due for those are added to `context.fault_steps`. The caller accounts for the others.

    Raises
    ------
    BrokerError
        When they cannot be delivered.
    """
    producer = Producer(context.connection.config(partitioner=PARTITIONER))
    number, ts = context.random.randrange(10**9), context.sender.event_time
    for n, amount in enumerate(amounts):
        name = f"{FAULT_PREFIX}{number}-{n}"
        features = {"amount": amount, "age": n, "returning": n % 2 == 0}
        record = Request(name, ts, features)
        producer.produce(context.topics.requests, context.codec.encode(record), name.encode())
        if n < labelled:
            outcome = Outcome(name, ts + 1, n % 3 == 0)
            context.fault_steps[name] = (Step("labelled", outcome.ts, outcome.value),)
            producer.produce(context.topics.outcomes, context.codec.encode(outcome), name.encode())
    context.sender.extra_requests += len(amounts)
    if producer.flush(60):
        raise BrokerError("a fault's requests could not be delivered")
