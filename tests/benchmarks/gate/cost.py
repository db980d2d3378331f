"""What the gate costs beside the other monitors of the log, in microseconds a resolution of one challenger."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from infra.taskfile import examples, load_task
from schemas.records import Entry
from streams.drift.fold import DriftFold
from streams.driver import MemoryDriver
from streams.fold import TopicFold
from streams.gate.fold import GateFold
from streams.metrics.served import ServedMetrics
from streams.metrics.shadow_comparison import ShadowComparison
from streams.task import Task
from streams.task_model import Model
from tests.benchmarks.gate.pairs import WINDOW

TURN: Final = 200
"""Entries that are folded at once, as a worker does that has just decoded them."""


def cost(make: Callable[[], TopicFold[Entry]], log: Sequence[Entry], resolutions: int) -> float:
    """Return the microseconds that a fold takes for a resolution."""
    before, fold, spent = make(), make(), 0
    gc.collect()
    gc.disable()
    for start in range(0, len(log), TURN):
        part = list(enumerate(log[start : start + TURN], start))
        for offset, entry in part:
            before.apply(offset, entry)  # the entries are in the processor's cache, as after decoding
        began = time.process_time_ns()
        for offset, entry in part:
            fold.apply(offset, entry)
        spent += time.process_time_ns() - began
    gc.enable()
    return spent / 1000 / resolutions


def costs(requests: int = 20_000, times: int = 5) -> list[list[Any]]:
    """Return name and microseconds of each monitor, the least of several times."""
    loaded = load_task(str(examples() / WINDOW))
    lr = loaded.task.models[0]
    models = tuple(
        Model(f"lr-{rate}", lr.build, {"learning_rate": rate / 1000}, lr.policy) for rate in (10, 3)
    )
    task: Task = replace(loaded.task, models=models)
    driver = MemoryDriver(task)
    for _ in driver.run(list(loaded.events(None, requests))):
        pass
    resolutions = sum(entry.prediction is not None for entry in driver.log)
    folds: dict[str, Callable[[], TopicFold[Entry]]] = {
        "gate": lambda: GateFold(task),
        "comparison of shadows": lambda: ShadowComparison(task),
        "metrics of one model": lambda: ServedMetrics(task, task.models[0]),
        "drift": lambda: DriftFold(task),
    }
    return [
        [name, f"{min(cost(make, driver.log, resolutions) for _ in range(times)):.1f}"]
        for name, make in folds.items()
    ]
