"""What a fault may act on, and what a fault is."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agents.ledger.worker import LedgerWorker
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import Connection
from infra.kafka.fencing import client_id
from infra.kafka.offsets import end_offsets
from infra.ledger.probe import Probe
from infra.ledger.reading import Reader
from infra.ledger.sending import Sender
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.topics import TaskTopics
from streams.ledger.plan import Step

PATIENCE_S = 120.0
FAILOVER_S = 15.0
"""How long requests go on coming after a death: others must answer them by then."""


@dataclass(slots=True, kw_only=True)
class Field:
    """The running loop as a fault sees it: broker, workers, folder, topics, and the sender at work.

    The workload goes on being sent, by another thread, while a fault strikes.
    """

    connection: Connection
    broker: EmbeddedBroker | None
    """None when the cluster is not ours: such a fault cannot strike then (`Fault.needs_broker`)."""
    folder: Path
    """The workers' data folder: their logs, and `snapshots/`, the shared store."""
    topics: TaskTopics
    partitions: int
    group: str
    """The workers' consumer group."""
    log_group: str
    """The consumer group of the log's owners."""
    random: random.Random
    """Seeded; every choice of a fault comes from it, so that a run can be repeated."""
    workers: list[LedgerWorker]
    """All that belong to the run, running or not."""
    make: Callable[[int], LedgerWorker]
    """Makes the worker of a number, not started."""
    sender: Sender
    """Sends the workload; `misplaced` is the share of outcomes it puts on a wrong partition."""
    codec: Codec
    """Of the task."""
    reader: Reader
    """Knows what the workers have yet to take, and keeps the history of topics that are deleted."""
    probe: Probe
    """Sees when records can be read."""
    say: Callable[[str], None]
    """Tells a person what is going on."""
    refused: Counter[str] = field(default_factory=Counter)
    """Dead letters, by reason, that a fault has caused on purpose by records of its own: the check adds them
    to those of the workload. Their request ids, if any, must begin with `fault-`."""
    acknowledged: list[str] = field(default_factory=list)
    """Request ids, beginning with `fault-`, that a fault has sent over HTTP and got an answer to: each must
    have a prediction on the topic. Use `sender.event_time` as their ts and send no outcomes for them."""
    of_faults: dict[str, tuple[Step, ...]] = field(default_factory=dict)
    """What must come of the requests that faults have written to the topic with outcomes, by request id."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """By model: how many entries it must have passed over in the end."""
    failures: list[str] = field(default_factory=list)
    """What did not hold while the fault of this round struck."""
    grown: bool = False
    """Whether a fault has added partitions to the inputs."""
    struck: tuple[int, int] = (0, -1)
    """When the first worker of this round died or hung (ms UTC), and its number; or when the broker came back, and
    -1: from then on a failover is measured."""

    # ------------------------------------------------------------------ workers

    def died(self, worker: LedgerWorker) -> None:
        """Note that a worker has died or hangs, unless one has already in this round, or nothing is under way."""
        if not self.struck[0] and self.sender.go_on():
            self.sender.keep_going(FAILOVER_S)
            self.struck = time.time_ns() // 1_000_000, worker.number

    def back(self) -> None:
        """Note that the broker is back."""
        self.sender.keep_going(FAILOVER_S)
        self.struck = time.time_ns() // 1_000_000, -1

    def running(self) -> list[LedgerWorker]:
        """Give the workers whose process lives."""
        return [worker for worker in self.workers if worker.running]

    def pick(self) -> LedgerWorker:
        """Choose one of the running workers."""
        return self.random.choice(self.running())

    def owner(self) -> LedgerWorker:
        """Give the running worker that owns the training log whenever all of them are members of its group."""
        return min(self.running(), key=lambda worker: client_id(self.log_group, worker.slot))

    def start(self, worker: LedgerWorker, **environment: str) -> None:
        """Start a worker; `environment` as in `LedgerWorker.start`. Does not wait: see `wait_ready`."""
        worker.start(**environment)

    def kill(self, worker: LedgerWorker) -> None:
        """End a worker as a crash would (SIGKILL)."""
        if worker.running:
            self.died(worker)
        worker.kill()

    def stop(self, worker: LedgerWorker) -> None:
        """End a worker in order (SIGTERM)."""
        worker.stop()

    def pause(self, worker: LedgerWorker) -> None:
        """Stop a worker in mid-air (SIGSTOP)."""
        self.died(worker)
        worker.pause()

    def resume(self, worker: LedgerWorker) -> None:
        """Let a paused worker go on (SIGCONT)."""
        worker.resume()

    def wait_ready(self, worker: LedgerWorker) -> None:
        """Wait until a worker serves.

        Raises
        ------
        BrokerError
            When it has ended, or is not ready in time.
        """
        worker.wait_ready()

    def restart(self, worker: LedgerWorker, **environment: str) -> None:
        """Start a worker that has ended, and wait until it serves."""
        self.start(worker, **environment)
        self.wait_ready(worker)

    def add(self) -> LedgerWorker:
        """Start one more worker, and wait until it serves."""
        worker = self.make(1 + max((each.number for each in self.workers), default=-1))
        self.workers.append(worker)
        self.restart(worker)
        return worker

    def remove(self, worker: LedgerWorker) -> None:
        """Stop a worker in order, for good."""
        worker.stop()
        self.failures += worker.failures
        self.workers.remove(worker)

    def look(self) -> list[str]:
        """Give what did not hold since the last call: deaths that nobody asked for among it."""
        for worker in self.workers:
            worker.look()
            self.failures += worker.failures
            worker.failures.clear()
        found, self.failures = self.failures, []
        return found

    # ------------------------------------------------------------------ progress

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Send nothing for a while, once the workers have taken everything that was sent.

        Raises
        ------
        BrokerError
            When they do not.
        """
        with self.sender.quiet():
            self.reader.settle()
            yield

    def progress(self) -> int:
        """Give how many entries the log holds, markers and open transactions included.

        Raises
        ------
        BrokerError
            When the cluster does not answer.
        """
        place = (self.topics.log, 0)
        return end_offsets(self.connection, [place], committed=False)[place]

    def wait_progress(self, entries: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until the log has grown by so many entries, or the workload is sent; it goes on meanwhile.

        Raises
        ------
        BrokerError
            When it has not, in time.
        """
        until, goal = time.monotonic() + timeout_s, self.progress() + entries
        while self.progress() < goal and self.sender.go_on():
            if time.monotonic() > until:
                raise BrokerError(f"the log has not grown by {entries} entries in {timeout_s:.0f} s")
            time.sleep(0.05)


class Fault(Protocol):
    """Something that goes wrong, and is made good again."""

    name: str
    """As in `--faults` and on the page: lower-case letters, digits, hyphens."""
    needs_broker: bool
    """Whether it acts on a broker or a folder that must be ours."""
    needs_models: bool
    """Whether it needs the models of the ledger's own task, which fail on demand."""
    describe: str
    """One sentence for the page: what happens, and what must hold afterwards."""

    def strike(self, field: Field) -> None:
        """Let it happen, and return once it is over and healed: all workers of the field serve again."""
