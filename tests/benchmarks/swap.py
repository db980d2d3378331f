"""How long requests wait while commands change which model answers.

    python -m tests.benchmarks.swap --rate 2000
    python -m tests.benchmarks.swap --rate 2000 --kill

Two workers answer requests over topic and HTTP. Meanwhile models are promoted, shared, frozen, resumed and rebuilt
with `riverloop models`. Prints the waits undisturbed, and from each command until a second after it is active
everywhere. With `--kill` the owner of the log is killed while each command is decided, and started again. At the
end `riverloop verify` proves that each prediction's version is the one that the log names for its offset.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from agents.cli.processes import WorkerProcess
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import examples, load_task
from schemas.codec import Codec
from schemas.topics import TaskTopics, topics
from tests.benchmarks.rebuild import MODELS
from tests.benchmarks.restart import TASK, backfilled, write
from tests.benchmarks.rolling import PARTITIONS, Traffic, prove

WARM_S: Final = 15.0
WARM_AT_MOST_S: Final = 120.0
STEADY_S: Final = 0.3
"""Median wait over the topic from which on what has waited since the start is taken to be answered."""
BEFORE_S: Final = 15.0
AFTER_S: Final = 1.0
PAUSE_S: Final = 4.0
KILL_S: Final = 0.1
"""After a command is asked for: about when it is decided."""
PREPARED: Final = """
import sys
import agents.cli.model_commands
from agents.cli.main import main
from infra.taskfile import load_task
load_task(sys.argv[3])
sys.stdin.readline()
main()
"""
"""A command line that has started: it would run on another machine, and take none of the workers' time."""
COMMANDS: Final = (
    ("promote", "ht"),
    ("promote", "lr"),
    ("share", "lr=0.5", "ht=0.5"),
    ("promote", "lr"),
    ("freeze", "lr"),
    ("resume", "lr", "--catch-up"),
    ("rollback", "lr", "--mode", "rebuild", "--leave-out", "1000..2000"),
    ("rollback", "ht", "--mode", "catch-up"),
)


def p99(waits: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(waits)[int(0.99 * (len(waits) - 1))] if waits else float("nan")


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rate", type=int, default=2000, help="Requests a second, a twentieth of them calls."
    )
    parser.add_argument("--entries", type=int, default=5_000, help="Labelled entries in the log beforehand.")
    parser.add_argument("--kill", action="store_true", help="Kill the log's owner during each command.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="riverloop-swap-"))
    file = folder / "task.py"
    text = TASK.format(hotel=str(examples() / "hotel_bookings" / "task.py"))
    file.write_text(text[: text.index("models=")] + MODELS)
    task = load_task(str(file)).task
    codec, names = Codec(task.name, task.kind, task.features), TaskTopics(task.name)
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, topics(task.name, PARTITIONS))
        write(Producer(connection.config(**{"linger.ms": 20})), codec, names, backfilled(options.entries))
        workers = [WorkerProcess(str(file), connection, folder, number) for number in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.wait_ready(300)
        calls = options.rate / 20
        traffic, phases = Traffic(connection, codec, workers, options.rate - calls, calls), []
        with traffic.flowing():
            _warm(traffic)
            began = time.monotonic()
            time.sleep(BEFORE_S)
            phases.append(("undisturbed", began, time.monotonic()))
            for asked in COMMANDS:
                phases.append(_phase(asked, file, broker.bootstrap, workers if options.kill else ()))
        _show(phases, traffic)
        for worker in workers:
            worker.stop()
        prove({"task": file}, broker.bootstrap, folder)
    shutil.rmtree(folder, ignore_errors=True)


def _warm(traffic: Traffic) -> None:
    """Wait until what has waited since the start is answered."""
    began = time.monotonic()
    time.sleep(WARM_S)
    while time.monotonic() < began + WARM_AT_MOST_S:
        newest = [took for _, took in traffic.waits["topic"][-2000:]]
        if newest and sorted(newest)[len(newest) // 2] < STEADY_S:
            return
        time.sleep(1)


def _phase(asked: Sequence[str], file: Path, bootstrap: str, killed: Sequence[WorkerProcess]) -> Any:
    name, *arguments = asked
    words = ["models", name, str(file), *arguments, "--json", "--wait", "--bootstrap", bootstrap]
    words += ["--reason", "a benchmark", "--timeout", "120"]
    pipe = subprocess.PIPE
    asking = subprocess.Popen([sys.executable, "-c", PREPARED, *words], stdin=pipe, stdout=pipe, text=True)
    time.sleep(PAUSE_S)
    began = time.monotonic()
    timer = threading.Timer(KILL_S, _kill_owner, [killed]) if killed else None
    if timer is not None:
        timer.start()
    told, _ = asking.communicate("\n")
    found = json.loads(told) if told else {"state": "see above"}
    if timer is not None:
        timer.join()
    assert found["state"] == "done", found
    time.sleep(AFTER_S)
    return " ".join(asked), began, time.monotonic()


def _kill_owner(workers: Sequence[WorkerProcess]) -> None:
    for worker in workers:
        if worker.status()["owner"]:
            worker.kill()
            worker.start()
            worker.wait_ready(120)
            return


def _show(phases: Sequence[tuple[str, float, float]], traffic: Traffic) -> None:
    header = f"{'waits in ms':<58}{'seconds':>8}{'topic p99':>11}{'longest':>9}{'of before':>11}"
    print(f"{header}{'HTTP p99':>10}{'longest':>9}{'of before':>11}")
    first: dict[str, float] = {}
    for what, begins, ends in phases:
        line = f"{what:<58}{ends - begins:>8.1f}"
        for way, width in (("topic", 11), ("http", 10)):
            waits = [took for at, took in traffic.waits[way] if begins <= at < ends]
            found = p99(waits)
            first.setdefault(way, found)
            line += (
                f"{found * 1000:>{width}.0f}{max(waits, default=0) * 1000:>9.0f}{found / first[way]:>11.2f}"
            )
        print(line)


if __name__ == "__main__":
    main()
