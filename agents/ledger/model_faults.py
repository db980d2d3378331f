"""What models of a task file do wrong: they raise, they diverge, they take their time."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from agents.ledger.asking import ask, bodies, put
from agents.ledger.field import Field
from agents.ledger.strike import Strike
from agents.ledger.task import DIVERGES, SERVED_RAISES, SHADOW_RAISES, SLOW, SLOW_SPAN
from agents.ledger.worker import LedgerWorker
from schemas.errors import BrokerError

FEW: Final = 3
"""Requests on which a model fails, of each kind."""
MANY: Final = 200
"""Slow requests."""
LIVE_S: Final = 1.0
"""Within which `/live` answers while models are slow; 0.1 s on a machine that has nothing else to do."""
PATIENCE_S: Final = 120.0


def model_raises(field: Field) -> None:
    """Let the served model and the shadow raise, on the topic and over HTTP, and kill a worker meanwhile."""
    worker = field.pick()
    (body,) = bodies(field, worker, 1)
    body["features"]["amount"] = SERVED_RAISES
    if (answer := ask(worker, body)) != (422, "model_failed"):
        field.failures.append(f"a request on which the served model raises is answered {answer}")
    put(field, [SERVED_RAISES] * FEW, labelled=0)
    field.refused["model_failed"] += FEW
    put(field, [SHADOW_RAISES] * FEW, labelled=FEW)
    field.passed_over["shadow"] += FEW
    _kill_one(field)


def model_diverges(field: Field) -> None:
    """Let both models learn what makes their weights infinite, and kill a worker meanwhile."""
    put(field, [DIVERGES] * FEW, labelled=FEW)
    field.passed_over.update({"lr": FEW, "shadow": FEW})
    _kill_one(field)


def _kill_one(field: Field) -> None:
    field.wait_progress(field.random.randrange(1, 300))
    worker = field.pick()
    field.kill(worker)
    field.restart(worker)


def slow_model(field: Field) -> None:
    """Write many slow requests at once, and ask the workers meanwhile whether they live."""
    amounts = [SLOW + field.random.randrange(SLOW_SPAN) for _ in range(MANY)]
    until = time.monotonic() + PATIENCE_S
    due = field.sender.of_faults + MANY
    put(field, amounts, labelled=MANY // 2)

    def slowest(worker: LedgerWorker) -> float:
        longest = 0.0
        while field.sender.of_faults < due and field.sender.go_on():
            if time.monotonic() > until:
                raise BrokerError("slow requests are not answered")
            longest = max(longest, _live(worker))
            time.sleep(0.05)
        return longest

    workers = field.running()
    with ThreadPoolExecutor(len(workers)) as pool:
        longest = max(pool.map(slowest, workers))
    field.say(f"while models are slow, /live answers within {longest:.2f} s")
    if longest > LIVE_S:
        field.failures.append(f"/live answers after {longest:.1f} s while models are slow")
    field.wait_progress(MANY)
    end = field.progress()
    field.wait_progress(50)  # an entry behind it: markers of commits are not applied
    for worker in workers:  # slow entries are learned slowly, too
        worker.get(f"/tasks/{worker.task}/versions?applied={end}&wait_s=60", 90.0)


def _live(worker: LedgerWorker) -> float:
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"{worker.url}/live", timeout=30):  # noqa: S310  loopback
            return time.monotonic() - began
    except urllib.error.URLError as error:
        raise BrokerError(f"the worker at {worker.url} does not say that it lives: {error}") from error


MODEL_FAULTS: Final = (
    Strike(
        "model-raises",
        "The served model raises on some requests: dead letters `model_failed`, 422 over HTTP. A shadow raises on "
        "others, predicting and learning: every replica passes over them, also a worker that is killed.",
        model_raises,
        needs_models=True,
    ),
    Strike(
        "model-diverges",
        "Labels come from which the models' weights would be no numbers: every replica passes over them, also a "
        "worker that is killed.",
        model_diverges,
        needs_models=True,
    ),
    Strike(
        "slow-model",
        "200 requests come at once on which each model computes for 10 to 30 ms: `/live` answers meanwhile.",
        slow_model,
        needs_models=True,
    ),
)
"""In the order in which the page lists them."""
