"""What a process of a tuning run does: one configuration over a part of the history."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from infra.taskfile import load_task
from streams import native
from streams.grid import configured
from streams.race.history import History, Part, run_part
from streams.task import Task
from streams.task_model import Model


@dataclass(frozen=True, slots=True)
class Configuration:
    """A model of the task file, with other values of some parameters."""

    base: str
    """The model's name in the task file."""
    values: dict[str, Any] = field(default_factory=dict)
    """Empty: the model as it is."""

    def model(self, task: Task) -> Model:
        """Return the model."""
        base = task.model(self.base)
        return configured(base, self.values) if self.values else base


@dataclass(frozen=True, slots=True)
class Work:
    """What all jobs of a run have in common; sent to each process once."""

    reference: str
    """Of the task, as `load_task` takes it."""
    core: str
    history: History


@dataclass(frozen=True, slots=True)
class Job:
    """Entries `[start, end)` of the history for one configuration."""

    name: str
    """Of the model."""
    configuration: Configuration
    start: int
    end: int
    state: bytes | None


def do(work: Work, job: Job) -> Part:
    """Do a job."""
    native.choose(work.core)
    loaded = load_task(work.reference)
    model = job.configuration.model(loaded.task)
    return run_part(loaded.task, model, work.history, job.start, job.end, job.state, loaded.classes)
