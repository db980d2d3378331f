"""What a worker shows of itself and of its tasks: the state from which metrics and the status are made."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from streams.fold import Measurement
from streams.metrics.histogram import Histogram
from streams.roles import ModelRole


@dataclass(frozen=True, slots=True)
class Lag:
    """A worker's lag in offsets; unknown values are missing."""

    lag: Mapping[str, int] = field(default_factory=dict)
    """Records by topic, its partitions here added up."""
    lag_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds by topic, most over its partitions here."""
    end: int | None = None
    stable: int | None = None
    """Of the training log."""


@dataclass(frozen=True, slots=True)
class LocalState:
    """What of a task lies in this worker now."""

    owner: bool = False
    """Whether it owns the training log."""
    partitions: int = 0
    """Partitions whose join runs here."""
    waiting: int = 0
    """Predictions that wait in them."""
    asked_s: float | None = None
    """Age of the oldest request for a command that is not decided, 0 without one; None: another worker knows."""
    warming_left: int | None = None
    """Offsets of the log to be applied before the models may answer; None: unknown."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model as a worker has it."""

    name: str
    revision: str
    spec: str
    active: bool
    learned: int
    skipped: int = 0
    stopped: bool = False
    failures: int = 0
    """Scores that it failed to give, since the worker started."""
    skipped_share: float = 0.0
    """Entries skipped among the last 1,000 labelled, divided by `max_skipped`."""


@dataclass(frozen=True, slots=True)
class TaskView:
    """What a worker shows of one task."""

    task: str
    ready: bool
    here: LocalState
    next_offset: int
    models: Sequence[ModelView]
    roles: Mapping[str, ModelRole]
    commands: Mapping[tuple[str, str], int]
    """By command and model: log offset of the newest that is applied, -1 without one. Empty until it is ready."""
    fails_validation: Mapping[str, bool]
    validation_lag: float | None
    """Log offsets since the newest validation, divided by `every`; None where the task has none."""
    counts: Mapping[str, int]
    dead_letters: Mapping[str, int]
    answers: Mapping[str, Histogram]
    freshness: Mapping[str, Histogram]
    places: Lag
    rejected: Collection[str]
    """The topics, or positions, with which the task does not go on."""
    measurements: Sequence[Measurement]
    """Of the monitors whose owner this worker is."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    """What a worker shows that belongs to no task."""

    reachable: bool = True
    """Whether the cluster acknowledges."""
    calls: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """HTTP calls by route and status."""
    spans: Mapping[str, Histogram] = field(default_factory=dict)
    """By route: how long they took."""
    blocked_s: float = 0.0
    """For how long steps of more than 100 ms have held the event loop (s)."""
