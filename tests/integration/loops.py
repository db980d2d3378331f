"""A whole loop for tests: a task of the hotel example under a name of its own, topics, real worker processes."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from click.testing import CliRunner

from agents.cli.main import riverloop
from agents.cli.processes import WorkerProcess
from agents.declared import environment_name
from infra.checked import CheckCache
from infra.kafka.admin import create_topics
from infra.kafka.answers import Answers
from infra.kafka.connection import Connection
from infra.kafka.fencing import client_id
from infra.kafka.log import read_all
from infra.kafka.offsets import committed_offsets, end_offsets
from infra.kafka.partitioner import partition_of
from infra.kafka.replay import Replay
from infra.past import learn
from infra.runtime import runtime_fingerprint
from infra.snapshots.store import SnapshotStore
from infra.taskfile import examples, load_task
from infra.verify import KafkaSource, Report, verify
from schemas.codec import Codec
from schemas.records import DeadLetter, Entry, Request, Value
from schemas.topics import TaskTopics
from streams.datafile import Event
from streams.join.join_rules import JoinRules
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.model_state import ModelState
from streams.roles import Roles
from streams.schedule import schedule
from streams.task_model import Model
from streams.topology import declared
from streams.version import Version
from tests.faults.child import through_child
from tests.prepared import Prepared

HOTEL = examples() / "hotel_bookings"
FACTS = ("labelled", "expired", "late", "revised", "unavailable")
COPIES: set[Path] = set()
"""Task files that `hotel_task` has written."""
PACE_S = 0.002
"""Between two events while a test's block runs."""
Resolution = tuple[str, str, Value, int | None]
"""Request id, kind, value, revision."""


def hotel_task(
    folder: Path, name: str, changes: Mapping[str, str] = MappingProxyType({}), *, tree: bool = False
) -> Path:
    """Write the hotel example as a task file with other tasks' names: `name` and `name`-30d.

    One model is enough where the models are not the point, and starts faster; `tree` keeps both.
    """
    text = (HOTEL / "task.py").read_text()
    if not tree:
        text = "".join(line for line in text.splitlines(True) if 'Model("ht"' not in line)
    changes = {
        'name="hotel-cancellation': f'name="{name}',
        'path="hotel_h1': f'path="{HOTEL}/hotel_h1',
        **changes,
    }
    for old, new in changes.items():
        assert old in text, f"{old!r} is not in the hotel example any more"
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "task.py"
    file.write_text(text)
    COPIES.add(file)
    return file


@cache
def bookings() -> list[dict[str, str]]:
    """Give all bookings in the order in which they were made."""
    with gzip.open(HOTEL / "hotel_h1_resort.csv.gz", "rt", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["booking_date"])


def until(condition: Callable[[], Any], timeout_s: float = 60.0, what: str = "") -> Any:
    """Wait until a condition holds; gives what it gave."""
    ends = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < ends, f"not within {timeout_s:g} s: {what or condition}"
        time.sleep(0.05)
    return found


class Worker(WorkerProcess):
    """A worker process with settings, faults and further tasks as a test chooses."""

    def __init__(
        self,
        references: Sequence[str],
        connection: Connection,
        folder: Path,
        number: int,
        *,
        lockstep: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__(references[0], connection, folder, number, lockstep=lockstep)
        self._environment |= {environment_name(key): str(value) for key, value in settings.items()}
        place = self._command.index(references[0])
        self._command[place : place + 1] = references
        # Its load check, which takes more than a start, is in tests/unit/test_loadcheck.py.
        memory = CheckCache(folder / "checked")
        for reference in references:
            if Path(reference.partition(".py:")[0]).with_suffix(".py") in COPIES:
                models = load_task(reference).task.models
                memory.keep(reference, {model.name: {"Model": "checked"} for model in models}, {})

    def start(self, **faults: str) -> None:
        """Start it, this once with faults of `tests.faults.injection`."""
        before, command = self._environment, self._command
        if faults:
            self._command = through_child(command)
        self._environment = before | {environment_name(key): value for key, value in faults.items()}
        try:
            super().start()
        finally:
            self._environment, self._command = before, command

    def _launch(self) -> Any:
        return Prepared(self._command, self._environment, self.log_file)

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def wait_ended(self, timeout_s: float = 60.0) -> int:
        """Wait until it has ended by itself; gives the exit code, negative for a signal."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # Where each thread is.
            os.kill(self.pid, signal.SIGUSR1)
            time.sleep(1.0)
            raise AssertionError(f"it has not ended after {timeout_s:.0f} s: {self.log[-20_000:]}") from None
        self._close()
        return code

    def restart(self) -> None:
        """Start it again, and wait until it serves."""
        self.start()
        self.wait_ready()

    @property
    def log(self) -> str:
        """What it has logged since its first start."""
        return self.log_file.read_text(errors="replace")

    @property
    def metrics(self) -> str:
        """What it exports for Prometheus."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            return str(answer.read().decode())


class Loop:
    """A task on the cluster: its topics, its workers, and what there is to be read afterwards.

    Parameters
    ----------
    reference
        The task, `file.py:name`.
    connection
        The cluster.
    folder
        For logs and snapshots of its workers.
    partitions
        Of the topics keyed by request.
    settings
        Of all workers.
    """

    def __init__(
        self, reference: str, connection: Connection, folder: Path, partitions: int = 1, **settings: Any
    ) -> None:
        self.loaded = load_task(reference)
        self.task, self.connection, self.partitions = self.loaded.task, connection, partitions
        self.folder = folder
        self.topics = TaskTopics(self.task.name)
        token_key, snapshot_key = (
            settings.get(name, "").encode() or None for name in ("token_key", "snapshot_key")
        )
        self.codec = Codec(self.task.name, self.task.kind, self.task.features, token_key, serving=True)
        self.store = SnapshotStore(str(folder / "snapshots"), snapshot_key)
        # In silence time would go on, and what falls due would depend on how long a test takes.
        self._settings = {"group": self.task.name, "idle_ms": 10**9, "max_batch": 200} | settings
        create_topics(connection, declared(self.task, partitions))
        self.workers: list[Worker] = []
        self.sent: list[Event] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        for worker in self.workers:
            worker.kill()

    def worker(self, *more: str, reference: str = "", lockstep: bool = False, **settings: Any) -> Worker:
        """Make a worker, not started yet; `more` are further tasks."""
        references = [reference or self.loaded.reference, *more]
        number, reported = len(self.workers), self._settings | settings
        made = Worker(references, self.connection, self.folder, number, lockstep=lockstep, **reported)
        self.workers.append(made)
        return made

    def started(self, count: int, **settings: Any) -> list[Worker]:
        """Start workers side by side, and wait until all of them serve."""
        made = [self.worker(**settings) for _ in range(count)]
        for worker in made:
            worker.start()
        for worker in made:
            worker.wait_ready()
        return made

    def owner_and_survivor(self, **settings: Any) -> tuple[Worker, Worker]:
        """Make two workers, not started yet; the first keeps the log when the second joins the owners' group."""
        group = f"{self.task.name}.{self.task.name}.log"
        owner, survivor = sorted("ab", key=lambda slot: client_id(group, slot, 0))
        return self.worker(slot=owner, **settings), self.worker(slot=survivor, **settings)

    # ------------------------------------------------------------------ input

    def events(self, count: int, skip: int = 0) -> list[Event]:
        """Give bookings as events, in the order in which they were made."""
        assert self.task.data is not None
        return list(self.task.data.events(bookings()[skip : skip + count], self.task.features))

    @contextmanager
    def replaying(
        self,
        events: Sequence[Event],
        pace_s: float = PACE_S,
        *,
        rest: bool = True,
        key: Callable[[Request], str | None] = lambda request: None,
    ) -> Iterator[Replay]:
        """Play events, free, in a thread, until all are answered; at the end of the block it is waited for.

        Within the block there are `pace_s` between two, so that some are left whatever the block waits for. At its
        end the rest follows at once, or is left out without `rest`: each worker, `verify` and each refold has less
        to do.
        """
        hurry, played = threading.Event(), list[Event]()

        def slowly() -> Iterator[Event]:
            for event in events:
                played.append(event)
                yield event
                if hurry.wait(pace_s) and not rest:
                    return

        answers = Answers(self.connection, self.codec, self.topics, self.partitions)
        replay = Replay(self.connection, self.codec, self.topics, answers, key=key)
        failed: list[BaseException] = []

        def run() -> None:
            try:
                replay.free(slowly(), JoinRules.of(self.task).horizon_ms)
            except BaseException as error:  # it dies alone in its thread otherwise
                failed.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield replay
            hurry.set()
            thread.join(120)
        finally:
            hurry.set()
            if not thread.is_alive():
                answers.close()
        if failed:
            raise failed[0]
        gone = [
            f"{worker.log_file} is of a worker that has ended"
            for worker in self.workers
            if not worker.running
        ]
        unanswered = f"{replay.requests - answers.count} requests are not answered"
        assert not thread.is_alive(), "; ".join([unanswered, *gone])
        self.sent += played

    def play(self, events: Sequence[Event]) -> None:
        """Play events, free, and wait until all are answered and joined.

        A second play has outcomes that are older than the first one's last, which lie before them on the topic:
        read together with the second play's predictions they come too late, as they would in the world.
        """
        with self.replaying(events):
            pass
        group = str(self._settings["group"])
        outcomes = [(self.topics.outcomes, number) for number in range(self.partitions)]

        def joined() -> bool:
            ends = end_offsets(self.connection, outcomes, committed=False)
            read = committed_offsets(self.connection, group, outcomes)
            return all(read.get(place, 0) >= end for place, end in ends.items())

        until(joined, 120, "everything is joined")

    # ------------------------------------------------------------------ what must come out

    def expected(self) -> Counter[Resolution]:
        """Give the resolutions that the data themselves demand, whatever happens to the workers."""
        rules = JoinRules.of(self.task)
        sent = {
            id(outcome)
            for step in schedule(self.sent, rules.horizon_ms)
            if not isinstance(step, Request)
            for outcome in step.outcomes
        }
        stream_time: Counter[int] = Counter()
        for event in self.sent:
            place = partition_of(event.request.request_id.encode(), self.partitions)
            stream_time[place] = max(stream_time[place], event.request.ts)
        found: Counter[Resolution] = Counter()
        for event in self.sent:
            request_id, deadline = event.request.request_id, event.request.ts + rules.horizon_ms
            place = partition_of(request_id.encode(), self.partitions)
            outcomes = [each for each in event.outcomes if id(each) in sent]
            in_time = [each for each in outcomes if each.ts <= deadline]
            if in_time:
                found[request_id, "labelled", in_time[0].value, None] += 1
            elif outcomes or deadline + rules.grace_ms < stream_time[place]:
                found[request_id, "expired", None, None] += 1
            for outcome in outcomes:
                if outcome.ts > deadline:
                    found[request_id, "late", outcome.value, None] += 1
        return found

    def entries(self) -> list[tuple[int, Entry]]:
        """Read the training log, each entry with its offset."""
        found = []
        for message in read_all(self.connection, self.topics.log):
            entry = self.codec.decode_entry(message.value())
            if entry.command is not None:
                learn(self.codec, entry.command)
            found.append((message.offset() or 0, entry))
        return found

    def resolutions(self) -> Counter[Resolution]:
        """Give the resolutions that are in the training log."""
        found: Counter[Resolution] = Counter()
        for _, entry in self.entries():
            if entry.kind in FACTS:
                assert entry.prediction is not None
                outcome = entry.outcome
                reported = (outcome.value, outcome.revision) if outcome else (None, None)
                found[entry.prediction.request_id, entry.kind, *reported] += 1
        return found

    def end_of(self, topic: str, partition: int = 0) -> int:
        """Give the end of a partition, markers included."""
        place = (topic, partition)
        return end_offsets(self.connection, [place])[place]

    def store_at(self, folder: Path) -> list[str]:
        """Give the versions in a store of snapshots."""
        return [each.version for each in SnapshotStore(str(folder)).manifests(self.task.name)]

    def published(self) -> bool:
        """Whether the owners of the log and of the tallies have committed all of them."""
        group, ends = str(self._settings["group"]), {}
        log_group = f"{group}.{self.task.name}.log"
        for topic, owners in ((self.topics.log, log_group), (self.topics.quality, group)):
            *_, last = read_all(self.connection, topic)
            ends[owners, (topic, 0)] = (last.offset() or 0) + 1
        return all(
            (committed_offsets(self.connection, owners, [place]).get(place) or 0) >= end
            for (owners, place), end in ends.items()
        )

    def wait_for_more(self, entries: int) -> None:
        """Wait until the training log has grown by so many offsets."""
        before = self.end_of(self.topics.log)
        until(lambda: self.end_of(self.topics.log) >= before + entries, 120, "the log grows")

    def assert_resolved(self, timeout_s: float = 60.0) -> None:
        """Wait until the log holds as many resolutions as expected, and compare them one by one."""
        expected = self.expected()
        ends = time.monotonic() + timeout_s
        while (found := self.resolutions()).total() < expected.total() and time.monotonic() < ends:
            time.sleep(0.2)
        wrong, missing = found - expected, expected - found
        reported = f"{dict(wrong.most_common(5))} for {dict(missing.most_common(5))}"
        assert not wrong, (
            f"{wrong.total()} resolutions that the data do not give, or more than once: {reported}"
        )
        assert not missing, f"{missing.total()} resolutions are missing: {reported}"

    # ------------------------------------------------------------------ what must hold

    def assert_digests(self) -> dict[str, str]:
        """Compare all running workers' states with a refold of the log; gives the digest by version.

        Time that passes in silence may append an entry between the two: then both are asked again.
        """
        left = 5
        while True:
            folds, left = self._refolds(), left - 1
            reported = [self._digests(each, folds[0].next_offset) for each in self.workers if each.running]
            if not left or all(each["next_offset"] == folds[0].next_offset for each in reported):
                break
        expected = {str(fold.version): fold.digest for fold in folds}
        for each in reported:
            assert each["next_offset"] == folds[0].next_offset
            assert {model["version"]: model["state"] for model in each["models"]} == expected
        return expected

    def _refolds(self) -> list[ModelFold]:
        entries, roles = self.entries(), Roles(self.task.name)
        for offset, entry in entries:
            roles.apply(offset, entry)
        return [
            self.refold(model, entries, roles.revisions.left_out(model.name, self.task.spec(model)))
            for model in self.task.models
        ]

    def _digests(self, worker: Worker, next_offset: int) -> Any:
        """Ask a worker for its digests once it has applied the log up to an offset."""
        path = f"/tasks/{self.task.name}/digests"
        applied = f"{worker.log_file} has applied the log"
        until(lambda: worker.get(path)["next_offset"] >= next_offset, what=applied)
        return worker.get(path)

    def refold(
        self, model: Model, entries: Sequence[tuple[int, Entry]], left_out: str = "", to: int | None = None
    ) -> ModelFold:
        """Fold the log from its beginning, up to an offset, with nothing but the entries."""
        fold = ModelFold(self.task, model, runtime_fingerprint()[0], leave_out=LeaveOut.read(left_out))

        def past(version: Version) -> ModelState:
            known = fold.roles.revisions.of(model.name)
            of = next(each.left_out for each in known if each.number == version.revision)
            return self.refold(model, entries, of, version.offset).snapshot()

        fold.past = past
        for offset, entry in entries:
            if to is None or offset <= to:
                fold.apply(offset, entry)
        return fold

    def verify(self) -> Report:
        """Prove the history, with the workers' snapshots."""
        with KafkaSource(self.connection) as source:
            return verify(self.loaded, self.codec, source, runtime_fingerprint()[0], self.store)

    def assert_verified(self) -> Report:
        """Prove the history; every score of it must be reproduced."""
        report = self.verify()
        assert report.failures == [], report.failures
        assert report.ok
        assert set(report.reproduced.values()) == {report.counts["predictions"]}
        return report

    def dead_letters(self) -> list[DeadLetter]:
        """Read the dead letters of all partitions."""
        return [
            self.codec.decode_dead_letter(message.value())
            for number in range(self.partitions)
            for message in read_all(self.connection, self.topics.dead_letters, number)
        ]


def rejection(worker: Worker, words: str) -> str:
    """Wait until a worker is not ready for a reason; gives it."""

    def why() -> str:
        detail = str(ready_document(worker).get("detail", ""))
        return detail if words in detail else ""

    return str(until(why, 60.0, f"it is not ready: {words}"))


def ready_document(worker: Worker) -> dict[str, Any]:
    """Give what `/ready` answers, with any status; empty while nobody listens."""
    try:
        with urllib.request.urlopen(f"{worker.url}/ready", timeout=30) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except urllib.error.HTTPError as error:
        rejected: dict[str, Any] = json.loads(error.read())
        return rejected
    except OSError:
        return {}


def no_traceback(worker: Worker) -> None:
    """Check that a worker's log holds no traceback."""
    assert "Traceback" not in worker.log, worker.log[worker.log.index("Traceback") - 500 :][:3000]


def invoked(*arguments: str, code: int | None = 0, **environment: str) -> str:
    """Run the command `riverloop` in this process, which has imported all that it needs; gives what it prints.

    One at a time: it has the standard output for itself. `code` is the exit code that it must have; None: any.
    """
    hidden = dict.fromkeys(name for name in os.environ if name.startswith("RIVERLOOP_"))
    done = CliRunner().invoke(riverloop, arguments, env=hidden | environment)
    assert code in {None, done.exit_code}, (done.output, done.exception)
    return done.stdout


def command(*arguments: str) -> tuple[list[str], dict[str, str], Path]:
    """Give what runs the command `riverloop` from the checkout: arguments, environment, folder."""
    root = Path(__file__).resolve().parents[2]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RIVERLOOP_")}
    return [sys.executable, "-m", "agents.cli.main", *arguments], clean, root
