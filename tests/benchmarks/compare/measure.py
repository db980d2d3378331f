"""One run of one contender: topics, load, process, and what came out by the broker's clock.

Everything is seen from outside, alike for all: the time from the first prediction to the last labelled example is
that of the broker's own timestamps (LogAppendTime), processor time and memory are the process's `getrusage`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, TopicPartition

from infra.kafka.admin import create_topics
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from schemas.codec import Codec
from schemas.errors import BrokerError
from schemas.topics import TaskTopics, topics
from tests.benchmarks.compare import job
from tests.benchmarks.compare.load import Load
from tests.benchmarks.compare.run_config import Contender, RunConfig
from tests.benchmarks.compare.task import bench_task, write_task
from tests.topics import delete_topics

POLL_S: Final = 0.1
QUIET_S: Final = 1.5
"""So long nothing comes any more: then the results are counted."""
STALLED_S: Final = 60.0
ANSWER_S: Final = 10.0
ROOT: Final = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Result:
    """What one run gave."""

    contender: str
    pairs: int
    predictions: int
    """Predictions on the topic; as many as pairs when none was lost or doubled."""
    examples: int
    """Labelled examples on the topic."""
    seconds: float
    """From the first prediction to the last example, by the broker's clock."""
    events_per_s: float
    """Requests and outcomes."""
    cpu_us: float
    """Processor time of the process per event (µs), all its threads."""
    memory_mb: float
    """Peak of the process."""
    accuracy: float
    """Of the scores as served: that it learned the same is seen here."""
    versions: dict[str, str]


class Process:
    """A contender's process, which answers what it has used."""

    def __init__(self, python: str, chosen: Contender, given: RunConfig) -> None:
        self.log_file = Path(given.folder) / f"{chosen.name}.log"
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(
                [python, "-m", "tests.benchmarks.compare.meter", chosen.name, json.dumps(asdict(given))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=given.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                start_new_session=True,  # Ctrl-C is for the command
            )
        self.pid = self._child.pid
        self.versions: dict[str, str] = self._line()

    def _line(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            tail = "\n".join(self.log_file.read_text(errors="replace").splitlines()[-15:])
            raise BrokerError(f"{self.log_file.stem} ended with {self._child.wait()}:\n{tail}")
        found: dict[str, Any] = json.loads(line)
        return found

    def usage(self) -> dict[str, float]:
        """Give processor time (s) and peak memory (MB) so far.

        Raises
        ------
        BrokerError
            When the process has ended; with the last lines of its log.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(b"?")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # reading says why
        return self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            pipe.close()


@dataclass(frozen=True, slots=True)
class _Sample:
    predictions: int
    examples: int
    used: dict[str, float]


def measure(
    chosen: Contender,
    python: str,
    connection: Connection,
    load: Load,
) -> Result:
    """Run a contender over a load until all pairs are through.

    Parameters
    ----------
    chosen
        The contender.
    python
        The interpreter that has its packages.
    connection
        The cluster; the run's topics are made on it and deleted.
    load
        The events.

    Raises
    ------
    BrokerError
        When the process ends, or nothing comes for a minute.
    """
    with ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="riverloop-bench-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        name = f"bench-{chosen.name}-{Path(folder).name.rsplit('-', 1)[1].lower().replace('_', '0')}"
        places, specs = TaskTopics(name), topics(name, chosen.partitions)
        create_topics(connection, specs)
        stack.callback(delete_topics, connection, [each.name for each in specs])
        load.put(connection, places)
        given = RunConfig(
            bootstrap=connection.bootstrap,
            task=write_task(Path(folder), name),
            requests=places.requests,
            outcomes=places.outcomes,
            predictions=places.predictions,
            examples=places.log,
            group=name,
            folder=folder,
            options=chosen.options,
        )
        processes = [
            stack.enter_context(Process(python, chosen, replace(given, number=number)))
            for number in range(chosen.processes)
        ]
        return _watch(chosen, processes, connection, places, len(load.requests))


def _watch(
    chosen: Contender,
    processes: list[Process],
    connection: Connection,
    places: TaskTopics,
    pairs: int,
) -> Result:
    """Look at the ends of both topics until nothing moves, then count what lies there."""
    consumer = Consumer(
        connection.config(**{"group.id": f"{places.log}-bench", "isolation.level": "read_uncommitted"})
    )
    ends = [TopicPartition(places.log, 0)]
    ends += [TopicPartition(places.predictions, number) for number in range(chosen.partitions)]
    samples: list[_Sample] = []
    found = _Found()
    moved = time.monotonic()
    try:
        while found.examples < pairs:
            examples, *each = (
                consumer.get_watermark_offsets(place, ANSWER_S, cached=False)[1] for place in ends
            )
            predictions = sum(each)
            sample = _Sample(predictions, examples, _used(processes))
            last = samples[-1] if samples else sample
            if (predictions, examples) != (last.predictions, last.examples) or not samples:
                moved = time.monotonic()
                samples.append(sample)
            elif not predictions:
                samples[-1] = sample  # it still starts: what it uses for that is not counted
            still = time.monotonic() - moved
            if still > STALLED_S:
                raise BrokerError(
                    f"{chosen.name}: nothing comes any more after {predictions:,} predictions and {examples:,} "
                    f"records of examples, with {pairs:,} pairs given"
                )
            if still > QUIET_S and min(predictions, examples) >= pairs:
                found = _count(chosen, connection, places)
            time.sleep(POLL_S)
    finally:
        consumer.close()
    events = 2 * pairs
    started = next(index for index, each in enumerate(samples) if each.predictions) - 1
    cpu_s = samples[-1].used["cpu_s"] - samples[max(started, 0)].used["cpu_s"]
    return Result(
        contender=chosen.name,
        pairs=pairs,
        predictions=found.predictions,
        examples=found.examples,
        seconds=found.seconds,
        events_per_s=events / max(found.seconds, 1e-3),
        cpu_us=cpu_s / events * 1e6,
        memory_mb=_used(processes)["memory_mb"],
        accuracy=found.right / max(found.examples, 1),
        versions=processes[0].versions,
    )


def _used(processes: list[Process]) -> dict[str, float]:
    """Add up what all have used."""
    used = [each.usage() for each in processes]
    return {name: sum(each[name] for each in used) for name in used[0]}


@dataclass(slots=True)
class _Found:
    predictions: int = 0
    examples: int = 0
    right: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @property
    def seconds(self) -> float:
        return (self.last_ms - self.first_ms) / 1000


def _count(chosen: Contender, connection: Connection, places: TaskTopics) -> _Found:
    """Read both topics, committed records only."""
    found = _Found()
    for number in range(chosen.partitions):
        for message in read_all(connection, places.predictions, number):
            found.predictions += 1
            written_ms = message.timestamp()[1]
            found.first_ms = min(found.first_ms or written_ms, written_ms)
    task = bench_task(places.task)
    read = _entry_reader(Codec(task.name, task.kind, task.features)) if chosen.entries else job.read_example
    for message in read_all(connection, places.log):
        example = read(message.value() or b"")
        if example is not None:
            score, label = example
            found.examples += 1
            found.right += (score > 0.5) == label
            found.last_ms = message.timestamp()[1]
    return found


def _entry_reader(codec: Codec) -> Callable[[bytes], tuple[float, bool] | None]:
    def read(data: bytes) -> tuple[float, bool] | None:
        entry = codec.decode_entry(data)
        if entry.kind != "labelled" or entry.prediction is None or entry.outcome is None:
            return None
        score = entry.prediction.scores[0].score
        return (score if isinstance(score, float) else 0.0), entry.outcome.value is True

    return read
