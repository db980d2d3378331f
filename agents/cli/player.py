"""Replays a file's events in a thread of its own, while the command's shows how it goes."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from agents.cli.cluster import codec_of
from agents.cli.live import LiveView
from agents.cli.processes import WorkerProcess
from agents.settings import Settings
from infra.kafka.answers import Answers
from infra.kafka.connection import Connection
from infra.kafka.replay import Replay
from infra.taskfile import LoadedTask
from schemas.topics import TaskTopics
from streams.aggregates.aggregates import request_key
from streams.datafile import Event
from streams.join.join_rules import JoinRules

STOP_S = 10.0


class Stopped(Exception):
    """The command ends, so the replay does."""


class Player:
    """A replay that ends with the command.

    Enter it before the workers start: it then ends after them, who answer what it waits for, and before the
    broker that it talks to.

    Parameters
    ----------
    connection, partitions
        The cluster, and how many partitions the task's topics have there.
    lockstep
        Whether each request goes after everything due before it was learned.
    """

    def __init__(
        self, loaded: LoadedTask, connection: Connection, partitions: int, *, lockstep: bool
    ) -> None:
        codec, topics = codec_of(loaded), TaskTopics(loaded.task.name)
        self._answers = Answers(connection, codec, topics, partitions)
        about, key = (connection, codec, topics, self._answers), request_key(loaded.task)
        self._replay = Replay(*about, group=Settings.load().group, key=key)
        self._horizon_ms, self._lockstep = JoinRules.of(loaded.task).horizon_ms, lockstep
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            if self._thread.is_alive():  # it uses the consumer: closing that under it would crash
                return
        self._answers.close()

    def play(self, events: list[Event], worker: WorkerProcess, view: LiveView) -> float:
        """Play the events; returns how long it took, in s."""
        failed: list[BaseException] = []

        def tick() -> None:
            if self._stopping.is_set():
                raise Stopped

        def run() -> None:
            try:
                if self._lockstep:
                    self._replay.lockstep(events, self._horizon_ms, worker.wait_complete, tick=tick)
                else:
                    self._replay.free(events, self._horizon_ms, tick=tick)
            except BaseException as error:  # it dies alone in its thread otherwise
                failed.append(error)

        started = time.monotonic()
        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        with view:
            while self._thread.is_alive():
                view.refresh(self._replay.requests)
                self._thread.join(0.25)
            view.refresh(self._replay.requests)
        if failed:
            raise failed[0]
        return time.monotonic() - started
