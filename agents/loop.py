"""The parts of one task that its agents share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.current_topics import CurrentTopics
from agents.readiness import Readiness
from agents.statistics import Statistics
from agents.task_context import TaskContext
from agents.turns import Turns
from infra.exporter import Lag, LocalState
from infra.subjects import Subjects
from streams.fold import Measurement
from streams.serve import Server


@dataclass(slots=True)
class TaskLoop:
    """One task in one worker."""

    context: TaskContext
    readiness: Readiness
    current: CurrentTopics
    server: Server
    subjects: Subjects = field(default_factory=Subjects)
    turns: Turns = field(default_factory=Turns)
    statistics: Statistics = field(default_factory=Statistics)
    metrics: Callable[[], dict[str, Any]] | None = None
    """Gives what the join and the log's owner in this worker know, for its status page."""
    measurements: Callable[[], Sequence[Measurement]] | None = None
    """Gives the current values of all monitors, for an exporter."""
    here: Callable[[], LocalState] = LocalState
    """Gives what of the task lies in this worker now."""
    places: Lag = field(default_factory=Lag)
    """How far the worker is behind its topics, as last asked."""
