"""The properties of a task that never change in a worker."""

from __future__ import annotations

from dataclasses import dataclass

from agents.settings import Settings
from infra.kafka.connection import Connection
from infra.taskfile import LoadedTask
from schemas.codec import Codec
from schemas.topics import TaskTopics
from streams.task import Task


@dataclass(frozen=True, slots=True)
class TaskContext:
    """A task, the cluster on which it runs, and the worker's settings.

    Attributes
    ----------
    partitions
        Number of partitions of the join's state. Requests, outcomes and dead letters may have more.
    log_topic_id
        Id of the topic of the log, which is written into snapshots.
    slot
        The worker's stable name.
    """

    loaded: LoadedTask
    settings: Settings
    connection: Connection
    codec: Codec
    topics: TaskTopics
    partitions: int
    log_topic_id: str
    slot: str = ""

    @property
    def task(self) -> Task:
        """The task."""
        return self.loaded.task
