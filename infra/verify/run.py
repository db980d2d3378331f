"""A whole verification."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Set
from pathlib import Path

from infra.snapshots.store import SnapshotStore
from infra.taskfile import LoadedTask
from infra.trusted import TrustedEntry
from infra.verify.checks import Checks
from infra.verify.database import HistoryDatabase
from infra.verify.reading import Reading
from infra.verify.refold import Refold
from infra.verify.report import Report
from infra.verify.source import Source
from schemas.codec import Codec
from schemas.topics import TaskTopics
from streams.join.join_rules import JoinRules


def verify(
    loaded: LoadedTask,
    codec: Codec,
    source: Source,
    runtime: str,
    store: SnapshotStore | None = None,
    progress: Callable[[int], None] = lambda done: None,
    skip: Set[TrustedEntry] = frozenset(),
    core: str = "python",
) -> Report:
    """Prove a task's history.

    Parameters
    ----------
    loaded
        The task under whose rules the history was made.
    codec
        Of the task; it needs no token key.
    source
        Where the history lies; the loop may go on meanwhile.
    runtime
        This process's fingerprint, see `infra.runtime`.
    store
        Snapshots to compare and to start from; None: announced digests are compared only.
    progress
        Called with the number of records read and entries refolded.
    skip
        Records of the log that no worker folds; where they cannot be read, they are noted and do not fail.
    core
        What refolds, as in `streams.native.CORES`; by default the reference, whatever the workers used.

    Returns
    -------
    Report
        What was counted and what does not hold.

    Raises
    ------
    BrokerError
        When the history cannot be read.
    UsageError
        When the log was cut and no snapshot reaches from where it begins.

    Notes
    -----
    Needs temporary disk space of about the size of `T.predictions` and twice the number of records times 100
    bytes; memory does not grow with the history. What cannot be seen: an entry that advances idle time and
    expires nothing may be left out, and so may the newest entries together with all that names them.
    """
    started = time.monotonic()
    task, report = loaded.task, Report(loaded.task.name)
    rules = JoinRules.of(task)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if done % 500 == 0:
            progress(done)

    with tempfile.TemporaryDirectory(prefix="riverloop-verify-") as folder:
        database = HistoryDatabase(Path(folder) / "history.sqlite")
        try:
            extent = Reading(source, codec, rules, database, report, tick, skip).run()
            Checks(database, extent, TaskTopics(task.name), rules, task.features.digest, report).run()
            Refold(loaded, codec, source, database, extent, report, runtime, store, skip, core).run(tick)
        finally:
            database.close()
    report.seconds = time.monotonic() - started
    return report
