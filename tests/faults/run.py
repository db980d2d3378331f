"""One run: workers, rounds with a fault in each, and the check afterwards."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agents.cli.cluster import codec_of
from agents.settings import Settings
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from infra.kafka.partitioner import partition_of
from infra.permissions import make_private
from infra.taskfile import LoadedTask
from schemas.errors import BrokerError, UsageError
from schemas.topics import TaskTopics
from streams.join.join_rules import JoinRules
from streams.topology import declared
from tests.faults.check.check import Check
from tests.faults.context import FaultContext
from tests.faults.fault import Fault
from tests.faults.final_check import changed_reference, check_foreign_run, check_run
from tests.faults.history import HistoryReader
from tests.faults.probe import Probe
from tests.faults.progress import Progress
from tests.faults.registry import FAULTS
from tests.faults.report import Round, RunOptions, report
from tests.faults.sender import Sender
from tests.faults.task import SERVED_RAISES
from tests.faults.timing import mark_phases, mark_stalls
from tests.faults.worker import ForeignWorker, HarnessWorker
from tests.faults.workload.workload import Workload

GROUP: Final = "riverloop-faults"
BLOCK: Final = 100
"""Requests sent between two waits for acknowledgements, at most."""
BEFORE: Final = 0.2
"""Share of a round that is sent before its fault is injected."""
FOREIGN_GIVE_UP_S: Final = 30.0
"""Requests that another loop has not answered for this long are lost."""
WORKER_SETTINGS: Final[Mapping[str, Any]] = {
    "group": GROUP,
    # Without input time would advance, and expiries would depend on how long a fault lasts.
    "idle_ms": 10**9,
    "snapshot_every": 20_000,
    "metrics_every_ms": 5_000,
}


@dataclass(slots=True)
class FaultRun:
    """A run of the fault harness.

    Parameters
    ----------
    loaded
        The task.
    options
        Its size, and its faults.
    connection
        A cluster; None: an embedded broker.
    echo
        Reports progress to a person.
    """

    loaded: LoadedTask
    options: RunOptions
    connection: Connection | None
    echo: Callable[[str], None]
    rounds: list[Round] = field(default_factory=list)
    folder: Path = field(init=False)

    def run(self) -> dict[str, Any]:
        """Run it; returns the report as plain data.

        Raises
        ------
        UsageError
            For faults that do not exist or cannot run here, and topics that are not empty.
        BrokerError
            When the loop makes no progress.
        """
        faults = self._faults()
        parent = Settings.load().data_folder / "faults"
        make_private(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
        with ExitStack() as stack:
            broker = None
            connection = self.connection
            if connection is None:
                broker = stack.enter_context(EmbeddedBroker(report=self.echo))
                connection = Connection(broker.bootstrap)
            found = self._run(stack, connection, broker, faults)
        if found["ok"]:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.echo(f"logs and snapshots of the workers are in {self.folder}")
        return found

    def _faults(self) -> list[Fault]:
        unknown = [name for name in self.options.faults if name not in FAULTS]
        if unknown:
            raise UsageError(f"unknown fault: {', '.join(unknown)}; known are {', '.join(FAULTS)}")
        chosen = [FAULTS[name] for name in self.options.faults]
        embedded = [fault.name for fault in chosen if fault.needs_broker]
        if embedded and self.connection is not None:
            raise UsageError(f"{', '.join(embedded)} need an embedded broker: omit --bootstrap")
        failing = [fault.name for fault in chosen if fault.needs_models]
        if failing and self.loaded.task.models[0].parameters.get("breaks_at") != SERVED_RAISES:
            raise UsageError(f"{', '.join(failing)} need the harness's own task: omit --task")
        return chosen

    # ------------------------------------------------------------------ the run

    def _run(
        self, stack: ExitStack, connection: Connection, broker: EmbeddedBroker | None, faults: list[Fault]
    ) -> dict[str, Any]:
        options, task = self.options, self.loaded.task
        create_topics(connection, declared(task, options.partitions))
        self._check_empty(connection)
        workload = Workload(
            options.seed,
            options.requests,
            task.features,
            task.kind,
            JoinRules.of(task),
            tuple(closing_ids(options.partitions)),
        )
        block = max(1, min(BLOCK, options.requests // options.rounds // 10))
        context = self._context(connection, broker, workload, block)
        sender, probe = context.sender, context.probe
        stack.callback(sender.stop)
        stack.callback(_kill_all, context)
        context.workers += [context.make(number) for number in range(options.workers)]
        for worker in context.workers:
            worker.start()
        for worker in context.workers:
            worker.wait_ready()
        self.echo(f"{len(context.workers)} workers are ready")
        probe.start()
        stack.callback(probe.stop)
        sender.start()
        started = time.monotonic()
        try:
            self._rounds(context, faults, block)
            sender.raise_limit(None)
            sender.join()
        except BrokerError:
            self._echo_lag(context)
            raise
        self._collect_failures(context)
        check = Check(workload, context.fault_dead_letters, context.fault_steps)
        seconds = time.monotonic() - started
        self.echo(f"{sender.records:,} records sent in {seconds:.1f} s")
        foreign = bool(options.command)
        history = check_foreign_run(context, check) if foreign else check_run(self.loaded, context, check)
        self._collect_failures(context, restart=False)
        for each in self.rounds:
            for text in each.failures:
                check.findings.wrong.add(f"{each.fault}: {text}")
        mark_stalls(self.rounds, history, sender.pauses)
        logs = {worker.number: worker.log_file for worker in context.workers}
        mark_phases(self.rounds, logs, probe.arrivals, context.topics.log, sender.pauses)
        return report(options, task.name, self.rounds, check, sender, seconds)

    def _context(
        self, connection: Connection, broker: EmbeddedBroker | None, workload: Workload, block: int
    ) -> FaultContext:
        options, name, foreign = self.options, self.loaded.task.name, bool(self.options.command)
        codec, names = codec_of(self.loaded), TaskTopics(name)
        history = HistoryReader(connection, self.loaded, codec, options.partitions, foreign=foreign)
        progress = Progress(connection, name, options.partitions, GROUP, foreign=foreign)
        sender = Sender(
            connection,
            codec,
            names,
            options.partitions,
            progress,
            workload.blocks(block),
            options.seed,
            FOREIGN_GIVE_UP_S if foreign else None,
        )
        readable = [(names.log, 0), *((names.predictions, number) for number in range(options.partitions))]
        return FaultContext(
            connection=connection,
            broker=broker,
            folder=self.folder,
            topics=names,
            partitions=options.partitions,
            group=GROUP,
            log_group=progress.log_group,
            random=random.Random(options.seed),
            workers=[],
            make=lambda number: self._worker(connection, number, self.loaded.reference),
            make_changed=lambda number: self._worker(connection, number, changed_reference(self.loaded)),
            sender=sender,
            codec=codec,
            progress=progress,
            history=history,
            probe=Probe(connection, readable),
            echo=self.echo,
        )

    def _echo_lag(self, context: FaultContext) -> None:
        """Report where the run stopped."""
        with suppress(BrokerError):
            lag = ", ".join(
                f"{topic}[{number}]: {count}" for (topic, number), count in context.progress.lag().items()
            )
            unanswered = context.sender.unanswered
            self.echo(f"{unanswered} requests are unanswered; not consumed by the workers: {lag or 'none'}")

    def _worker(self, connection: Connection, number: int, reference: str) -> HarnessWorker:
        common = (reference, connection, self.folder, number)
        if self.options.command:
            return ForeignWorker(self.options.command, *common, **WORKER_SETTINGS)
        return HarnessWorker(*common, **WORKER_SETTINGS)

    def _check_empty(self, connection: Connection) -> None:
        specs = declared(self.loaded.task, self.options.partitions)
        places = [(spec.name, number) for spec in specs for number in range(spec.partitions)]
        used = sorted(
            {topic for (topic, _), end in end_offsets(connection, places, committed=False).items() if end}
        )
        if used:
            raise UsageError(
                f"the fault harness needs empty topics, and {', '.join(used)} hold records: "
                "use a task file with another task name"
            )

    def _rounds(self, context: FaultContext, faults: Sequence[Fault], block: int) -> None:
        rounds, requests, sender = self.options.rounds, self.options.requests, context.sender
        pending: list[Fault] = []
        for number in range(rounds):
            # The last share is for rounds that send more than theirs because their fault takes longer.
            begin, end = (requests * place // (rounds + 1) // block * block for place in (number, number + 1))
            sender.raise_limit(end)
            sender.wait(begin + int((end - begin) * BEFORE))
            if faults:
                if not pending:  # each occurs equally often, in random order
                    pending = list(faults)
                    context.random.shuffle(pending)
                self._inject(number, pending.pop(), context)
            else:
                self.rounds.append(Round("none", time.time_ns() // 1_000_000, begins_at=sender.sent))
            sender.wait(end)
            self._collect_failures(context)

    def _collect_failures(self, context: FaultContext, *, restart: bool = True) -> None:
        """Add broken promises to the current round, and restart workers that have ended."""
        for text in context.collect_failures():
            self.echo(text)
            self.rounds[-1].failures.append(text)
        for worker in context.workers if restart else ():
            if not worker.running:
                context.restart(worker)

    def _inject(self, number: int, fault: Fault, context: FaultContext) -> None:
        self.echo(f"round {number + 1} of {self.options.rounds}: {fault.name}")
        each = Round(fault.name, time.time_ns() // 1_000_000, begins_at=context.sender.sent)
        self.rounds.append(each)
        started = time.monotonic()
        context.outage = (0, -1)
        fault.inject(context)
        each.outage = context.outage
        each.seconds = time.monotonic() - started


def _kill_all(context: FaultContext) -> None:
    for worker in context.workers:
        worker.resume()  # a suspended one would not end otherwise
        worker.kill()


def closing_ids(partitions: int) -> list[str]:
    """Return a request id for each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < partitions:
        name = f"end-{number}"
        found.setdefault(partition_of(name.encode(), partitions), name)
        number += 1
    return [found[place] for place in range(partitions)]
