"""Whether a task may go on, and why not; reading state while the cluster does not answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar

from infra.kafka.acknowledging import Acknowledging
from schemas.errors import BrokerError, RecordsGone

RETRY_S: Final = 1.0
RESTORING: Final = "restoring the models"
T = TypeVar("T")
log = logging.getLogger(__name__)


class TaskStopped(Exception):
    """A topic of the task is rejected: its state is read when that is over."""


class Readiness:
    """The readiness of one task in one worker.

    Parameters
    ----------
    cluster
        Whether the cluster acknowledges; one for all tasks of the worker.

    Attributes
    ----------
    ready
        Set while the models are restored, active, and caught up with the log as it was at the start.
    admitted
        Whether it was ready once: from then on the worker takes partitions.
    why
        Why `ready` is not set.
    rejected
        By topic or partition: why the task does not go on with it, and what to do. Nothing is served, joined or
        published then.
    open
        Set while nothing is rejected.
    stopping
        Whether the worker stops: no caller should wait for progress any more.
    progress
        Notified when more of the log is folded, and when the worker stops.
    """

    def __init__(self, name: str, cluster: Acknowledging) -> None:
        self._name, self.cluster = name, cluster
        self.ready = asyncio.Event()
        self.admitted = False
        self.why = RESTORING
        self.rejected: dict[str, str] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.stopping = False
        self.progress = asyncio.Condition()

    def problems(self) -> list[str]:
        """Return why the task is not ready, a sentence each; empty while it is."""
        return ([] if self.ready.is_set() else [self.why or RESTORING]) + self.cluster_problems()

    def cluster_problems(self) -> list[str]:
        """Return what the cluster does not acknowledge, a sentence each."""
        return self.cluster.problems(time.monotonic())

    def may_work(self) -> bool:
        """Whether nothing is rejected."""
        return not self.rejected

    def reject(self, what: str, why: str) -> None:
        """Stop the task, and only it, for a topic or partition; `why` says what to do."""
        if self.rejected.get(what) != why:
            log.error("%s: stopped: %s", self._name, why)
        self.rejected[what] = why
        self.open.clear()
        self.not_ready("; ".join(self.rejected.values()))

    def not_ready(self, why: str) -> None:
        """Stop answering until `set_ready`."""
        self.ready.clear()
        self.why = why

    def set_ready(self) -> None:
        """Let the models answer."""
        self.why, self.admitted = "", True
        self.ready.set()

    async def stop(self) -> None:
        """End the waits for progress, for which the web server would wait."""
        self.stopping = True
        async with self.progress:
            self.progress.notify_all()

    async def retry(self, read: Callable[..., T], *arguments: int) -> T:
        """Read state in a thread, again and again while the cluster does not answer.

        A worker that gave up would be missing when the cluster is back.

        Raises
        ------
        RecordsGone
            No wait brings the records back.
        BrokerError
            The worker stops.
        TaskStopped
            A topic is rejected.
        """
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(None, read, *arguments)
            except RecordsGone:
                raise
            except BrokerError as error:
                if self.stopping:
                    raise
                if self.rejected:
                    raise TaskStopped from error
                log.warning("%s: retrying in %g s: %s", self._name, RETRY_S, error)
                await asyncio.sleep(RETRY_S)
