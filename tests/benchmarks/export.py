"""How long an export takes, and a question to its files: `python -m tests.benchmarks.export [PREDICTIONS] [DAYS]`.

Writes predictions of the hotel task to an embedded broker, exports them as the command does, and asks DuckDB what
served a request on a day. With a third word, `files`, the files are made without a broker, in the same layout.
"""

from __future__ import annotations

import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Producer

from agents.cli.export import ROWS_PER_PART
from infra.embedded.broker import EmbeddedBroker
from infra.frames.arrow import TableBuilder, day_of, libraries
from infra.frames.export import Export
from infra.frames.folder import Folder, OffsetFiles
from infra.frames.source import TaskRows
from infra.inbound import SERVED
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import examples, load_task
from schemas.codec import Codec
from schemas.records import Prediction, Score
from schemas.topics import PARTITIONER, TaskTopics, topics
from streams.rows import Rows
from tests.tables import ask

PARTITIONS = 4
ASKED = 30
T0 = 1_700_000_000_000
DAY = 86_400_000


def main(count: int, days: int) -> None:
    """Print the times."""
    loaded = load_task(f"{examples() / 'hotel_bookings' / 'task.py'}:cancellation_within_30_days")
    task = loaded.task
    codec, names = Codec(task.name, task.kind, task.features), TaskTopics(task.name)
    features = [event.request.features for event in loaded.events(limit=500)]
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "broker") as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, topics(task.name, PARTITIONS))
        config = {"partitioner": PARTITIONER, "linger.ms": 5, "queue.buffering.max.messages": 500_000}
        producer = Producer(connection.config(**config))
        step = days * DAY // count
        for number in range(count):
            scores = (Score("lr", 1, number, 0.25, False), Score("ht", 1, number, 0.5, True))
            served = Prediction(f"r-{number}", T0 + step * number, features[number % len(features)], scores)
            while True:
                try:
                    key, value = served.request_id.encode(), codec.encode(served)
                    producer.produce(names.predictions, value, key, headers={SERVED: b"0"})
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(120) == 0
        path = Path(folder) / "export" / f"{task.name}.predictions"
        started, before = time.monotonic(), _memory_mb()
        done = Export(TaskRows(loaded, connection, "predictions"), Folder(path), ROWS_PER_PART).run()
        seconds = time.monotonic() - started
        size = sum(each.stat().st_size for each in path.rglob("*.parquet"))
        print(
            f"{done.rows:,} rows in {done.files:,} files, {size / 1e6:.0f} MB, exported in {seconds:.0f} s "
            f"({done.rows / seconds:,.0f} rows/s); memory {before:.0f} MB before, {_memory_mb():.0f} MB at most"
        )
        question(path, count, step)


def files(count: int, days: int) -> None:
    """Make the files without a broker, and print how long the question takes."""
    loaded = load_task(f"{examples() / 'hotel_bookings' / 'task.py'}:cancellation_within_30_days")
    task = loaded.task
    rows = Rows("predictions", task.kind, task.features, [each.name for each in task.models])
    made, step, at_once = TableBuilder(rows), days * DAY // count, 5_000
    for event in loaded.events(limit=at_once):
        scores = (Score("lr", 1, 0, 0.25, False), Score("ht", 1, 0, 0.5, True))
        row = rows.row(Prediction("r", T0, event.request.features, scores))
        made.add(row | {"partition": 0, "offset": 0, "written": T0})
    template, arrow = made.table(), libraries()[0]
    with tempfile.TemporaryDirectory() as temporary, Folder(Path(temporary) / "predictions") as folder:
        done = 0
        for partition in range(PARTITIONS):
            numbers = list(range(partition, count, PARTITIONS))
            for first in range(0, len(numbers), ROWS_PER_PART):
                days_of = dict[str, list[int]]()
                for number in numbers[first : first + ROWS_PER_PART]:
                    days_of.setdefault(day_of(T0 + step * number), []).append(number)
                tables = {}
                for day, mine in days_of.items():
                    table = template.take(arrow.array([number % len(template) for number in mine]))
                    for name, values in (
                        ("request_id", [f"r-{number}" for number in mine]),
                        ("version", [f"lr.1@{number}" for number in mine]),
                        ("ts", [T0 + step * number for number in mine]),
                    ):
                        place = table.schema.get_field_index(name)
                        column = arrow.array(values, table.schema.field(name).type)
                        table = table.set_column(place, table.schema.field(name), column)
                    tables[day] = table
                end = first + sum(map(len, days_of.values()))
                range_ = OffsetFiles(("made.predictions", partition), first, end, len(tables))
                done += folder.write(tables, range_, {})
        size = sum(each.stat().st_size for each in folder.files())
        print(f"{count:,} rows in {done:,} files, {size / 1e6:.0f} MB")
        question(folder.path, count, step)


def question(path: Path, count: int, step: int) -> None:
    """Ask what served a request on a day; what was written is in the page cache, as when somebody asks twice."""
    rng = random.Random(1)
    for union in ("", ", union_by_name = true"):
        took = []
        for _ in range(ASKED):
            number = rng.randrange(count)
            started = time.monotonic()
            found = ask(
                f"SELECT version, score FROM read_parquet('{path}/*/*.parquet'{union}) "
                f"WHERE day = '{day_of(T0 + step * number)}' AND request_id = 'r-{number}'"
            )
            took.append(1000 * (time.monotonic() - started))
            assert found == [(f"lr.1@{number}", 0.25)], found
        print(
            f"what served X on day D{union}: median {statistics.median(took):.0f} ms, "
            f"most {max(took):.0f} ms of {ASKED}"
        )


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    words = [each for each in sys.argv[1:] if each != "files"]
    given = [int(each) for each in words]
    run = files if "files" in sys.argv else main
    run(given[0] if given else 1_000_000, given[1] if len(given) > 1 else 365)
