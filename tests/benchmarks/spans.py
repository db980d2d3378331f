"""What `riverloop spans` costs: CPU of the reader for a pair of request and outcome, beside that of a worker.

    python -m tests.benchmarks.spans --pairs 50000

Writes predictions and entries to topics of the embedded broker, and reads them with shares of 0, 1 and 100%. A
worker does nothing for it.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import closing
from pathlib import Path

from confluent_kafka import Producer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.spans import SpanReader
from infra.taskfile import examples, load_task
from schemas.codec import Codec
from schemas.topics import PARTITIONER, TaskTopics, topics
from streams.tracing import otlp
from tests.benchmarks.restart import entries

RECORDED = Path(__file__).parents[2] / "docs" / "reference" / "benchmarks.json"
SHARES = (0.0, 0.01, 1.0)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=50_000)
    pairs = parser.parse_args().pairs
    (ours,) = (
        row for row in json.loads(RECORDED.read_text())["throughput"]["rows"] if row["contender"] == "ours"
    )
    worker_us = 2 * ours["cpu_us"]
    task = load_task(str(examples() / "hotel_bookings" / "task.py")).task
    codec, names = Codec("spans", task.kind, task.features), TaskTopics("spans")
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, topics("spans", 1))
        readers = [SpanReader(connection, codec, share, f"spans-{share}") for share in SHARES]
        producer = Producer(
            connection.config(partitioner=PARTITIONER, log_level=0, **{"queue.buffering.max.messages": 10**6})
        )
        for entry in entries(0, pairs):
            assert entry.prediction is not None
            producer.produce(names.predictions, codec.encode(entry.prediction), entry.prediction.request_id)
            producer.produce(names.log, codec.encode(entry))
            producer.poll(0)
        assert producer.flush(120) == 0
        assert sum(1 for _ in read_all(connection, names.log)) == pairs
        print(f"{'share':>6} {'spans':>8} {'µs/pair':>8} {'of a worker':>12}")
        for share, reader in zip(SHARES, readers, strict=True):
            spans, started = 0, time.process_time()
            with closing(reader):
                while sum(reader.position.values()) < 2 * pairs:
                    found = reader.read()
                    spans += len(found)
                    if found:
                        json.dumps(otlp(found, "riverloop"))
            cost = (time.process_time() - started) / pairs * 1e6
            print(f"{share:>6.0%} {spans:>8,} {cost:>8.1f} {cost / worker_us:>12.1%}")


if __name__ == "__main__":
    main()
