"""The monitors of a task: what the owners of its log and of its tallies fold and publish from."""

from __future__ import annotations

from schemas.records import Entry
from schemas.tally import Tally
from streams.drift.fold import DriftFold
from streams.fold import Monitor
from streams.metrics.extra_metrics import ExtraMetrics
from streams.metrics.loop_health import LoopHealth
from streams.metrics.served import ServedMetrics
from streams.metrics.shadow_comparison import ShadowComparison
from streams.metrics.waiting import Waiting
from streams.quality.monitor import QualityMonitor
from streams.task import Task


def monitors(task: Task) -> list[Monitor[Entry]]:
    """Make a task's monitors, with nothing folded yet: metrics, the loop's health, drift.

    One line per monitor; the order is that in which they publish.
    """
    served = (ServedMetrics(task, model) for model in task.models)
    extra = (ExtraMetrics(task, model) for model in task.models if task.metrics.extra)
    return [
        *served,
        *extra,
        *([ShadowComparison(task)] if task.models[1:] else []),
        *([Waiting(task)] if task.kind == "binary" else []),
        LoopHealth(task),
        DriftFold(task),
    ]


def tally_monitors(task: Task) -> list[Monitor[Tally]]:
    """Make the monitors of what comes in, with nothing folded yet."""
    return [QualityMonitor(task.name, task.features, task.quality)]
