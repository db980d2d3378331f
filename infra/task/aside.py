"""A process of low priority beside the loop that prepares the state of a rollback, and stores its snapshot."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.clock import now_ms
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.past import PastSchemas
from infra.runtime import runtime_fingerprint
from infra.snapshots.models import PROBES, LogPlace, git_commit, pack, restore
from infra.snapshots.past import PastVersions
from infra.snapshots.store import SnapshotStore
from infra.subjects import Subjects
from infra.taskfile import load_task
from infra.trusted import places
from schemas.errors import BadRecord, RecordsGone, RiverloopError, SnapshotError
from schemas.records import Entry, Features, Manifest
from schemas.topics import TaskTopics
from streams import native
from streams.failures import NoCopy
from streams.garbage import collect_seldom
from streams.leave_out import LeaveOut
from streams.model import ModelFold
from streams.version import Version

NICE: Final = 10
NEAR: Final = 500
"""So many entries may be left for the others to fold."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be prepared."""

    reference: str
    """Of the task file."""
    model: str
    left_out: str
    """Of the revision."""
    version: str
    """The version to be stored; empty: the revision at the end of the log."""
    log_topic_id: str
    bootstrap: str
    properties: Mapping[str, str] = field(repr=False)
    token_key: str = field(repr=False)
    snapshot_key: str = field(repr=False)
    snapshot_uri: str = ""
    skip: str = ""
    core: str = ""

    def command(self) -> list[str]:
        """Return the command that runs it; the job itself goes to its input, for it holds secrets."""
        return [sys.executable, "-m", "infra.task.aside"]

    def environment(self) -> dict[str, str]:
        """Return the environment of the process."""
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
        return os.environ | {"PYTHONPATH": path}

    def text(self) -> str:
        """Return it as a line."""
        return json.dumps(asdict(self)) + "\n"


class Preparing:
    """Runs a job in this process."""

    def __init__(self, job: Job) -> None:
        self._job, self._loaded = job, load_task(job.reference)
        task = self._loaded.task
        self._topics = TaskTopics(task.name)
        self._connection = Connection(job.bootstrap, job.properties)
        subjects = Subjects.of(self._connection, self._topics, task.features, job.token_key.encode())
        self._codec = task.codec(subjects.keys, serving=True)
        subjects.load()
        PastSchemas(self._codec, self._connection, self._topics).learn_all()
        self._store = SnapshotStore(job.snapshot_uri, job.snapshot_key.encode() or None)
        self._place = LogPlace(self._topics.log, job.log_topic_id)
        self._past = PastVersions(self._loaded, self._store, self._place, self._read, job.core)
        self._skip = places(job.skip)
        self._recent: deque[Features] = deque(maxlen=PROBES)
        self.folded = 0
        """Entries."""

    def run(self) -> Manifest:
        """Prepare the state, and store it.

        Raises
        ------
        SnapshotError
            The log does not lead to the version.
        """
        job = self._job
        runtime = runtime_fingerprint()
        fold = self._fold(runtime[0])
        if job.version and (there := self._there(job.version, fold.spec)) is not None:
            return there
        # Copies for failing examples take a fifth of the time of a tree.
        fold.learner.keeps_copies = False
        try:
            self._lead(fold)
        except NoCopy:  # begun again, with copies
            self._recent.clear()
            fold = self._fold(runtime[0])
            self._lead(fold)
        fingerprints, recent = self._codec.fingerprints, list(self._recent)
        commit = git_commit(self._loaded.folder)
        taken = pack(fold, self._place, runtime[1], fingerprints, {}, recent, now_ms(), commit=commit)
        return self._store.save(taken.manifest, taken.state, taken.probes)

    def _fold(self, runtime: str) -> ModelFold:
        job, task = self._job, self._loaded.task
        leave_out = LeaveOut.read(job.left_out)
        fold = ModelFold(task, task.model(job.model), runtime, job.core, leave_out=leave_out)
        self._past.serve(fold)
        return fold

    def _lead(self, fold: ModelFold) -> None:
        """Fold to where the job wants it."""
        self.folded = 0
        if self._job.version:
            self._to_version(fold, Version.parse(self._job.version))
        else:
            self._to_the_end(fold)

    def _there(self, version: str, spec: str) -> Manifest | None:
        try:
            manifest = self._store.load(self._loaded.task.name, version).manifest
        except SnapshotError:
            return None
        return manifest if (manifest.spec, manifest.log_topic_id) == (spec, self._job.log_topic_id) else None

    def _to_the_end(self, fold: ModelFold) -> None:
        restore(fold, self._store, self._place, self._loaded.classes)
        fold.prepare()
        for _ in range(5):
            before = self.folded
            for offset, entry in self._read(fold.next_offset, None):
                fold.apply(offset, entry)
            if self.folded - before < NEAR:
                break

    def _to_version(self, fold: ModelFold, version: Version) -> None:
        restore(fold, self._store, self._place, self._loaded.classes, at_most=version.offset + 1)
        fold.prepare()
        for offset, entry in self._read(fold.next_offset, version.offset + 1):
            fold.apply(offset, entry)
        if fold.learned_version != version:
            raise SnapshotError(
                f"the log does not lead to version {version}: it leads to {fold.learned_version}"
            )

    def _read(self, start: int, end: int | None) -> Iterator[tuple[int, Entry]]:
        """Read the log; the oldest record is asked for where nothing is folded yet."""
        for message in read_all(self._connection, self._topics.log, 0, start, end):
            offset = message.offset()
            assert offset is not None
            try:
                entry = self._codec.decode_entry(message.value())
            except BadRecord as bad:
                if (message.topic(), offset) in self._skip:
                    continue
                raise SnapshotError(f"{self._topics.log}@{offset} cannot be read: {bad}") from bad
            self.folded += 1
            if entry.prediction is not None:
                self._recent.append(entry.prediction.features)
            yield offset, entry


def _watch_parent() -> None:
    """End with the worker: its end of the pipe closes."""
    sys.stdin.read()
    os._exit(1)


def _main() -> int:
    os.nice(NICE)
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_watch_parent, daemon=True).start()
    report: dict[str, Any]
    started = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the task file prints is not ours
            native.choose(job.core or "auto")
            preparing = Preparing(job)
            collect_seldom()
            manifest = preparing.run()
        report = {"version": manifest.version, "digest": manifest.state_digest, "entries": preparing.folded}
        report["seconds"] = round(time.monotonic() - started, 3)
    except (RecordsGone, SnapshotError) as error:
        report = {"error": str(error), "final": True}
    except (RiverloopError, OSError) as error:
        report = {"error": str(error), "final": False}
    sys.stdout.write(json.dumps(report))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(_main())
