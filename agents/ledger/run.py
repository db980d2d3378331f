"""One run of the ledger: workers, rounds with a fault in each, and then the proof."""

from __future__ import annotations

import os
import platform
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from agents.cli.cluster import codec_of
from agents.ledger.faults import FAULTS
from agents.ledger.field import Fault, Field
from agents.ledger.worker import LedgerWorker
from agents.settings import Settings
from infra.kafka.admin import create_topics, end_offsets
from infra.kafka.broker import EmbeddedBroker
from infra.kafka.connection import Connection
from infra.kafka.partitioner import partition_of
from infra.ledger.reading import History, Reader
from infra.ledger.sending import Sender
from infra.runtime import runtime_fingerprint
from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from infra.verify import KafkaSource, verify
from schemas.errors import UsageError
from schemas.topics import TaskTopics, topics
from streams.ledger.check import Check
from streams.ledger.findings import Tally
from streams.ledger.workload import Workload
from streams.rules import JoinRules

GROUP: Final = "riverloop-ledger"
BLOCK: Final = 100
"""Requests sent between two waits for acknowledgements, at most."""
BEFORE: Final = 0.2
"""Share of a round that is sent before its fault strikes."""
WORKER_SETTINGS: Final = {
    "group": GROUP,
    # In silence time would go on, and what falls due would depend on how long a fault lasts.
    "idle_ms": 10**9,
    "snapshot_every": 5_000,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a run is told."""

    seed: int
    rounds: int
    requests: int
    workers: int
    partitions: int
    faults: tuple[str, ...]
    """Names; empty: none strikes."""


@dataclass(slots=True)
class Round:
    """One round, and what struck in it."""

    fault: str
    begins: int
    """When the fault struck (ms UTC, wall clock)."""
    seconds: float = 0.0
    """How long it took until it was healed."""
    stall_ms: int = 0
    """Longest time without an entry, while there was something to do."""


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
        parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=parent))
        with ExitStack() as stack:
            broker = None
            connection = self.connection
            if connection is None:
                broker = stack.enter_context(EmbeddedBroker(report=self.say))
                connection = Connection(broker.bootstrap)
            report = self._run(stack, connection, broker, faults)
        if report["ok"]:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.say(f"logs and snapshots of the workers are in {self.folder}")
        return report

    def _faults(self) -> list[Fault]:
        unknown = [name for name in self.options.faults if name not in FAULTS]
        if unknown:
            raise UsageError(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
        chosen = [FAULTS[name] for name in self.options.faults]
        ours = [fault.name for fault in chosen if fault.needs_broker]
        if ours and self.connection is not None:
            raise UsageError(f"{', '.join(ours)} need a broker of the ledger's own: leave --bootstrap out")
        return chosen

    # ------------------------------------------------------------------ the run

    def _run(
        self, stack: ExitStack, connection: Connection, broker: EmbeddedBroker | None, faults: list[Fault]
    ) -> dict[str, Any]:
        options, task = self.options, self.loaded.task
        create_topics(connection, topics(task.name, options.partitions))
        self._check_empty(connection)
        codec, names = codec_of(self.loaded, serving=True), TaskTopics(task.name)
        workload = Workload(
            options.seed,
            options.requests,
            task.features,
            task.kind,
            JoinRules.of(task),
            tuple(closing_ids(options.partitions)),
        )
        block = max(1, min(BLOCK, options.requests // options.rounds // 10))
        sender = Sender(
            connection,
            codec,
            names,
            options.partitions,
            GROUP,
            workload.blocks(block),
            options.seed,
        )
        stack.callback(sender.stop)
        ground = Field(
            connection=connection,
            broker=broker,
            folder=self.folder,
            topics=names,
            partitions=options.partitions,
            random=random.Random(options.seed),  # noqa: S311  repeatable, not secret
            workers=[],
            make=lambda number: LedgerWorker(
                self.loaded.reference, connection, self.folder, number, **WORKER_SETTINGS
            ),
            sender=sender,
            say=self.say,
        )
        stack.callback(_kill_all, ground)
        ground.workers += [ground.make(number) for number in range(options.workers)]
        for worker in ground.workers:
            worker.start()
        for worker in ground.workers:
            worker.wait_ready()
        self.say(f"{len(ground.workers)} workers are ready")
        sender.start()
        started = time.monotonic()
        self._rounds(ground, sender, faults, block)
        sender.release(None)
        sender.join()
        for worker in ground.workers:
            if not worker.running:
                ground.restart(worker)
        reader = Reader(connection, self.loaded, codec, options.partitions, GROUP)
        reader.settle()
        seconds = time.monotonic() - started
        self.say(f"{sender.records:,} records sent and taken in {seconds:.1f} s")
        check = Check(workload, ground.refused)
        digests = self._stop(ground, reader, check)
        history = reader.read(check)
        for name, told in digests.items():
            if told != history.digests:
                check.findings.wrong.add(f"{name} has the states {told}, a refold {history.digests}")
        check.finish(ground.acknowledged)
        self.say(f"history checked: {check.findings.as_data()}")
        self._verify(connection, check)
        self._stalls(history, sender.pauses)
        return self._report(check, history, sender, seconds)

    def _check_empty(self, connection: Connection) -> None:
        specs = topics(self.loaded.task.name, self.options.partitions)
        places = [(spec.name, number) for spec in specs for number in range(spec.partitions)]
        used = sorted({topic for (topic, _), end in end_offsets(connection, places).items() if end})
        if used:
            raise UsageError(
                f"the ledger needs topics of its own, and {', '.join(used)} hold records: "
                "give it a task file with another name"
            )

    def _rounds(self, ground: Field, sender: Sender, faults: Sequence[Fault], block: int) -> None:
        rounds, requests = self.options.rounds, self.options.requests
        waiting: list[Fault] = []
        for number in range(rounds):
            begin, end = (requests * place // rounds // block * block for place in (number, number + 1))
            end = requests if number + 1 == rounds else end
            sender.release(end)
            sender.wait(begin + int((end - begin) * BEFORE))
            if faults:
                if not waiting:  # each comes up equally often, in an order of chance
                    waiting = list(faults)
                    ground.random.shuffle(waiting)
                self._strike(number, waiting.pop(), ground)
            else:
                self.rounds.append(Round("none", time.time_ns() // 1_000_000))
            sender.wait(end)

    def _strike(self, number: int, fault: Fault, ground: Field) -> None:
        self.say(f"round {number + 1} of {self.options.rounds}: {fault.name}")
        struck = Round(fault.name, time.time_ns() // 1_000_000)
        started = time.monotonic()
        fault.strike(ground)
        struck.seconds = time.monotonic() - started
        self.rounds.append(struck)

    # ------------------------------------------------------------------ the proof

    def _stop(self, ground: Field, reader: Reader, check: Check) -> dict[str, dict[str, str]]:
        """Ask every worker for its states, and stop them all; gives the digests by worker and version."""
        end = ground.progress()
        told: dict[str, dict[str, str]] = {}
        for worker in ground.running():
            path = f"/tasks/{worker.task}/digests"
            until = time.monotonic() + 60
            # Markers at the end of the log belong to no entry.
            while (answer := worker.get(path))["next_offset"] < end - 2 and time.monotonic() < until:
                time.sleep(0.1)
            told[f"worker {worker.number}"] = {each["version"]: each["state"] for each in answer["models"]}
        for worker in ground.workers:
            worker.stop()
        for what in reader.left_open():
            check.findings.wrong.add(f"after all workers have stopped, {what}")
        return told

    def _verify(self, connection: Connection, check: Check) -> None:
        codec = codec_of(self.loaded, serving=True)
        store = SnapshotStore(str(self.folder / "snapshots"))
        with KafkaSource(connection) as source:
            found = verify(self.loaded, codec, source, runtime_fingerprint()[0], store)
        for each in found.failures:
            check.findings.wrong.add(f"verify: {each.where}: {each.what}: {each.expected} / {each.found}")
        check.findings.wrong.count += found.failed - len(found.failures)
        due = found.counts["predictions"]
        for model in self.loaded.task.models:
            if found.reproduced[model.name] != due:
                text = f"verify reproduced {found.reproduced[model.name]} of {due} scores of {model.name}"
                check.findings.wrong.add(text)
        self.say(f"verified in {found.seconds:.1f} s: {due:,} predictions reproduced, {found.failed} differ")

    def _stalls(self, history: History, pauses: list[tuple[int, int]]) -> None:
        for begins, ends in history.gaps:
            # While nothing was sent, there was nothing to do.
            idle = sum(max(0, min(ends, until) - max(begins, since)) for since, until in pauses)
            struck = [each for each in self.rounds if each.begins <= ends]
            if struck:
                struck[-1].stall_ms = max(struck[-1].stall_ms, ends - begins - idle)

    def _report(self, check: Check, history: History, sender: Sender, seconds: float) -> dict[str, Any]:
        options, findings = self.options, check.findings
        by_fault: dict[str, dict[str, float]] = {
            name: {tally: self._of(name, getattr(findings, tally)) for tally in ("lost", "doubled", "wrong")}
            for name in sorted({each.fault for each in self.rounds})
        }
        for name, row in by_fault.items():
            rounds = [each for each in self.rounds if each.fault == name]
            row |= {
                "rounds": len(rounds),
                "requests": options.requests * len(rounds) // options.rounds,
                "longest_stall_s": max(each.stall_ms for each in rounds) / 1000,
                "longest_s": round(max(each.seconds for each in rounds), 1),
            }
        return {
            "loop": "riverloop",
            "ok": findings.ok,
            "date": datetime.now(UTC).date().isoformat(),
            "task": self.loaded.task.name,
            "seed": options.seed,
            "rounds": options.rounds,
            "requests": options.requests,
            "workers": options.workers,
            "partitions": options.partitions,
            "records": sender.records,
            "misplaced": sender.moved,
            "seconds": round(seconds, 1),
            "entries": dict(sorted(check.entries.items())),
            "fates": dict(sorted(check.expected.fates.items())),
            "dead_letters": check.expected.letters.total(),
            "metrics_compared": history.metrics,
            **findings.as_data(),
            "faults": by_fault,
            "versions": {
                "riverloop": version("riverloop"),
                "python": platform.python_version(),
                "runtime": runtime_fingerprint()[1],
                "cores": os.cpu_count(),
            },
        }

    def _of(self, fault: str, tally: Tally) -> int:
        """How much of a tally is about requests of the rounds in which a fault struck."""
        rounds, requests = self.options.rounds, self.options.requests
        return sum(
            count
            for number, count in tally.by_number.items()
            if self.rounds[min(rounds - 1, number * rounds // requests)].fault == fault
        )


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
