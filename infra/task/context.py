"""The properties of a task that never change in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.kafka.connection import Connection
from infra.runtimes import Proof
from infra.taskfile import LoadedTask
from schemas.cloudevents import EventHeaders
from schemas.codec import Codec
from schemas.framing import Frame
from schemas.topics import TaskTopics
from streams.task import Task


@dataclass(frozen=True, slots=True)
class TaskContext:
    """A task and the cluster on which it runs.

    Attributes
    ----------
    partitions
        Number of partitions of the join's state. Requests, outcomes and dead letters may have more.
    log_topic_id
        Id of the topic of the log, which is written into snapshots.
    group
        The workers' consumer group.
    slot
        The worker's stable name.
    proofs
        What the load check gave, by model; see `infra.runtimes`.
    frame
        What gives predictions the framing of a schema registry; None: they have none.
    events
        Makes a prediction's headers of a CloudEvent; None: it has none.
    """

    loaded: LoadedTask
    connection: Connection
    codec: Codec
    topics: TaskTopics
    partitions: int
    log_topic_id: str
    group: str
    slot: str = ""
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    frame: Frame | None = None
    events: EventHeaders | None = None

    @property
    def task(self) -> Task:
        """The task."""
        return self.loaded.task
