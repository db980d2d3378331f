"""How long a worker takes to come back, and how much memory it needs, on a training log of a given length.

    python -m tests.benchmarks.restart --entries 1000000

Writes that many labelled entries to a training log on the embedded broker, lets a worker fold all of them, stops
it and starts it again; then kills it (SIGKILL) some thousand entries after its last snapshot.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from confluent_kafka import Producer

from agents.cli.processes import WorkerProcess
from infra.datafiles.rows import rows
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.offsets import end_offsets
from infra.taskfile import examples, load_task
from schemas.codec import Codec
from schemas.records import Entry, Position, Prediction
from schemas.topics import TaskTopics, topics
from streams.backfill import PREFIX

TASK = """
from datetime import timedelta
import importlib.util
spec = importlib.util.spec_from_file_location("hotel", {hotel!r})
hotel = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hotel)
from streams import Model, Task
task = Task(name="restart", question="How long?", features=hotel.cancellation.features,
            horizon=timedelta(days=800),
            models=(Model("lr", hotel.logistic_regression, {{"learning_rate": 0.01}}),))
"""


def entries(first: int, count: int) -> Iterator[Entry]:
    """Real bookings with their outcomes, over and over, each time under new ids."""
    loaded = load_task(str(examples() / "hotel_bookings" / "task.py"))
    assert loaded.task.data
    events = list(loaded.task.data.events(rows(loaded.data_path()), loaded.task.features))
    for number, event in enumerate(itertools.islice(itertools.cycle(events), count), first):
        request_id = f"{number}"
        at = Position("restart.outcomes", 0, number)
        prediction = Prediction(request_id, event.request.ts, event.request.features, ())
        outcome = replace(event.outcomes[0], request_id=request_id)
        yield Entry(f"{at}#0", "labelled", outcome.ts, at, prediction=prediction, outcome=outcome)


def backfilled(count: int) -> Iterator[Entry]:
    """Real bookings as backfilled entries, which nobody predicted; a verification accepts them."""
    for number, entry in enumerate(entries(0, count)):
        yield replace(
            entry,
            entry_id=f"{PREFIX}{0:016x}/{number}#0",
            kind="backfill",
            trigger=None,
            prediction_at=None,
            outcome_at=None,
        )


def write(producer: Producer, codec: Codec, names: TaskTopics, given: Iterable[Entry]) -> None:
    """Write entries to the training log, as joins do but in bulk."""
    for entry in given:
        while True:
            try:
                producer.produce(names.log, codec.encode(entry))
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    producer.flush()


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def ready(worker: WorkerProcess) -> float:
    """Start a worker; gives the seconds until it serves."""
    started = time.monotonic()
    worker.start()
    worker.wait_ready(3600)
    return time.monotonic() - started


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=1_000_000)
    count = parser.parse_args().entries
    folder = Path(tempfile.mkdtemp(prefix="riverloop-restart-"))
    file = folder / "task.py"
    file.write_text(TASK.format(hotel=str(examples() / "hotel_bookings" / "task.py")))
    names = TaskTopics("restart")
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, topics("restart", 1))
        task = load_task(str(file)).task
        codec = Codec(task.name, task.kind, task.features)
        producer = Producer(connection.config(**{"linger.ms": 20, "queue.buffering.max.messages": 500_000}))
        started = time.monotonic()
        write(producer, codec, names, entries(0, count))
        print(f"{count:,} entries written in {time.monotonic() - started:.0f} s", flush=True)
        worker = WorkerProcess(str(file), connection, folder, 0)
        end = end_offsets(connection, [(names.log, 0)])[names.log, 0]
        print(f"log of {end:,} offsets, one model (scaler | one-hot | logistic regression, 19 features)\n")
        print(f"{'start':<36}{'ready after s':>14}{'memory MB':>12}", flush=True)

        def start(what: str) -> None:
            seconds = ready(worker)
            print(f"{what:<36}{seconds:>14.1f}{resident_mb(worker.pid):>12.0f}", flush=True)

        start("no snapshot: folds the whole log")
        worker.stop(60)
        start("from the last snapshot")
        tail = min(5_000, count)
        goal = worker.status()["next_offset"] + tail - 2
        write(producer, codec, names, entries(count, tail))
        while worker.status()["next_offset"] < goal:
            time.sleep(0.2)
        worker.kill()
        start(f"killed {tail:,} entries after it")
        worker.kill()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
