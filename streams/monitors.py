"""The monitors of a task: what the log's owner folds and publishes from."""

from __future__ import annotations

from streams.drift.fold import DriftFold
from streams.fold import Monitor
from streams.metrics.loop import LoopHealth
from streams.metrics.served import ServedMetrics
from streams.task import Task


def monitors(task: Task) -> list[Monitor]:
    """Make a task's monitors, with nothing folded yet: the metrics of each model, the loop's health, drift.

    One line per monitor; the order is that in which they publish.
    """
    return [*(ServedMetrics(task, model) for model in task.models), LoopHealth(task), DriftFold(task)]
