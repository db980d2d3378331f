"""What a scrape of a worker shows: its tasks, as the exporter takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version

from agents.http import status
from agents.http.meter import HttpMeter
from agents.http.pulse import Pulse
from agents.http.task import HttpTask
from infra.exporter import Exporter
from infra.runtime import runtime_fingerprint
from infra.worker_views import ModelView, TaskView, WorkerView
from streams.commands import DECIDED
from streams.model import ModelFold
from streams.roles import Roles


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
            models=[_model(fold, task.server.failures[fold.model.name]) for fold in task.server.models],
            roles=dict(task.server.roles.models),
            commands=_commands(task.server.roles) if task.readiness.ready.is_set() else {},
            fails_validation={
                model: each.verdict == "failed"
                for model, each in task.server.roles.rollout.validations.items()
            },
            validation_lag=_validation_lag(task),
            counts=dict(task.statistics.counts),
            dead_letters=dict(task.statistics.dead_letters),
            answers=task.statistics.answers,
            freshness=task.statistics.freshness,
            places=task.status.lag,
            rejected=tuple(task.readiness.rejected),
            measurements=task.status.measurements(),
        )


def _validation_lag(task: HttpTask) -> float | None:
    """Return how far the log is beyond the oldest of the models' newest validations, in intervals."""
    rules, roles = task.server.task.validation, task.server.roles
    if rules is None or not task.readiness.ready.is_set():
        return None
    lines = roles.rollout.validations
    names = [each.model.name for each in task.server.models if each.active and not each.retired]
    newest = [lines[name].at if name in lines else 0 for name in names]
    return (status.next_offset(task.server) - min(newest)) / rules.every if newest else None


def _commands(roles: Roles) -> dict[tuple[str, str], int]:
    """Return the newest command of each kind, each from the start: a first one is a change then."""
    of_all = {"share", "pause"}
    names = ["revision", *sorted(DECIDED - {"share"})]
    found = {(name, model): -1 for name in names for model in roles.models}
    found |= {(name, ""): -1 for name in of_all}
    return found | {(each.name, each.model): each.offset for each in roles.decisions}


def _model(fold: ModelFold, failures: int) -> ModelView:
    version, learner = fold.version, fold.learner
    return ModelView(
        fold.model.name,
        f"{version.model}.{version.revision}",
        fold.spec,
        fold.active,
        fold.learned,
        learner.skipped,
        learner.stopped is not None,
        failures,
        learner.lately / max(1, fold.task.max_skipped),
    )
