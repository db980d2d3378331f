"""One run of the ledger: workers, rounds with a fault in each, and then the proof."""

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
from agents.ledger.faults import FAULTS
from agents.ledger.field import Fault, Field
from agents.ledger.phases import mark_phases
from agents.ledger.proof import mark_times, prove, prove_other
from agents.ledger.report import Options, Round, report
from agents.ledger.task import SERVED_RAISES
from agents.ledger.worker import LedgerWorker, OtherWorker
from agents.settings import Settings
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from infra.kafka.partitioner import partition_of
from infra.ledger.probe import Probe
from infra.ledger.reading import Reader
from infra.ledger.sending import Sender
from infra.permissions import make_private
from infra.taskfile import LoadedTask
from schemas.errors import BrokerError, UsageError
from schemas.topics import TaskTopics, topics
from streams.join.rules import JoinRules
from streams.ledger.check import Check
from streams.ledger.workload import Workload

GROUP: Final = "riverloop-ledger"
BLOCK: Final = 100
"""Requests sent between two waits for acknowledgements, at most."""
BEFORE: Final = 0.2
"""Share of a round that is sent before its fault strikes."""
LOST_S: Final = 30.0
"""What another loop has not answered for so long is lost."""
WORKER_SETTINGS: Final[Mapping[str, Any]] = {
    "group": GROUP,
    # In silence time would go on, and what falls due would depend on how long a fault lasts.
    "idle_ms": 10**9,
    "snapshot_every": 20_000,
    "metrics_every_ms": 5_000,
}


@dataclass(slots=True)
class Ledger:
    """A run of the ledger.

    Parameters
    ----------
    loaded
        The task.
    options
        How much, and what goes wrong.
    connection
        A cluster; None: an embedded broker.
    say
        Tells a person what is going on.
    """

    loaded: LoadedTask
    options: Options
    connection: Connection | None
    say: Callable[[str], None]
    rounds: list[Round] = field(default_factory=list)
    folder: Path = field(init=False)

    def play(self) -> dict[str, Any]:
        """Run it; gives the report as plain data.

        Raises
        ------
        UsageError
            For faults that do not exist or cannot strike here, and topics that are not empty.
        BrokerError
            When the loop does not go on.
        """
        faults = self._faults()
        parent = Settings.load().data_folder / "ledger"
        make_private(parent)
        self.folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
        with ExitStack() as stack:
            broker = None
            connection = self.connection
            if connection is None:
                broker = stack.enter_context(EmbeddedBroker(report=self.say))
                connection = Connection(broker.bootstrap)
            found = self._run(stack, connection, broker, faults)
        if found["ok"]:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.say(f"logs and snapshots of the workers are in {self.folder}")
        return found

    def _faults(self) -> list[Fault]:
        unknown = [name for name in self.options.faults if name not in FAULTS]
        if unknown:
            raise UsageError(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
        chosen = [FAULTS[name] for name in self.options.faults]
        ours = [fault.name for fault in chosen if fault.needs_broker]
        if ours and self.connection is not None:
            raise UsageError(f"{', '.join(ours)} need a broker of the ledger's own: leave --bootstrap out")
        failing = [fault.name for fault in chosen if fault.needs_models]
        if failing and self.loaded.task.models[0].parameters.get("breaks_at") != SERVED_RAISES:
            raise UsageError(f"{', '.join(failing)} need the ledger's own task: leave --task out")
        return chosen

    # ------------------------------------------------------------------ the run

    def _run(
        self, stack: ExitStack, connection: Connection, broker: EmbeddedBroker | None, faults: list[Fault]
    ) -> dict[str, Any]:
        options, task = self.options, self.loaded.task
        create_topics(connection, topics(task.name, options.partitions))
        self._check_empty(connection)
        codec, names = codec_of(self.loaded), TaskTopics(task.name)
        workload = Workload(
            options.seed,
            options.requests,
            task.features,
            task.kind,
            JoinRules.of(task),
            tuple(closing_ids(options.partitions)),
        )
        block = max(1, min(BLOCK, options.requests // options.rounds // 10))
        reader = Reader(connection, self.loaded, codec, options.partitions, GROUP, whole=not options.command)
        sender = Sender(
            connection,
            codec,
            names,
            options.partitions,
            GROUP,
            workload.blocks(block),
            options.seed,
            LOST_S if options.command else None,
            reader.settle if not options.command else lambda: None,
        )
        stack.callback(sender.stop)
        readable = [(names.log, 0), *((names.predictions, number) for number in range(options.partitions))]
        probe = Probe(connection, readable)
        ground = Field(
            connection=connection,
            broker=broker,
            folder=self.folder,
            topics=names,
            partitions=options.partitions,
            group=GROUP,
            log_group=f"{GROUP}.{task.name}.log",
            random=random.Random(options.seed),  # noqa: S311  repeatable, not secret
            workers=[],
            make=lambda number: self._worker(connection, number),
            sender=sender,
            codec=codec,
            reader=reader,
            probe=probe,
            say=self.say,
        )
        stack.callback(_kill_all, ground)
        ground.workers += [ground.make(number) for number in range(options.workers)]
        for worker in ground.workers:
            worker.start()
        for worker in ground.workers:
            worker.wait_ready()
        self.say(f"{len(ground.workers)} workers are ready")
        probe.start()
        stack.callback(probe.stop)
        sender.start()
        started = time.monotonic()
        try:
            self._rounds(ground, sender, faults, block)
            sender.release(None)
            sender.join()
        except BrokerError:
            self._tell(reader, sender)
            raise
        self._look(ground)
        check = Check(workload, ground.refused, ground.of_faults)
        seconds = time.monotonic() - started
        self.say(f"{sender.records:,} records sent in {seconds:.1f} s")
        if options.command:
            history = prove_other(ground, reader, check)
        else:
            history = prove(self.loaded, ground, reader, check)
        self._look(ground, restart=False)
        for each in self.rounds:
            for text in each.failures:
                check.findings.wrong.add(f"{each.fault}: {text}")
        mark_times(self.rounds, history, sender.pauses)
        logs = {worker.number: worker.log_file for worker in ground.workers}
        mark_phases(self.rounds, logs, probe.seen, names.log, sender.pauses)
        return report(options, task.name, self.rounds, check, sender, seconds)

    def _tell(self, reader: Reader, sender: Sender) -> None:
        """Say where the run stands still, for who has to find out why."""
        with suppress(BrokerError):
            left = ", ".join(
                f"{topic}[{number}]: {count}" for (topic, number), count in reader.unread().items()
            )
            self.say(
                f"{sender.unanswered} requests are unanswered; not taken by the workers: {left or 'nothing'}"
            )

    def _worker(self, connection: Connection, number: int) -> LedgerWorker:
        told = (self.loaded.reference, connection, self.folder, number)
        if self.options.command:
            return OtherWorker(self.options.command, *told, **WORKER_SETTINGS)
        return LedgerWorker(*told, **WORKER_SETTINGS)

    def _check_empty(self, connection: Connection) -> None:
        specs = topics(self.loaded.task.name, self.options.partitions)
        places = [(spec.name, number) for spec in specs for number in range(spec.partitions)]
        used = sorted(
            {topic for (topic, _), end in end_offsets(connection, places, committed=False).items() if end}
        )
        if used:
            raise UsageError(
                f"the ledger needs topics of its own, and {', '.join(used)} hold records: "
                "give it a task file with another name"
            )

    def _rounds(self, ground: Field, sender: Sender, faults: Sequence[Fault], block: int) -> None:
        rounds, requests = self.options.rounds, self.options.requests
        waiting: list[Fault] = []
        for number in range(rounds):
            # The last share is what rounds that go on longer take before their time.
            begin, end = (requests * place // (rounds + 1) // block * block for place in (number, number + 1))
            sender.release(end)
            sender.wait(begin + int((end - begin) * BEFORE))
            if faults:
                if not waiting:  # each comes up equally often, in an order of chance
                    waiting = list(faults)
                    ground.random.shuffle(waiting)
                self._strike(number, waiting.pop(), ground)
            else:
                self.rounds.append(Round("none", time.time_ns() // 1_000_000, begins_at=sender.sent))
            sender.wait(end)
            self._look(ground)

    def _look(self, ground: Field, *, restart: bool = True) -> None:
        """Put what did not hold on the round at hand, and start the workers that have died."""
        for text in ground.look():
            self.say(text)
            self.rounds[-1].failures.append(text)
        for worker in ground.workers if restart else ():
            if not worker.running:
                ground.restart(worker)

    def _strike(self, number: int, fault: Fault, ground: Field) -> None:
        self.say(f"round {number + 1} of {self.options.rounds}: {fault.name}")
        struck = Round(fault.name, time.time_ns() // 1_000_000, begins_at=ground.sender.sent)
        self.rounds.append(struck)
        started = time.monotonic()
        ground.struck = (0, -1)
        fault.strike(ground)
        struck.struck = ground.struck
        struck.seconds = time.monotonic() - started


def _kill_all(ground: Field) -> None:
    for worker in ground.workers:
        worker.resume()  # one that is paused does not end otherwise
        worker.kill()


def closing_ids(partitions: int) -> list[str]:
    """Give a request id for each partition."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < partitions:
        name = f"end-{number}"
        found.setdefault(partition_of(name.encode(), partitions), name)
        number += 1
    return [found[place] for place in range(partitions)]
