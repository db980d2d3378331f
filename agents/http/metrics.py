"""What a scrape of a worker shows: its tasks, as the exporter takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version

from agents.http import status
from agents.http.meter import HttpMeter
from agents.http.pulse import Pulse
from agents.http.task import HttpTask
from infra.exporter import Exporter, ModelView, TaskView, WorkerView
from infra.runtime import runtime_fingerprint
from streams.model import ModelFold


def exporter(tasks: Mapping[str, HttpTask], meter: HttpMeter, pulse: Pulse) -> Exporter:
    """Make the exporter of a worker's tasks, which are read at each scrape."""
    runtime = runtime_fingerprint()[0]
    return Exporter(
        lambda: views(tasks), version("riverloop"), runtime, lambda: worker_view(tasks, meter, pulse)
    )


def worker_view(tasks: Mapping[str, HttpTask], meter: HttpMeter, pulse: Pulse) -> WorkerView:
    """Return what belongs to no task."""
    reachable = not any(task.readiness.cluster_problems() for task in tasks.values())
    return WorkerView(reachable, meter.calls, meter.spans, pulse.blocked_total_s)


def views(tasks: Mapping[str, HttpTask]) -> Iterator[TaskView]:
    """Return what each task shows."""
    for name, task in tasks.items():
        yield TaskView(
            task=name,
            ready=not task.readiness.problems(),
            here=task.status.local_state(),
            next_offset=status.next_offset(task.server),
            models=[
                _model(
                    fold, task.server.roles.role(fold.model.name).role, task.server.failures[fold.model.name]
                )
                for fold in task.server.models
            ],
            counts=dict(task.statistics.counts),
            dead_letters=dict(task.statistics.dead_letters),
            answers=task.statistics.answers,
            freshness=task.statistics.freshness,
            places=task.status.lag,
            rejected=tuple(task.readiness.rejected),
            measurements=task.status.measurements(),
        )


def _model(fold: ModelFold, role: str, failures: int) -> ModelView:
    version, learner = fold.version, fold.learner
    return ModelView(
        fold.model.name,
        role,
        f"{version.model}.{version.revision}",
        fold.active,
        fold.learned,
        learner.skipped,
        learner.stopped is not None,
        failures,
        learner.lately / max(1, fold.task.max_skipped),
    )
