"""What a scrape of a worker shows: its tasks, as the exporter takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version

from agents.http import status
from agents.http.meter import HttpMeter
from agents.loop import TaskLoop
from agents.pulse import Pulse
from infra.exporter import Exporter, ModelView, TaskView, WorkerView
from infra.runtime import runtime_fingerprint
from streams.model import ModelFold


def exporter(loops: Mapping[str, TaskLoop], meter: HttpMeter, pulse: Pulse) -> Exporter:
    """Make the exporter of a worker's tasks, which are read at each scrape."""
    runtime = runtime_fingerprint()[0]
    return Exporter(
        lambda: views(loops), version("riverloop"), runtime, lambda: worker_view(loops, meter, pulse)
    )


def worker_view(loops: Mapping[str, TaskLoop], meter: HttpMeter, pulse: Pulse) -> WorkerView:
    """Return what belongs to no task."""
    reachable = not any(loop.readiness.cluster_problems() for loop in loops.values())
    return WorkerView(reachable, meter.calls, meter.spans, pulse.held_total_s)


def views(loops: Mapping[str, TaskLoop]) -> Iterator[TaskView]:
    """Return what each task shows."""
    for name, loop in loops.items():
        yield TaskView(
            task=name,
            ready=not loop.readiness.problems(),
            here=loop.here(),
            next_offset=status.next_offset(loop),
            models=[
                _model(fold, "shadow" if index else "served", loop.server.failures[fold.model.name])
                for index, fold in enumerate(loop.server.models)
            ],
            counts=dict(loop.statistics.counts),
            dead_letters=dict(loop.statistics.dead_letters),
            answers=loop.statistics.answers,
            freshness=loop.statistics.freshness,
            places=loop.places,
            refused=tuple(loop.readiness.refused),
            measurements=loop.measurements() if loop.measurements is not None else (),
        )


def _model(fold: ModelFold, role: str, failures: int) -> ModelView:
    version, learner = fold.version, fold.learner
    return ModelView(
        fold.model.name,
        role,
        f"{version.model}.{version.revision}",
        fold.in_force,
        fold.learned,
        learner.passed_over,
        learner.stopped is not None,
        failures,
        learner.lately / max(1, fold.task.max_passed_over),
    )
