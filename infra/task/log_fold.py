"""The one reader of a task's log: it folds the models, from which the worker serves, and whoever listens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import Message

from infra.kafka.log import LogReader
from infra.past import learn
from infra.snapshots.models import LogPlace, restore
from infra.snapshots.store import SnapshotStore
from infra.task.context import TaskContext
from infra.task.fact_runs import FactRuns, measure_freshness
from infra.task.gate_state import make_gate, restore_gate
from infra.task.model_readiness import ModelReadiness
from infra.task.other_revisions import OtherRevisions
from infra.task.readiness import Readiness
from infra.task.resume import Resume
from infra.task.statistics import Statistics
from infra.trusted import places, unreadable_entry
from infra.turns import Long, Turns
from schemas.errors import BadRecord, RecordsGone
from schemas.escaped import harmless
from schemas.records import Command, Entry, Features
from streams.model import ModelFold
from streams.revisions import ROLLBACK

RECENT: Final = 20
NEAR: Final = 500
"""Maximum lag, in entries, at which the models count as near to the log."""
PATIENCE_S: Final = 0.25
log = logging.getLogger(__name__)


class LogFold:
    """Folds the models of one task, entry by entry, from the newest good snapshot on.

    Parameters
    ----------
    readiness
        Set while the models may answer.
    skip
        The setting: records of the log that are no entries and are skipped.
    """

    def __init__(
        self,
        context: TaskContext,
        models: Sequence[ModelFold],
        readiness: Readiness,
        resume: Resume,
        statistics: Statistics,
        turns: Turns,
        store: SnapshotStore,
        skip: str = "",
    ) -> None:
        self.context, self.models, self.store = context, models, store
        self.readiness, self.statistics, self.turns, self._resume = readiness, statistics, turns, resume
        for fold in self.models:
            fold.learner.puts_off = True
        self._skip = places(skip)
        self._why = [fold.learner.pipeline.why for fold in self.models]
        self.lock = asyncio.Lock()
        """Held while the folds move: between two entries they are all at `next_offset`."""
        self.next_offset = 0
        self.listener: Callable[[int, Entry | None], None] | None = None
        """Takes each entry right after the models, with its offset; None in place of one that is skipped."""
        self.many: Callable[[Any, int, int, Sequence[int]], int] | None = None
        """Takes entries of a run that was scanned in place of `listener`, from one of them on; gives how many."""
        self._runs = FactRuns(context, self.models)
        self.gate = make_gate(context.task)
        """Takes each entry after the models."""
        self.moved: list[Callable[[], None]] = []
        """Called when the folds have moved, or have caught up."""
        self.recent: deque[Features] = deque(maxlen=RECENT)
        """Features of the newest examples, for snapshots' probes."""
        self.reader: LogReader | None = None
        self.parents: dict[str, str] = {}
        """By model: the newest snapshot that its state goes on from."""
        self.place = LogPlace(context.topics.log, context.log_topic_id)
        self.others = OtherRevisions(context, store, self.place, readiness, self.read)
        for fold in self.models:
            self.others.past.serve(fold)
        self.answering = ModelReadiness(context.task.name, models, readiness, self._position)
        """Whether the models may answer."""
        self.failed = False
        """Whether folding ended with an error: no snapshot is taken of what it left."""

    async def run(self) -> None:
        """Fold from the newest snapshot on, for ever."""
        await self.readiness.open.wait()
        try:
            start = await asyncio.get_running_loop().run_in_executor(None, self.restore)
            self.answering.warming.begin(start)
            async with LogReader(self.context.connection, self.context.topics.log, 0, start) as reader:
                self.reader = reader
                self.answering.progress()
                async for batch in reader:
                    await self.apply(batch.messages)
                    self.answering.check(caught_up=batch.caught_up)
                    for notify in self.moved:
                        notify()
        except RecordsGone as gone:
            self.readiness.reject("log", str(gone))

    def restore(self) -> int:
        """Restore the models; gives the offset at which to go on reading (blocks)."""
        for fold in self.models:
            started = time.monotonic()
            manifest = restore(fold, self.store, self.place, self.context.loaded.classes)
            if manifest is None:
                log.info(
                    "%s: %s is folded from the beginning of the log", self.context.task.name, fold.model.name
                )
            else:
                self.parents[fold.model.name] = manifest.version
                log.info(
                    "%s: %s restored from its snapshot in %.2f s, continues at log offset %d",
                    self.context.task.name,
                    manifest.version,
                    time.monotonic() - started,
                    fold.next_offset,
                )
        oldest = min(self.models, key=lambda fold: fold.next_offset)
        self.next_offset = self._resume.start_of(self.context.topics.log, oldest.next_offset)
        if self.gate is not None:
            about = (self.store, self.context, self.place, self._resume)
            self.next_offset = restore_gate(self.gate, oldest.roles, self.next_offset, *about)
        return self.next_offset

    def _position(self) -> tuple[int, int]:
        return self.next_offset, -1 if self.reader is None else self.reader.end

    async def near(self) -> None:
        """Wait a moment for the models to come near to the log.

        Serving and joining share the processor with learning. Under a load that is too high for all three they
        give way, so that requests wait before they are scored, and not labels before they are learned.
        """
        until = time.monotonic() + PATIENCE_S
        while self._is_behind() and time.monotonic() < until:  # noqa: ASYNC110  the reader sets no event
            await asyncio.sleep(0.005)

    def _is_behind(self) -> bool:
        return self.reader is not None and self.reader.waiting > NEAR

    # ------------------------------------------------------------------ the fold

    def read(self, message: Message) -> Entry | None:
        """Return the entry that a record of the log carries; None where a person has said to skip it.

        Raises
        ------
        Unreadable
            It carries none.
        """
        try:
            return self.context.codec.decode_entry(message.value())
        except BadRecord as bad:
            if (message.topic(), message.offset()) in self._skip:
                return None
            raise unreadable_entry(message, bad) from bad

    async def apply(self, messages: Sequence[Message]) -> None:
        """Fold a batch of the log's records."""
        try:
            async with self.lock:
                await self.turns.run(self._steps(messages))
        except Exception:
            self.failed = True
            raise
        self._core()
        async with self.readiness.progress:
            self.readiness.progress.notify_all()

    def _core(self) -> None:
        """Log it once when a model no longer learns in the native core."""
        for number, fold in enumerate(self.models):
            why = fold.learner.pipeline.why
            if why != self._why[number]:
                self._why[number] = why
                log.warning(
                    "%s: %s learns in Python from now on: %s", self.context.task.name, fold.model.name, why
                )

    def _steps(self, messages: Sequence[Message]) -> Iterator[Long | None]:
        """Fold records one by one; a step that takes a model long has ended before anybody else uses the model."""
        yield from self._catch_up()
        batch, at = self._runs.batch(messages), 0
        while at < len(messages):
            taken = self._runs.take(self, batch, at)
            if not taken:
                entry = self.read(messages[at])
                if entry is not None and entry.command is not None:
                    yield Long(partial(self._one, messages[at], entry))  # a command may copy a state
                else:
                    self._one(messages[at], entry)
            at += taken or 1
            yield from self._catch_up()
            yield None

    def _catch_up(self) -> Iterator[Long]:
        lagging = [(fold, fold.learner.skipped) for fold in self._all if fold.learner.is_behind]
        if not lagging:
            return

        def catch_up() -> None:
            for fold, _ in lagging:
                fold.learner.catch_up()

        # All in one step: between two of them somebody might ask a model that is in the middle of an entry.
        yield Long(catch_up)
        for fold, before in lagging:
            if fold.learner.skipped > before and fold in self.models:
                self._log_skipped(fold)

    def _one(self, message: Message, entry: Entry | None) -> None:
        offset = message.offset()
        assert offset is not None
        if entry is None:
            self.statistics.counts["entries_skipped"] += 1
            log.warning(
                "%s: %s@%d is skipped, as set", self.context.task.name, self.context.topics.log, offset
            )
        else:
            self._models(offset, message, entry)
        if self.listener is not None:
            self.listener(offset, entry)
        self.next_offset = offset + 1

    def _models(self, offset: int, message: Message, entry: Entry) -> None:
        if entry.command is None:
            for fold in self.models:
                before = fold.learner.skipped
                fold.apply(offset, entry)
                if fold.learner.skipped > before:
                    self._log_skipped(fold)
            for aside in self.others.folds.values():
                aside.apply(offset, entry)
        else:
            self._command(offset, message, entry, entry.command)
        if self.gate is not None:
            self.gate.apply(offset, entry)
        if entry.prediction is not None:
            self.recent.append(entry.prediction.features)
            self._freshness(entry, message.timestamp()[1])
        elif entry.kind == "time" and entry.trigger is not None:
            self.statistics.completed[entry.trigger.partition] = entry.trigger.offset
        self.statistics.counts["entries"] += 1
        if self.answering.caught_up:  # what a restart reads again is no growth
            self.statistics.counts["log_bytes"] += len(message.value() or b"") + len(message.key() or b"")

    def learn_now(self, fold: ModelFold, offset: int, message: Message) -> None:
        """Let a model learn an entry that its kernel leaves to River; a failure is undone before this returns."""
        before, entry = fold.learner.skipped, self.read(message)
        if entry is not None:
            fold.apply(offset, entry)
        if fold.learner.is_behind:
            fold.learner.catch_up()
        if fold.learner.skipped > before:
            self._log_skipped(fold)

    def _log_skipped(self, fold: ModelFold) -> None:
        """Log what a model has just skipped, unless a restart reads it again."""
        task, name, learner = self.context.task.name, fold.model.name, fold.learner
        newest = learner.newest[-1]
        if self.answering.caught_up:
            log.warning(
                "%s: %s skips log offset %d, request %s: %s",
                *(task, name, newest.offset, harmless(newest.request_id), newest.exception),
            )
        if learner.stopped is not None:
            log.error(
                "%s: %s stops learning at log offset %d: %s",
                *(task, name, learner.stopped.offset, learner.stopped.why),
            )

    def _command(self, offset: int, message: Message, entry: Entry, command: Command) -> None:
        try:
            learn(self.context.codec, command)
            for fold in self._all:
                fold.apply(offset, entry)
            if command.name == "revision" and ROLLBACK in command.arguments:
                for fold in self.models:
                    self.others.take_over(fold, offset, command, self.parents)
        except (BadRecord, KeyError, ValueError) as error:
            bad = BadRecord(
                "malformed", f"the command {command.name} of {command.model!r:.60}: {error!r:.200}"
            )
            raise unreadable_entry(message, bad) from error

    @property
    def _all(self) -> list[ModelFold]:
        return [*self.models, *self.others.folds.values()]

    def _freshness(self, entry: Entry, logged: int) -> None:
        """Measure how fresh an entry is; `logged` is when it came to lie in the log (ms)."""
        if entry.arrived is not None and self.readiness.ready.is_set():
            measure_freshness(self.statistics, {(entry.arrived, logged): 1})
