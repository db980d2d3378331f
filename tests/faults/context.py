"""What a fault can act on."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import Connection
from infra.kafka.fencing import client_id
from infra.kafka.offsets import end_offsets
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.topics import TaskTopics
from tests.faults.history import HistoryReader
from tests.faults.probe import Probe
from tests.faults.progress import Progress
from tests.faults.sender import Sender
from tests.faults.worker import HarnessWorker
from tests.faults.workload.plan import Step

TIMEOUT_S: Final = 120.0
FAILOVER_S: Final = 15.0
"""How long requests continue after a worker's death: the other workers must answer them by then."""


@dataclass(slots=True, kw_only=True)
class FaultContext:
    """The running loop as a fault sees it: broker, workers, folder, topics, and the sender.

    Another thread continues to send the workload while a fault acts.
    """

    connection: Connection
    broker: EmbeddedBroker | None
    """None on a cluster that the harness did not start; faults with `Fault.needs_broker` do not run there."""
    folder: Path
    """The workers' data folder: their logs, and `snapshots/`, the shared store."""
    topics: TaskTopics
    partitions: int
    group: str
    """The workers' consumer group."""
    log_group: str
    """The consumer group of the log's owners."""
    random: random.Random
    """Seeded. Every choice of a fault comes from it, so that a run can be repeated."""
    workers: list[HarnessWorker]
    """All workers of the run, running or not."""
    make: Callable[[int], HarnessWorker]
    """Creates the worker with a number, without starting it."""
    make_changed: Callable[[int], HarnessWorker]
    """The same with another task file: of the harness's own task with a changed parameter."""
    sender: Sender
    """Sends the workload."""
    codec: Codec
    """Of the task."""
    progress: Progress
    """Shows how far the workers are."""
    history: HistoryReader
    """Preserves the records of topics that a fault deletes."""
    probe: Probe
    """Records when records become readable."""
    echo: Callable[[str], None]
    """Reports progress to a person."""
    fault_dead_letters: Counter[str] = field(default_factory=Counter)
    """By reason: dead letters that faults have caused by records of their own. The check adds them to those of
    the workload. Their request ids, if any, must begin with `fault-`."""
    acknowledged: list[str] = field(default_factory=list)
    """Request ids, beginning with `fault-`, that a fault has sent over HTTP and that were answered: each must
    have a prediction on the topic. Use `sender.event_time` as their ts, and send no outcomes for them."""
    fault_steps: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    """By request id: the entries due for requests that faults have written to the topic with outcomes."""
    skipped: Counter[str] = field(default_factory=Counter)
    """By model: how many entries it must have skipped at the end."""
    failures: list[str] = field(default_factory=list)
    """Promises broken while the fault of this round acted."""
    rolled: bool = False
    """Whether workers with the changed task file have answered."""
    partitions_added: bool = False
    """Whether a fault has added partitions to the inputs."""
    outage: tuple[int, int] = (0, -1)
    """Time of the first death or hang of a worker in this round (ms UTC), and the worker's number; or the time of
    the broker's return, and -1. A failover is measured from then on."""

    # ------------------------------------------------------------------ workers

    def note_death(self, worker: HarnessWorker) -> None:
        """Record a worker's death or hang as the outage of this round, if it is the first and requests are sent."""
        if not self.outage[0] and self.sender.keep_sending():
            self.sender.trickle_for(FAILOVER_S)
            self.outage = time.time_ns() // 1_000_000, worker.number

    def note_return(self) -> None:
        """Record the return of the broker as the outage of this round."""
        self.sender.trickle_for(FAILOVER_S)
        self.outage = time.time_ns() // 1_000_000, -1

    def running(self) -> list[HarnessWorker]:
        """List the workers whose process is alive."""
        return [worker for worker in self.workers if worker.running]

    def pick(self) -> HarnessWorker:
        """Choose one of the running workers at random."""
        return self.random.choice(self.running())

    def owner(self) -> HarnessWorker:
        """Return the running worker that owns the training log whenever all of them are members of its group."""
        return min(self.running(), key=lambda worker: client_id(self.log_group, worker.slot, 0))

    def start(self, worker: HarnessWorker, **environment: str) -> None:
        """Start a worker without waiting for it; `environment` as in `HarnessWorker.start`."""
        worker.start(**environment)

    def kill(self, worker: HarnessWorker) -> None:
        """End a worker as a crash would (SIGKILL)."""
        if worker.running:
            self.note_death(worker)
        worker.kill()

    def stop(self, worker: HarnessWorker) -> None:
        """Stop a worker gracefully (SIGTERM)."""
        worker.stop()

    def pause(self, worker: HarnessWorker) -> None:
        """Suspend a worker (SIGSTOP)."""
        self.note_death(worker)
        worker.pause()

    def resume(self, worker: HarnessWorker) -> None:
        """Resume a suspended worker (SIGCONT)."""
        worker.resume()

    def wait_ready(self, worker: HarnessWorker) -> None:
        """Wait until a worker is ready.

        Raises
        ------
        BrokerError
            When it has ended, or is not ready in time.
        """
        worker.wait_ready()

    def wait_all_ready(self) -> None:
        """Wait until all running workers are ready."""
        for worker in self.running():
            self.wait_ready(worker)

    def restart(self, worker: HarnessWorker, **environment: str) -> None:
        """Start a worker that has ended, and wait until it is ready."""
        self.start(worker, **environment)
        self.wait_ready(worker)

    def doom_owner(self, point: str) -> HarnessWorker:
        """Restart the log's owner with a crash point, and wait until it owns the log again; returns it.

        Raises
        ------
        BrokerError
            When it does not, in time.
        """
        doomed = self.owner()
        self.kill(doomed)
        self.restart(doomed, crash_point=point)
        until = time.monotonic() + TIMEOUT_S
        while not doomed.status()["owner"]:
            if time.monotonic() > until:
                raise BrokerError(f"worker {doomed.number} does not own the log after {TIMEOUT_S:.0f} s")
            time.sleep(0.05)
        return doomed

    def add(self) -> HarnessWorker:
        """Start one more worker, and wait until it is ready."""
        return self._add(self.make)

    def add_changed(self) -> HarnessWorker:
        """Start one more worker with the changed task file, and wait until it is ready."""
        self.rolled = True
        return self._add(self.make_changed)

    def _add(self, make: Callable[[int], HarnessWorker]) -> HarnessWorker:
        worker = make(1 + max((each.number for each in self.workers), default=-1))
        self.workers.append(worker)
        self.restart(worker)
        return worker

    def remove(self, worker: HarnessWorker) -> None:
        """Stop a worker gracefully, and drop it from the run."""
        worker.stop()
        self.failures += worker.failures
        self.workers.remove(worker)

    def collect_failures(self) -> list[str]:
        """Return the promises broken since the last call, unexpected deaths of workers included."""
        for worker in self.workers:
            worker.poll()
            self.failures += worker.failures
            worker.failures.clear()
        found, self.failures = self.failures, []
        return found

    # ------------------------------------------------------------------ progress

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause the workload, once the workers have consumed everything that was sent.

        Raises
        ------
        BrokerError
            When they do not.
        """
        with self.sender.paused():
            self.progress.wait_consumed()
            yield

    def log_end(self) -> int:
        """Return the end offset of the training log, markers and open transactions included.

        Raises
        ------
        BrokerError
            When the cluster does not answer.
        """
        place = (self.topics.log, 0)
        return end_offsets(self.connection, [place], committed=False)[place]

    def wait_for_entries(self, entries: int, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until the log has grown by a number of entries, or the workload is sent. The workload continues.

        Raises
        ------
        BrokerError
            When it has not, in time.
        """
        until, goal = time.monotonic() + timeout_s, self.log_end() + entries
        while self.log_end() < goal and self.sender.keep_sending():
            if time.monotonic() > until:
                raise BrokerError(f"the log has not grown by {entries} entries in {timeout_s:.0f} s")
            time.sleep(0.05)
