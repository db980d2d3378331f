"""The parts of a task that HTTP uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from agents.settings import Settings
from infra.subjects import Subjects
from infra.task.context import TaskContext
from infra.task.readiness import Readiness
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from infra.turns import Turns
from infra.worker_views import Lag, LocalState
from streams.fold import Measurement
from streams.serve import Server

if TYPE_CHECKING:
    from infra.features.reader import LookupReader
    from infra.shared.predictions import SharedPredictions
    from infra.task.awaited_answers import AwaitedAnswers


class LocalStatus(Protocol):
    """The status of a task's joins and monitors in this worker; see `infra.task.status.TaskStatus`."""

    lag: Lag

    def local_state(self) -> LocalState:
        """Return the parts of the task that this worker has."""

    def measurements(self) -> Sequence[Measurement]:
        """Return the current values of all monitors."""

    def details(self) -> dict[str, Any]:
        """Return further members of the status document, those of models under `models`."""


@dataclass(frozen=True, slots=True)
class HttpTask:
    """One task, as the routes of HTTP are given it; each passes on what its handlers use."""

    context: TaskContext
    settings: Settings
    readiness: Readiness
    current: CurrentTopics
    server: Server
    subjects: Subjects
    turns: Turns
    statistics: Statistics
    status: LocalStatus
    lookups: LookupReader | None = None
    """None: the task has no look-ups."""
    shared: SharedPredictions | None = None
    """None: workers share no store of predictions."""
    awaited: AwaitedAnswers | None = None
    """None: the task has no aggregates, so that any worker answers."""
