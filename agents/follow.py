"""Following the training log: every worker folds the models of the tasks it serves, and serves from them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from agents.loop import STAGES, TaskLoop, now_ms
from agents.owner import start_of
from agents.turns import Long
from infra.kafka.log import LogReader
from infra.past import learn
from infra.snapshots.models import LogPlace, restore
from infra.snapshots.store import SnapshotStore
from infra.trusted import unreadable_entry
from schemas.errors import BadRecord
from schemas.escaped import harmless
from schemas.records import Command, Entry, Features
from streams.model import ModelFold

RECENT = 20
NEAR = 500
"""Entries behind which the models count as near to the log."""
PATIENCE_S = 0.25
log = logging.getLogger(__name__)


class Follow:
    """Folds the models of one task, entry by entry, from the newest good snapshot on.

    Parameters
    ----------
    loop
        The task's.
    store
        Where snapshots lie.
    """

    def __init__(self, loop: TaskLoop, store: SnapshotStore) -> None:
        self.loop, self.store = loop, store
        for fold in loop.models:
            fold.learner.puts_off = True
        self.recent: deque[Features] = deque(maxlen=RECENT)
        """Features of the newest examples, for snapshots' probes."""
        self.next_offset = 0
        self.reader: LogReader | None = None
        self.parents: dict[str, str] = {}
        """By model: the newest snapshot that its state goes on from."""
        self.caught_up = False
        """Whether everything that was committed when reading began is folded."""
        self.failed = False
        """Whether folding ended with an error: no snapshot is taken of what it left."""

    def restore(self) -> int:
        """Restore the models; gives the offset at which to go on reading (blocks)."""
        loop = self.loop
        place = LogPlace(loop.topics.log, loop.log_topic_id)
        for fold in loop.models:
            started = time.monotonic()
            manifest = restore(fold, self.store, place, loop.loaded.classes)
            if manifest is None:
                log.info("%s: %s is folded from the beginning of the log", loop.task.name, fold.model.name)
            else:
                self.parents[fold.model.name] = manifest.version
                log.info(
                    "%s: %s restored from its snapshot in %.2f s, goes on at log offset %d",
                    loop.task.name,
                    manifest.version,
                    time.monotonic() - started,
                    fold.next_offset,
                )
        self.next_offset = start_of(loop, loop.topics.log, min(fold.next_offset for fold in loop.models))
        return self.next_offset

    async def near(self) -> None:
        """Wait a moment for the models to come near to the log.

        Serving and joining share the processor with learning. Under a load that is too high for all three they
        give way, so that what waits, waits before it is scored and not between the truth and the model.
        """
        until = time.monotonic() + PATIENCE_S
        while self._is_behind() and time.monotonic() < until:  # noqa: ASYNC110  the reader sets no event
            await asyncio.sleep(0.005)

    def _is_behind(self) -> bool:
        return self.reader is not None and self.reader.waiting > NEAR

    async def apply(self, messages: Sequence[Any]) -> None:
        """Fold a batch of the log's records."""
        try:
            await self.loop.turns.run(self._steps(messages))
        except Exception:
            self.failed = True
            raise
        async with self.loop.progress:
            self.loop.progress.notify_all()

    def _steps(self, messages: Iterable[Any]) -> Iterator[Long | None]:
        """Fold records one by one; what takes a model long is done before anybody else asks it."""
        yield from self._catch_up()
        for message in messages:
            self._one(message)
            yield from self._catch_up()
            yield None

    def _catch_up(self) -> Iterator[Long]:
        behind = [(fold, fold.learner.passed_over) for fold in self.loop.models if fold.learner.is_behind]
        if not behind:
            return

        def catch_up() -> None:
            for fold, _ in behind:
                fold.learner.catch_up()

        # All in one step: between two of them somebody might ask a model that is in the middle of an entry.
        yield Long(catch_up)
        for fold, before in behind:
            if fold.learner.passed_over > before:
                self._passed_over(fold)

    def _one(self, message: Any) -> None:
        loop = self.loop
        offset = message.offset()
        entry = loop.entries.read(loop.codec, message)
        if entry is None:
            self.next_offset = offset + 1
            loop.counts["entries_passed_over"] += 1
            log.warning("%s: %s@%d is passed over, as set", loop.task.name, loop.topics.log, offset)
            return
        if entry.command is None:
            for fold in loop.models:
                before = fold.learner.passed_over
                fold.apply(offset, entry)
                if fold.learner.passed_over > before:
                    self._passed_over(fold)
        else:
            self._command(message, entry, entry.command)
        self.next_offset = offset + 1
        if entry.prediction is not None:
            self.recent.append(entry.prediction.features)
            self._freshness(entry, message.timestamp()[1])
        elif entry.kind == "time" and entry.trigger is not None:
            loop.completed[entry.trigger.partition] = entry.trigger.offset
        loop.counts["entries"] += 1
        if self.caught_up:  # what a restart reads again is no growth
            loop.counts["log_bytes"] += len(message.value() or b"") + len(message.key() or b"")

    def _passed_over(self, fold: ModelFold) -> None:
        """Log what a model has just passed over, unless a restart reads it again."""
        task, name, learner = self.loop.task.name, fold.model.name, fold.learner
        newest = learner.newest[-1]
        if self.caught_up:
            log.warning(
                "%s: %s passes over log offset %d, request %s: %s",
                *(task, name, newest.offset, harmless(newest.request_id), newest.exception),
            )
        if learner.stopped is not None:
            log.error(
                "%s: %s stops learning at log offset %d: %s",
                *(task, name, learner.stopped.offset, learner.stopped.why),
            )

    def _command(self, message: Any, entry: Entry, command: Command) -> None:
        try:
            learn(self.loop.codec, command)
            for fold in self.loop.models:
                fold.apply(message.offset(), entry)
        except (BadRecord, KeyError, ValueError) as error:
            bad = BadRecord(
                "malformed", f"the command {command.name} of {command.model!r:.60}: {error!r:.200}"
            )
            raise unreadable_entry(message, bad) from error

    def _freshness(self, entry: Entry, logged: int) -> None:
        """Measure how fresh an entry is; `logged` is when it came to lie in the log (ms)."""
        if entry.arrived is not None and self.loop.ready.is_set():
            fresh, now = self.loop.freshness_ms, now_ms()
            fresh.append(now - entry.arrived)
            spans_ms = (logged - entry.arrived, now - logged, now - entry.arrived)
            for stage, span_ms in zip(STAGES, spans_ms, strict=True):
                self.loop.freshness[stage].add(max(0, span_ms) / 1000)
            if len(fresh) > 20_000:
                del fresh[:10_000]

    def check_ready(self, caught_up: bool) -> None:
        """Say whether the models may answer: restored, caught up, and in force."""
        loop = self.loop
        self.caught_up = caught_up
        out = [fold.model.name for fold in loop.models if not fold.in_force]
        if loop.refused:
            loop.why_not_ready = "; ".join(loop.refused.values())
            loop.ready.clear()
        elif not caught_up:
            loop.why_not_ready = f"reading the training log, at offset {self.next_offset}"
        elif out:
            loop.why_not_ready = (
                f"the log's newest revision of {', '.join(out)} is not this worker's specification or runtime"
            )
            loop.ready.clear()
        elif not loop.ready.is_set():
            loop.why_not_ready = ""
            loop.ready.set()
            versions = ", ".join(str(fold.version) for fold in loop.models)
            log.info("%s: ready with %s", loop.task.name, versions)
