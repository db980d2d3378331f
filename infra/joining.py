"""What a worker with a task file would do on a cluster: which revisions it opens, and how long it folds before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from infra.commands import Commands, check_answering
from infra.kafka.connection import Connection
from infra.kafka.log import read_all
from infra.kafka.offsets import end_offsets, first_offsets
from infra.kafka.watching import seen_topics
from infra.past import PastSchemas
from infra.runtime import runtime_fingerprint
from infra.runtimes import Proof, equal_runtimes
from infra.snapshots.models import LogPlace, restore
from infra.snapshots.store import SnapshotStore
from infra.task.warming import duration
from infra.taskfile import LoadedTask
from schemas.codec import Codec
from schemas.errors import BadRecord
from schemas.topics import TaskTopics
from streams.model import ModelFold

SAMPLE: Final = 5_000
"""Offsets that are folded to measure the pace."""


@dataclass(frozen=True, slots=True)
class Joining:
    """What becomes of one model when a worker starts."""

    model: str
    revision: int
    opens: bool
    """Whether the log does not have this revision yet."""
    snapshot: str
    """The version that it continues from; empty: from the log's beginning."""
    left: int
    """Log offsets that are folded before the worker is ready."""
    seconds: float
    """How long that takes at the pace measured here."""

    @property
    def sentence(self) -> str:
        """The same for people."""
        what = f"revision {self.revision} of {self.model} is {'opened' if self.opens else 'in the log'}"
        start = f"from snapshot {self.snapshot}" if self.snapshot else "from the log's beginning"
        return f"{what}; folds {self.left:,} offsets {start}, about {duration(self.seconds)}"

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def joining(
    loaded: LoadedTask,
    connection: Connection,
    group: str,
    store: SnapshotStore,
    proofs: Mapping[str, Proof],
) -> list[Joining]:
    """Return what becomes of each model when a worker starts with a task file; nothing is written (blocks).

    Parameters
    ----------
    group
        The workers' consumer group.
    store
        Where snapshots are.
    proofs
        What the load check gave, by model.

    Raises
    ------
    UsageError
        A model answers that the file does not have.
    TaskError
        A feature has another type than before.
    BrokerError
        The cluster does not answer.
    """
    task, names = loaded.task, TaskTopics(loaded.task.name)
    codec = task.codec()
    PastSchemas(codec, connection, names).learn_all()
    roles, audits, _ = Commands(connection, codec, group).history()
    check_answering(roles, loaded)
    place = LogPlace(names.log, seen_topics(connection, [names.log])[names.log].topic_id)
    log = (names.log, 0)
    first, end = first_offsets(connection, [log])[log], end_offsets(connection, [log])[log]
    runtime, found = runtime_fingerprint()[0], []
    for model in task.models:
        equals = equal_runtimes(loaded, model, runtime, proofs.get(model.name, {}), audits, store, place)
        fold = ModelFold(task, model, runtime, equals=equals)
        manifest = restore(fold, store, place, loaded.classes)
        left = max(0, end - max(first, fold.next_offset))
        known = roles.revisions.find(model.name, fold.spec, fold.runtimes)
        found.append(
            Joining(
                model.name,
                roles.revisions.next_number(model.name) if known is None else known.number,
                known is None,
                manifest.version if manifest else "",
                left,
                left * _pace(ModelFold(task, model, runtime), codec, connection, first, end),
            )
        )
    return found


def _pace(fold: ModelFold, codec: Codec, connection: Connection, first: int, end: int) -> float:
    """Measure how long an offset of the log takes (s)."""
    end = min(end, first + SAMPLE)
    if first >= end:
        return 0.0
    fold.prepare()
    started = time.perf_counter()
    for message in read_all(connection, TaskTopics(codec.task).log, start=first, end=end):
        try:
            entry = codec.decode_entry(message.value())
        except BadRecord:
            continue
        fold.apply(message.offset() or 0, entry)
    return (time.perf_counter() - started) / (end - first)
