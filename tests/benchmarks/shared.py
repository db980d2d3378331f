"""What it costs that any worker can give a prediction back: `python -m tests.benchmarks.shared [RATE] [SECONDS]`.

A worker that shares its predictions through a Valkey server, and one that does not, of tasks of their own on one
embedded broker. They are called over HTTP in turn, at a rate, so that what else runs on the machine falls on both
alike. A wait counts from the moment at which a call was due.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from agents.cli.processes import WorkerProcess
from agents.declared import environment_name
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import load_task
from schemas.codec import Codec
from schemas.records import Request
from schemas.topics import topics
from tests.benchmarks.compare.http_load import HttpLoad
from tests.benchmarks.compare.task import FEATURES, write_task
from tests.valkey import Valkey

ROUNDS: Final = 5
WARM_S: Final = 3


class Worker(WorkerProcess):
    """A worker with settings."""

    def __init__(
        self, reference: str, connection: Connection, folder: Path, number: int, **more: Any
    ) -> None:
        super().__init__(reference, connection, folder, number)
        # A moment's stall must not close connections: each call that is due has its own.
        settings = {"group": self.task, "http_connections": 4096, **more}
        self._environment |= {environment_name(key): str(value) for key, value in settings.items()}

    def cpu_s(self) -> float:
        """Processor time so far."""
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def metric(self, name: str) -> float:
        """Value of a metric."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def bodies(codec: Codec, mark: str, count: int) -> Iterator[bytes]:
    """Give requests of an id each."""
    for number in range(count):
        features = {name: float((number * 7 + at) % 11) for at, name in enumerate(FEATURES)}
        yield codec.encode(Request(f"{mark}-{number}", time.time_ns() // 1_000_000, features))


def measure(folder: Path, url: str, rate: int, seconds: int) -> None:
    """Print a table."""
    with EmbeddedBroker(folder / "kafka") as broker:
        connection = Connection(broker.bootstrap)
        workers: dict[str, Worker] = {}
        codecs: dict[str, Codec] = {}
        for number, (name, store) in enumerate({"own": "", "shared": url}.items()):
            (folder / name).mkdir()
            reference = write_task(folder / name, name)
            task = load_task(reference).task
            create_topics(connection, topics(name, 1))
            codecs[name] = Codec(name, task.kind, task.features)
            workers[name] = Worker(reference, connection, folder / name, number, feature_store=store)
        waits: dict[str, list[float]] = {name: [] for name in workers}
        by_round: dict[str, list[float]] = {name: [] for name in workers}
        cpu = dict.fromkeys(workers, 0.0)
        try:
            for worker in workers.values():
                worker.start()
                worker.wait_ready()
            for number in range(-1, ROUNDS):
                for name in sorted(workers, reverse=bool(number % 2)):
                    worker, codec = workers[name], codecs[name]
                    count = rate * (WARM_S if number < 0 else seconds)
                    calls = list(bodies(codec, f"{name}-{number}", count))
                    load = HttpLoad(f"{worker.url}/tasks/{name}/predictions", "application/avro")
                    began = worker.cpu_s()

                    async def run(load: HttpLoad = load, calls: list[bytes] = calls) -> None:
                        await load.run(calls, rate)
                        load.close()

                    asyncio.run(run())
                    assert len(load.waits_ms) == count, f"{name}: {len(load.waits_ms)} of {count} answered"
                    if number >= 0:
                        waits[name] += load.waits_ms
                        by_round[name].append(statistics.quantiles(load.waits_ms, n=100)[98])
                        cpu[name] += worker.cpu_s() - began
            failed = [workers["shared"].metric(f"riverloop_shared_{what}_total") for what in ("late", "lost")]
        finally:
            for worker in workers.values():
                worker.stop()
    calls_each = rate * seconds * ROUNDS
    print(f"{calls_each:,} calls each at {rate:,}/s; {failed[0]:.0f} late, {failed[1]:.0f} lost")
    print(f"{'':8} {'p50':>7} {'p90':>7} {'p99':>7} {'p99 by round, median':>21} {'CPU µs/call':>12}")
    for name, each in waits.items():
        cut = statistics.quantiles(each, n=100)
        middle = statistics.median(by_round[name])
        cost = cpu[name] / calls_each * 1e6
        print(f"{name:8} {cut[49]:7.2f} {cut[89]:7.2f} {cut[98]:7.2f} {middle:21.2f} {cost:12.0f}")


def main(rate: int, seconds: int) -> None:
    """Measure on servers of its own."""
    with tempfile.TemporaryDirectory() as folder, Valkey(Path(folder) / "valkey") as server:
        measure(Path(folder), server.url, rate, seconds)


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    main(*arguments, *(1000, 8)[len(arguments) :])
