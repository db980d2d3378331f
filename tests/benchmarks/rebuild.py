"""How long a rebuild without a poisoned interval takes, and what it is worth.

    python -m tests.benchmarks.rebuild --entries 40000

Writes that many labelled bookings to a training log on the embedded broker. In the middle half, 5 % of the labels
are flipped, all of them of one market segment. A worker folds them; then `riverloop models rollback --mode rebuild`
leaves that segment's entries of the interval out. Prints how long each model's rebuild took until it answered,
whether its state is that of a fresh fold without those entries, and the log loss on what follows, beside a model
that was never poisoned.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from agents.cli.processes import WorkerProcess
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.taskfile import LoadedTask, examples, load_task
from schemas.codec import Codec
from schemas.records import Entry
from schemas.topics import TaskTopics, topics
from streams.leave_out import NOTHING, LeaveOut
from streams.model import ModelFold
from streams.task_model import Model
from tests.benchmarks.restart import TASK, entries

FEATURE, LEVEL = "MarketSegment", "Corporate"
FLIPPED: Final = 0.05
MODELS: Final = """models=(Model("lr", hotel.logistic_regression, {"learning_rate": 0.01}),
                    Model("ht", hotel.hoeffding_tree, {"max_depth": 100})))
"""


def poisoned(honest: Sequence[Entry], first: int, last: int) -> list[Entry]:
    """Flip labels of one market segment: 5 % of all entries of the interval."""
    found, rng = list(honest), random.Random(5)
    places = [
        offset
        for offset in range(first, last + 1)
        if (prediction := honest[offset].prediction) is not None and prediction.features.get(FEATURE) == LEVEL
    ]
    for offset in rng.sample(places, min(len(places), round(FLIPPED * (last - first + 1)))):
        outcome = found[offset].outcome
        assert outcome is not None
        found[offset] = replace(found[offset], outcome=replace(outcome, value=not outcome.value))
    return found


def folded(
    loaded: LoadedTask, model: Model, log: Sequence[Entry], since: int, leave_out: LeaveOut = NOTHING
) -> tuple[str, float]:
    """Fold a log; gives the digest, and the log loss of the scores from an offset on."""
    fold, losses = ModelFold(loaded.task, model, leave_out=leave_out), []
    for offset, entry in enumerate(log):
        if offset >= since and entry.prediction is not None and entry.outcome is not None:
            score = fold.predict(entry.prediction.features).score
            assert isinstance(score, float)
            losses.append(-math.log(max(score if entry.outcome.value else 1 - score, 1e-15)))
        fold.apply(offset, entry)
    return fold.learned_digest, sum(losses) / len(losses)


def command(*arguments: str) -> Any:
    """Run a command of riverloop; gives what it prints as JSON."""
    call = [sys.executable, "-m", "agents.cli.main", *arguments, "--json"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def digest_of(worker: WorkerProcess, model: str) -> str:
    """Return the digest of a model's state in a worker."""
    with urllib.request.urlopen(f"{worker.url}/tasks/restart/digests", timeout=10) as answer:
        return str(next(each["state"] for each in json.load(answer)["models"] if each["model"] == model))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--entries", type=int, default=40_000)
    count = parser.parse_args().entries
    folder = Path(tempfile.mkdtemp(prefix="riverloop-rebuild-"))
    file = folder / "task.py"
    text = TASK.format(hotel=str(examples() / "hotel_bookings" / "task.py"))
    file.write_text(text[: text.index("models=")] + MODELS)
    loaded, names = load_task(str(file)), TaskTopics("restart")
    honest = list(entries(0, count))
    first, last = count // 4, 3 * count // 4
    log = poisoned(honest, first, last)
    with EmbeddedBroker() as broker:
        connection = Connection(broker.bootstrap)
        create_topics(connection, topics("restart", 1))
        codec = Codec(loaded.task.name, loaded.task.kind, loaded.task.features)
        producer = Producer(connection.config(**{"linger.ms": 20, "queue.buffering.max.messages": 500_000}))
        for entry in log:
            producer.produce(names.log, codec.encode(entry))
            producer.poll(0)
        producer.flush()
        worker = WorkerProcess(str(file), connection, folder, 0)
        worker.start()
        worker.wait_ready(3600)
        cluster = ["--bootstrap", broker.bootstrap]
        print(
            f"{count:,} entries; of offsets {first:,} to {last:,} those with {FEATURE}={LEVEL} are left out\n\n"
            f"{'model':<8}{'rebuilt in s':>13}{'state as a fresh fold':>23}{'log loss: never poisoned':>26}"
            f"{'poisoned':>10}{'rebuilt':>9}{'rebuilt / never':>17}",
            flush=True,
        )
        for model in loaded.task.models:
            interval = ["--leave-out", f"{first}..{last}", "--where", f"{FEATURE}={LEVEL}"]
            ask = ["models", "rollback", str(file), model.name, "--mode", "rebuild", *interval, *cluster]
            began = time.monotonic()
            found = command(*ask, "--reason", "a feed was wrong", "--wait", "--timeout", "600")
            took = time.monotonic() - began
            assert found["state"] == "done", found
            leave_out = LeaveOut.parse([f"{first}..{last}"], f"{FEATURE}={LEVEL}")
            never, spoiled = (folded(loaded, model, each, last + 1)[1] for each in (honest, log))
            digest, rebuilt = folded(loaded, model, log, last + 1, leave_out)
            same = "equal" if digest == digest_of(worker, model.name) else "DIFFERENT"
            print(
                f"{model.name:<8}{took:>13.1f}{same:>23}{never:>26.5f}{spoiled:>10.5f}{rebuilt:>9.5f}"
                f"{rebuilt / never:>17.4f}",
                flush=True,
            )
        worker.stop()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
