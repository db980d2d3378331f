"""Models of a task file raise, diverge, or are slow."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from schemas.errors import BrokerError
from tests.faults.context import FaultContext
from tests.faults.extra_requests import make_bodies, post, produce_requests
from tests.faults.fault import Fault
from tests.faults.task import DIVERGES, SERVED_RAISES, SHADOW_RAISES, SLOW, SLOW_SPAN
from tests.faults.worker import HarnessWorker

FEW: Final = 3
"""Requests on which a model fails, of each kind."""
MANY: Final = 200
"""Slow requests."""
LIVE_S: Final = 1.0
"""Within which `/live` answers while models are slow; 0.1 s on an idle machine."""
TIMEOUT_S: Final = 120.0


def model_raises(context: FaultContext) -> None:
    """Let the served model and the shadow raise, on the topic and over HTTP, and kill a worker meanwhile."""
    worker = context.pick()
    (body,) = make_bodies(context, worker, 1)
    body["features"]["amount"] = SERVED_RAISES
    if (answer := post(worker, body)) != (422, "model_failed"):
        context.failures.append(f"a request on which the served model raises is answered {answer}")
    produce_requests(context, [SERVED_RAISES] * FEW, labelled=0)
    context.fault_dead_letters["model_failed"] += FEW
    produce_requests(context, [SHADOW_RAISES] * FEW, labelled=FEW)
    context.skipped["shadow"] += FEW
    _kill_one(context)


def model_diverges(context: FaultContext) -> None:
    """Let both models learn from amounts that make their weights infinite, and kill a worker meanwhile."""
    produce_requests(context, [DIVERGES] * FEW, labelled=FEW)
    context.skipped.update({"lr": FEW, "shadow": FEW})
    _kill_one(context)


def _kill_one(context: FaultContext) -> None:
    context.wait_for_entries(context.random.randrange(1, 300))
    worker = context.pick()
    context.kill(worker)
    context.restart(worker)


def slow_model(context: FaultContext) -> None:
    """Write many slow requests at once, and check meanwhile that the workers are live."""
    amounts = [SLOW + context.random.randrange(SLOW_SPAN) for _ in range(MANY)]
    until = time.monotonic() + TIMEOUT_S
    due = context.sender.fault_answers + MANY
    produce_requests(context, amounts, labelled=MANY // 2)

    def slowest(worker: HarnessWorker) -> float:
        longest = 0.0
        while context.sender.fault_answers < due and context.sender.keep_sending():
            if time.monotonic() > until:
                raise BrokerError("slow requests are not answered")
            longest = max(longest, _live(worker))
            time.sleep(0.05)
        return longest

    workers = context.running()
    with ThreadPoolExecutor(len(workers)) as pool:
        longest = max(pool.map(slowest, workers))
    context.echo(f"while models are slow, /live answers within {longest:.2f} s")
    if longest > LIVE_S:
        context.failures.append(f"/live answers after {longest:.1f} s while models are slow")
    context.wait_for_entries(MANY)
    end = context.log_end()
    context.wait_for_entries(50)  # an entry after it: markers of commits are not applied
    for worker in workers:  # slow entries are learned slowly, too
        worker.get(f"/tasks/{worker.task}/versions?applied={end}&wait_s=60", 90.0)


def _live(worker: HarnessWorker) -> float:
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"{worker.url}/live", timeout=30):
            return time.monotonic() - began
    except urllib.error.URLError as error:
        raise BrokerError(f"the worker at {worker.url} does not answer on /live: {error}") from error


FAULTS: Final = (
    Fault(
        "model-raises",
        "The served model raises on some requests: dead letters `model_failed`, 422 over HTTP. A shadow "
        "raises on others: every replica skips them.",
        model_raises,
        needs_models=True,
    ),
    Fault(
        "model-diverges",
        "Labels that would make weights infinite: every replica skips them.",
        model_diverges,
        needs_models=True,
    ),
    Fault(
        "slow-model",
        "200 requests at once take each model 10 to 30 ms: `/live` still answers.",
        slow_model,
        needs_models=True,
    ),
)
