"""The broker dies, is unreachable or hangs."""

from __future__ import annotations

import os
import signal
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from infra.embedded.broker import EmbeddedBroker
from schemas.errors import BrokerError
from tests.faults.context import FaultContext
from tests.faults.extra_requests import make_bodies, post_until_acknowledged, post_without_broker
from tests.faults.fault import Fault
from tests.faults.worker import HarnessWorker

DOWN_S: Final = 60.0
HANG_S: Final = 25.0
NOT_READY_S: Final = 10.0
"""Within which a worker reports that it is not ready when its broker hangs."""
HTTP_REQUESTS: Final = 20
"""Sent while the broker does not answer."""


def crash(context: FaultContext) -> None:
    """Kill the broker and start it again on the same data and port."""
    broker = _broker_of(context)
    broker.kill()
    broker.start()
    context.note_return()
    context.wait_all_ready()


def be_away(context: FaultContext) -> None:
    """Stop the broker for a minute, send HTTP requests meanwhile, and repeat them when it is back."""
    broker, worker = _broker_of(context), context.pick()
    bodies = make_bodies(context, worker, HTTP_REQUESTS)
    broker.kill()
    back = time.monotonic() + DOWN_S
    post_without_broker(context, worker, bodies)
    time.sleep(max(0.0, back - time.monotonic()))
    broker.start()
    context.note_return()
    context.wait_all_ready()
    post_until_acknowledged(context, worker, bodies)


def hang(context: FaultContext) -> None:
    """Suspend the broker's process; workers must report that they are not ready, and be ready afterwards."""
    broker, worker = _broker_of(context), context.pick()
    bodies = make_bodies(context, worker, HTTP_REQUESTS)
    os.kill(broker.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        with ThreadPoolExecutor(1) as pool:
            posting = pool.submit(post_without_broker, context, worker, bodies)
            for each in context.running():
                _wait_not_ready(context, each, began)
            posting.result()
        time.sleep(max(0.0, began + HANG_S - time.monotonic()))
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    context.note_return()
    context.wait_all_ready()
    post_until_acknowledged(context, worker, bodies)


def _wait_not_ready(context: FaultContext, worker: HarnessWorker, began: float) -> None:
    while time.monotonic() < began + HANG_S:
        try:
            worker.get("/ready", 5.0)
        except urllib.error.HTTPError as error:
            if error.code == 503:
                break
        except OSError as error:
            context.failures.append(f"worker {worker.number} does not answer while the broker hangs: {error}")
        time.sleep(0.1)
    after = time.monotonic() - began
    context.echo(f"worker {worker.number} is not ready {after:.1f} s after its broker hangs")
    if after > NOT_READY_S:
        context.failures.append(f"worker {worker.number} was ready for {after:.1f} s while its broker hung")


def _broker_of(context: FaultContext) -> EmbeddedBroker:
    if context.broker is None:
        raise BrokerError("this fault needs an embedded broker")
    return context.broker


FAULTS: Final = (
    Fault("broker-crash", "The broker is killed (SIGKILL) and started again.", crash, True),
    Fault(
        "broker-away",
        "The broker is away for 60 s: HTTP requests get 503, acknowledged ones a prediction.",
        be_away,
        True,
    ),
    Fault(
        "cluster-hangs",
        "The broker is suspended for 25 s (SIGSTOP): workers are not ready within 10 s, and acknowledged "
        "HTTP requests get a prediction.",
        hang,
        True,
    ),
)
