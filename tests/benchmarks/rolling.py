"""How long requests wait while three workers are replaced by ones with a changed parameter, and back.

    python -m tests.benchmarks.rolling --entries 200000

Writes that many labelled entries to a training log on the embedded broker, then sends requests over the topic and
calls over HTTP all the while, and prints the longest wait for an answer in each phase: undisturbed, a plain rolling
restart, the rolling update, and the way back. At the end `riverloop verify` proves both revisions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, Producer, TopicPartition

from agents.cli.processes import WorkerProcess
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import examples, load_task
from schemas.codec import Codec
from schemas.records import Request
from schemas.topics import PARTITIONER, TaskTopics, topics
from tests.benchmarks.restart import TASK, backfilled, entries, write

PARTITIONS: Final = 3
PAUSE_S: Final = 0.005
"""Between two times at which requests are sent."""
SETTLE_S: Final = 5.0


class Traffic:
    """Requests over topic and HTTP, and when each was answered.

    Parameters
    ----------
    rate, calls
        Requests a second on the topic, and calls a second.
    """

    def __init__(
        self,
        connection: Connection,
        codec: Codec,
        workers: list[WorkerProcess],
        rate: float = 200,
        calls: float = 50,
    ) -> None:
        self._rate, self._calls = rate, calls
        self.names, self._codec, self._workers = TaskTopics(codec.task), codec, workers
        reading = {"group.id": "waits", "isolation.level": "read_committed", "enable.auto.commit": False}
        self._consumer = Consumer(connection.config(**reading))
        places = [TopicPartition(self.names.predictions, number, 0) for number in range(PARTITIONS)]
        self._consumer.assign(places)
        self._producer = Producer(connection.config(**{"partitioner": PARTITIONER, "linger.ms": 1}))
        self._requests = [each.prediction for each in entries(0, 1000) if each.prediction is not None]
        self.sent: dict[str, float] = {}
        self.waits: dict[str, list[tuple[float, float]]] = {"topic": [], "http": []}
        """By way: when a request was sent (s, monotonic), and how long its answer took."""
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._send, self._receive, self._call)
        ]

    @contextmanager
    def flowing(self) -> Iterator[None]:
        """Send and call within a block, and wait until everything is answered."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ending.set()
            for thread in self._threads:
                thread.join(120)
            self._consumer.close()

    def _request(self, request_id: str) -> Request:
        seen = self._requests[int(request_id[2:]) % len(self._requests)]
        return Request(request_id, seen.ts, seen.features)

    def _send(self) -> None:
        number, began = 0, time.monotonic()
        while not self._ending.wait(PAUSE_S):
            while number < (time.monotonic() - began) * self._rate:
                request_id, number = f"t-{number}", number + 1
                self.sent[request_id] = time.monotonic()
                value = self._codec.encode(self._request(request_id))
                self._producer.produce(self.names.requests, value, request_id)
            self._producer.poll(0)
        self._producer.flush()

    def _receive(self) -> None:
        while not self._ending.is_set() or self.sent:
            for message in self._consumer.consume(500, 0.002):
                at = self.sent.pop((message.key() or b"").decode(), None)
                if at is not None:
                    self.waits["topic"].append((at, time.monotonic() - at))

    def _call(self) -> None:
        number = 0
        while not self._ending.wait(1 / self._calls):
            request_id, number = f"h-{number}", number + 1
            request, at = self._request(request_id), time.monotonic()
            body = {"request_id": request_id, "ts": request.ts, "features": dict(request.features)}
            while not any(self._answered(each, body) for each in self._workers) and not self._ending.is_set():
                time.sleep(0.005)
            self.waits["http"].append((at, time.monotonic() - at))

    def _answered(self, worker: WorkerProcess, body: dict[str, object]) -> bool:
        call = urllib.request.Request(
            f"{worker.url}/tasks/{self.names.task}/predictions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(call, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def prove(files: dict[str, Path], bootstrap: str, folder: Path) -> None:
    """Verify the history with each task file."""
    for name, file in files.items():
        command = [sys.executable, "-m", "agents.cli.main", "verify", str(file), "--json"]
        options = ["--bootstrap", bootstrap, "--snapshots", str(folder / "snapshots")]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        found = json.loads(done.stdout)
        print(
            f"verify with the {name} file: {'ok' if found['ok'] else found['failures'][:3]}, reproduced "
            f"{found['scores_reproduced']}, of other revisions {found['scores_of_other_revisions']}"
        )


def asked_entries() -> int:
    """Return how many entries were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=200_000)
    count: int = parser.parse_args().entries
    return count


def main() -> None:
    """Run the benchmark and print its table."""
    count = asked_entries()
    folder = Path(tempfile.mkdtemp(prefix="riverloop-rolling-"))
    files = {}
    for name, rate in (("old", "0.01"), ("new", "0.005")):
        text = TASK.format(hotel=str(examples() / "hotel_bookings" / "task.py"))
        (folder / name).mkdir()
        files[name] = folder / name / "task.py"
        files[name].write_text(text.replace('"learning_rate": 0.01', f'"learning_rate": {rate}'))
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, topics("restart", PARTITIONS))
        task = load_task(str(files["old"])).task
        codec, names = Codec(task.name, task.kind, task.features), TaskTopics(task.name)
        producer = Producer(connection.config(**{"linger.ms": 20, "queue.buffering.max.messages": 500_000}))
        write(producer, codec, names, backfilled(count))
        workers: list[WorkerProcess] = []

        def started(name: str) -> WorkerProcess:
            worker = WorkerProcess(str(files[name]), connection, folder, len(workers))
            workers.append(worker)
            at = time.monotonic()
            worker.start()
            worker.wait_ready(3600)
            print(
                f"  worker {len(workers) - 1} ({name} file) ready after {time.monotonic() - at:.1f} s",
                flush=True,
            )
            return worker

        def replaced(before: list[WorkerProcess], name: str) -> list[WorkerProcess]:
            after = []
            for worker in before:
                after.append(started(name))
                worker.stop()
                time.sleep(SETTLE_S)
            return after

        present = [started("old") for _ in range(PARTITIONS)]
        traffic, phases = Traffic(connection, codec, workers), list[tuple[str, float, float]]()

        def phase(what: str, act: Callable[[], None]) -> None:
            begins = time.monotonic()
            act()
            phases.append((what, begins, time.monotonic()))

        def roll(name: str) -> Callable[[], None]:
            def act() -> None:
                present[:] = replaced(present, name)

            return act

        with traffic.flowing():
            phase("undisturbed", lambda: time.sleep(20))
            phase("rolling restart, same file", roll("old"))
            phase("rolling update", roll("new"))
            phase("and back", roll("old"))
            time.sleep(SETTLE_S)
        print(f"\nlog of {count:,} entries; longest wait for an answer (s)\n{'':<30}{'topic':>8}{'HTTP':>8}")
        for what, begins, ends in phases:
            longest = [
                max((took for at, took in traffic.waits[way] if begins <= at < ends), default=0.0)
                for way in ("topic", "http")
            ]
            print(f"{what:<30}{longest[0]:>8.2f}{longest[1]:>8.2f}")
        for worker in present:
            worker.stop()
        prove(files, broker.bootstrap, folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
