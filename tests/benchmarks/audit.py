"""How long it takes to find what became of a request: `python -m tests.benchmarks.audit [ENTRIES]`.

Writes predictions, outcomes and entries of the hotel task to an embedded broker, makes the index, and asks for
random requests while further ones arrive.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from confluent_kafka import Producer

from infra.audit.requests import RequestAudit
from infra.embedded.broker import EmbeddedBroker
from infra.inbound import SERVED
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import examples, load_task
from schemas.codec import Codec
from schemas.records import Command, Control, Entry, Features, Outcome, Position, Prediction, Score
from schemas.topics import PARTITIONER, TaskTopics, topics

PARTITIONS = 4
ASKED = 200
T0 = 1_700_000_000_000


def main(count: int) -> None:
    """Print the times."""
    loaded = load_task(f"{examples() / 'hotel_bookings' / 'task.py'}:cancellation_within_30_days")
    task = loaded.task
    codec, names = Codec(task.name, task.kind, task.features), TaskTopics(task.name)
    features = [event.request.features for event in loaded.events(limit=500)]
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "broker") as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, topics(task.name, PARTITIONS))
        started = time.monotonic()
        write(connection, codec, names, features, 0, count)
        print(f"{count:,} predictions, outcomes and entries written in {time.monotonic() - started:.0f} s")
        with closing(RequestAudit(connection, loaded, Path(folder) / "data")) as audit:
            started = time.monotonic()
            audit.update()
            size = sum(each.stat().st_size for each in (Path(folder) / "data").rglob("*") if each.is_file())
            print(f"index made in {time.monotonic() - started:.1f} s, {size / 1e6:.0f} MB")
            rng, took = random.Random(1), list[float]()
            for number in range(ASKED):
                write(connection, codec, names, features, count + 20 * number, count + 20 * (number + 1))
                name = f"r-{rng.randrange(count + 20 * number)}"
                started = time.monotonic()
                audit.update()
                found = audit.find(name)
                took.append(1000 * (time.monotonic() - started))
                assert len(found["predictions"]) == len(found["outcomes"]) == len(found["entries"]) == 1, (
                    found
                )
        took.sort()
        print(
            f"{ASKED} requests, 60 new records before each: median {statistics.median(took):.0f} ms, "
            f"p90 {took[int(0.9 * ASKED)]:.0f} ms, p99 {took[int(0.99 * ASKED)]:.0f} ms"
        )


def write(
    connection: Connection, codec: Codec, names: TaskTopics, features: list[Features], first: int, end: int
) -> None:
    """Write requests from a number to another."""
    config = {"partitioner": PARTITIONER, "linger.ms": 5, "queue.buffering.max.messages": 500_000}
    producer = Producer(connection.config(**config))
    if first == 0:
        command = Command("revision", "lr", {"revision": "1"}, reason="first revision")
        audit = Control("audit", command, T0, f"{names.task}/lr/revision/1")
        producer.produce(names.control, codec.encode(audit), names.task.encode(), 0)
    for number in range(first, end):
        name, x = f"r-{number}", features[number % len(features)]
        score = Score("lr", 1, number, 0.25, False)
        prediction = Prediction(name, T0 + number, x, (score,), log_offset=number)
        outcome = Outcome(name, T0 + number + 1, number % 3 == 0)
        at = Position(names.outcomes, 0, number)
        entry = Entry(f"{at}#0", "labelled", outcome.ts, at, T0, at, at, prediction, outcome)
        key = name.encode()
        producer.produce(names.predictions, codec.encode(prediction), key, headers=[(SERVED, b"bench")])
        producer.produce(names.outcomes, codec.encode(outcome), key)
        producer.produce(names.log, codec.encode(entry), None, 0)
        if number % 500 == 0:
            while len(producer) > 300_000:
                producer.poll(0.1)
            producer.poll(0)
    producer.flush(60)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
