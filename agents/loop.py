"""What the agents of one task share: the task, its codec and topics, and the models in force."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agents.settings import Settings
from agents.turns import Turns
from infra.exporter import Lag, LocalState
from infra.kafka.acknowledging import Acknowledging
from infra.kafka.connection import Connection
from infra.subjects import Subjects
from infra.taskfile import LoadedTask
from schemas.codec import Codec
from schemas.topics import TaskTopics
from streams.fold import Measurement
from streams.metrics.histogram import ANSWER_S, Histogram
from streams.model import ModelFold
from streams.positions import KnownTopics, TopicSeen
from streams.serve import Server
from streams.task import Task

log = logging.getLogger(__name__)
STAGES: Final = ("arrival_to_log", "log_to_serving", "arrival_to_serving")
"""Of a resolution: from the arrival of its trigger until it lies in the log, is applied where requests are
served, and both. Learning and serving are one process, so what is learned serves at once."""
WAYS: Final = ("topic", "http")
"""On which a request comes and is answered."""


@dataclass(slots=True)
class TaskLoop:
    """One task in one worker."""

    loaded: LoadedTask
    settings: Settings
    connection: Connection
    codec: Codec
    topics: TaskTopics
    partitions: int
    """P: into so many the joins' state is divided. Requests, outcomes and dead letters may have more."""
    log_topic_id: str
    server: Server
    subjects: Subjects = field(default_factory=Subjects)
    """The keys of those whom requests are about."""
    slot: str = ""
    """This worker's stable name."""
    turns: Turns = field(default_factory=Turns)
    """Shares the event loop among all tasks of the worker."""
    cluster: Acknowledging = field(default_factory=Acknowledging)
    """Whether the cluster acknowledges; one for all tasks of the worker."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the models are restored, in force, and caught up with the log as it was at the start."""
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)
    """Notified when the folds have applied more of the log, and when the worker stops."""
    last_words: list[Callable[[], None]] = field(default_factory=list)
    """Called when the worker stops, while records can still be written."""
    stopping: bool = False
    """Set when the worker stops: nobody should wait for progress any more."""
    known: KnownTopics = field(default_factory=KnownTopics)
    """What is known of the task's topics."""
    seen: dict[str, TopicSeen] = field(default_factory=dict)
    """The task's topics as the cluster had them when it was asked last."""
    stamps: dict[str, str] = field(default_factory=dict)
    """By topic: its id, which is written with offsets of it."""
    names: dict[str, str] = field(default_factory=dict)
    """How positions name topics that are not the first of their names."""
    refused: dict[str, str] = field(default_factory=dict)
    """By topic or partition: why the task does not go on with it, and what to do. Nothing is served, joined or
    published then."""
    open: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is refused."""
    why_not_ready: str = "restoring the models"
    completed: dict[int, int] = field(default_factory=dict)
    """By partition: the offset on `T.outcomes` of the newest punctuation whose effects are applied."""
    counts: Counter[str] = field(default_factory=Counter)
    """What this worker has done since it started, for its status page."""
    dead_letters: Counter[str] = field(default_factory=Counter)
    """The dead letters among `counts`, by reason."""
    freshness_ms: list[float] = field(default_factory=list)
    """Of the newest resolutions: from the later arrival of both sides until applied here."""

    metrics: Callable[[], dict[str, Any]] | None = None
    """Gives what the join and the log's owner in this worker know, for its status page."""
    measurements: Callable[[], Sequence[Measurement]] | None = None
    """Gives the current values of all monitors, for an exporter: from state that a new owner restores, so no
    counter among them jumps; none in a worker that does not own the log."""
    freshness: dict[str, Histogram] = field(default_factory=lambda: {name: Histogram() for name in STAGES})
    """By stage: how long resolutions took, in this worker since it started."""
    answers: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram(ANSWER_S) for name in WAYS}
    )
    """By way: from a request's arrival until its answer is committed or acknowledged, since it started."""
    here: Callable[[], LocalState] = LocalState
    """Gives what of the task lies in this worker now."""
    places: Lag = field(default_factory=Lag)
    """How far the worker is behind its topics, as last asked."""

    def not_ready(self) -> list[str]:
        """Say why the task is not ready, a sentence each; empty while it is."""
        models = [] if self.ready.is_set() else [self.why_not_ready or "restoring the models"]
        return models + self.cluster.problems(time.monotonic())

    async def stop_waiting(self) -> None:
        """End the waits for progress: the web server would wait for the callers behind them."""
        self.stopping = True
        for say in self.last_words:
            say()
        async with self.progress:
            self.progress.notify_all()

    def refuse(self, what: str, why: str) -> None:
        """Stop the task, and only it, for a topic or partition; `why` says what to do."""
        if self.refused.get(what) != why:
            log.error("%s: stopped: %s", self.task.name, why)
        self.refused[what] = why
        self.open.clear()
        self.ready.clear()
        self.why_not_ready = "; ".join(self.refused.values())

    def may_work(self) -> bool:
        """Whether nothing is refused."""
        return not self.refused

    def count_of(self, topic: str) -> int:
        """Give the number of a topic's partitions, as far as it is known."""
        return self.seen[topic].partitions if topic in self.seen else self.partitions

    @property
    def task(self) -> Task:
        """The task."""
        return self.loaded.task

    @property
    def models(self) -> tuple[ModelFold, ...]:
        """The models' folds; the first is served."""
        return self.server.models


def now_ms() -> int:
    """Give the wall clock, in ms since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000
