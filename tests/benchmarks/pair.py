"""What a request and its outcome cost a worker: records, bytes, decodes, instances; its threads and clients.

    python -m tests.benchmarks.pair --pairs 5000

The worker runs as `riverloop worker` does, on the embedded broker, with the task of the comparison (eight numbers,
one model). Only its record classes count themselves, so times are not measured here.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.codec import Codec
from schemas.codec.record_reader import RecordReader
from schemas.topics import TaskTopics, topics
from tests.benchmarks.compare.load import Load
from tests.benchmarks.compare.task import bench_task, write_task

ROOT: Final = Path(__file__).resolve().parents[2]
ROOMS: Final = ("agents", "infra", "streams", "schemas")
COUNTS: Final = "RIVERLOOP_BENCHMARK_COUNTS"
"""In the worker's environment: the file that it writes its counts to when it ends."""
NAME: Final = "pair"
WAIT_S: Final = 120.0


# ---------------------------------------------------------------------- in the worker


def worker(arguments: list[str]) -> None:
    """Run a worker whose classes count their instances, and whose codecs count what they read."""
    from agents.cli.main import main as command
    from agents.cli.worker import worker as _  # noqa: F401

    made: Counter[str] = Counter()
    read: Counter[str] = Counter()
    for kind in _classes():
        _count(kind, made)
    decode = RecordReader.read

    def counted(reader: RecordReader, data: Any, wanted: Any) -> Any:
        found = decode(reader, data, wanted)
        read[type(found).__name__] += 1
        return found

    RecordReader.read = counted  # type: ignore[method-assign, assignment]
    written = {"made": made, "read": read}
    atexit.register(lambda: Path(os.environ[COUNTS]).write_text(json.dumps(written)))
    sys.argv[1:] = ["worker", *arguments]
    command()


def _classes() -> set[type[Any]]:
    return {
        each
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in ROOMS
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == name
    }


def _count(kind: type[Any], made: Counter[str]) -> None:
    """Count the instances of a class where it is made: a tuple by `__new__`, another by its own `__init__`."""
    name = "__new__" if issubclass(kind, tuple) else "__init__"
    maker: Callable[..., Any] | None = vars(kind).get(name)
    if maker is None or not hasattr(maker, "__code__"):
        return

    def counted(*given: Any, **named: Any) -> Any:
        made[kind.__name__] += 1
        return maker(*given, **named)

    setattr(kind, name, counted)


# ---------------------------------------------------------------------- from outside


def measure(pairs: int) -> dict[str, Any]:
    """Run the worker over so many pairs, and count."""
    folder = Path(tempfile.mkdtemp(prefix="riverloop-pair-"))
    names, load, task = TaskTopics(NAME), Load.make(pairs), bench_task(NAME)
    codec = Codec(task.name, task.kind, task.features)
    try:
        with EmbeddedBroker() as broker:
            connection = Connection(broker.bootstrap)
            create_topics(connection, topics(NAME, 1))
            load.put(connection, names)
            counts = folder / "counts.json"
            words = [sys.executable, "-m", "tests.benchmarks.pair", "--worker", write_task(folder, NAME)]
            reported = {
                "RIVERLOOP_BOOTSTRAP": broker.bootstrap,
                "RIVERLOOP_DATA": str(folder),
                COUNTS: str(counts),
            }
            with (folder / "worker.log").open("wb") as log:
                process = subprocess.Popen(
                    words, env=os.environ | reported, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.PIPE
                )
            try:
                if not _learned(connection, names, codec, pairs, process):
                    raise SystemExit(
                        f"the worker does not learn all pairs:\n{(folder / 'worker.log').read_text()}"
                    )
                threads = _threads(process.pid)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
            found: dict[str, Any] = json.loads(counts.read_text())
            written = _written(connection, names)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"pairs": pairs, "written": written, "threads": threads} | found


def _learned(
    connection: Connection, names: TaskTopics, codec: Codec, pairs: int, process: subprocess.Popen[bytes]
) -> bool:
    """Wait until every pair is in the log; False when the worker ends, or takes too long."""
    until, offset, labelled = time.monotonic() + WAIT_S, 0, 0
    while labelled < pairs:
        if process.poll() is not None or time.monotonic() > until:
            return False
        for message in read_all(connection, names.log, 0, offset):
            offset = (message.offset() or 0) + 1
            labelled += codec.decode_entry(message.value()).kind == "labelled"
        time.sleep(0.2)
    time.sleep(3)  # the owner publishes what it has folded
    return True


def _threads(pid: int) -> dict[str, int]:
    """Count the threads of a process, and its Kafka clients: each has one thread named `rdk:main`."""
    called = [(task / "comm").read_text().strip() for task in Path(f"/proc/{pid}/task").iterdir()]
    return {"threads": len(called), "clients": sum(name == "rdk:main" for name in called)}


def _written(connection: Connection, names: TaskTopics) -> dict[str, list[int]]:
    """Count records, and bytes of keys and values, by topic of the loop's own."""
    found = {}
    for spec in topics(NAME, 1):
        sizes = [
            len(each.key() or b"") + len(each.value() or b"") for each in read_all(connection, spec.name)
        ]
        found[spec.name.removeprefix(f"{NAME}.")] = [len(sizes), sum(sizes)]
    return found


def show(found: dict[str, Any], most: int = 12) -> None:
    """Print the table."""
    pairs, written = found["pairs"], found["written"]
    inputs = ("requests", "outcomes")
    rows = [
        ("records in", sum(written[name][0] for name in inputs)),
        ("records out", sum(count for name, (count, _) in written.items() if name not in inputs)),
        ("bytes in", sum(written[name][1] for name in inputs)),
        ("bytes out", sum(size for name, (_, size) in written.items() if name not in inputs)),
        ("records decoded", sum(found["read"].values())),
        ("instances of our classes", sum(found["made"].values())),
    ]
    print(f"a pair, of {pairs:,}")
    for name, count in rows:
        print(f"  {name:28}{count / pairs:10.2f}")
    for name, (count, size) in sorted(written.items(), key=lambda each: -each[1][1]):
        if count:
            print(f"  {name:28}{count / pairs:10.2f} records {size / pairs:10.1f} bytes")
    for title in ("read", "made"):
        print("decoded" if title == "read" else "instances")
        for name, count in Counter(found[title]).most_common(most):
            print(f"  {name:28}{count / pairs:10.2f}")
    print(f"threads {found['threads']['threads']}, Kafka clients {found['threads']['clients']}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5_000)
    parser.add_argument("--json", action="store_true", help="Print JSON for machines.")
    parser.add_argument("--worker", metavar="TASK", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        worker([given.worker])
        return
    found = measure(given.pairs)
    if given.json:
        print(json.dumps(found))
    else:
        show(found)


if __name__ == "__main__":
    main()
