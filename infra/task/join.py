"""The join agent: predictions and outcomes in, facts for the training log out, one transaction per batch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from infra.inbound import SERVED, Inbound
from infra.kafka.offsets import end_offsets
from infra.kafka.transaction import OutRecord, out_record
from infra.store.restore import JoinStores
from infra.task.context import TaskContext
from infra.task.forwarding import Forwarding
from infra.task.join_partition import JoinPartition
from infra.task.resume import Resume
from infra.task.runs import runs
from infra.task.serve import dead_letter
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from schemas.errors import BadRecord, BrokerError, TransactionAborted
from schemas.records import DeadLetter, Position, Prediction, Punctuation
from schemas.state import POSITION_KEY
from streams.join.changelog import records
from streams.join.join import RUN, Join
from streams.join.outputs import Rejected
from streams.metrics.waiting import counter_of

REPORT_S: Final = 60.0
"""Time between two entries about a join's progress, even when nothing is resolved or falls due."""
NOTE_S: Final = 5.0
"""Time between two notes of how much of the changelog the stores on disk hold: a restart reads it from there."""
log = logging.getLogger(__name__)


class JoinAgent:
    """The joins of the partitions that are assigned to this worker.

    Parameters
    ----------
    resume
        Finds where a join goes on.
    stores
        Keep the state of the joins.
    """

    def __init__(
        self,
        context: TaskContext,
        current: CurrentTopics,
        resume: Resume,
        statistics: Statistics,
        stores: JoinStores,
    ) -> None:
        self.context, self.current, self.statistics = context, current, statistics
        self._resume, self._stores, self.rules = resume, stores, stores.rules
        self._noted_at = time.monotonic()
        self._forwarding = Forwarding(context, current, statistics)
        self.partitions: dict[int, JoinPartition] = {}
        self._items: dict[Position, Inbound] = {}
        """The batch at work, by place."""
        self.dead_letters: Counter[str] = Counter()  # of the batch at work, by reason

    # ------------------------------------------------------------------ state

    def restored(self, partition: int) -> JoinPartition:
        """Rebuild a partition's join from its changelog (blocks); give it a place in `partitions` to use it.

        Waits until no transaction is open on it: an earlier owner's last batch is then committed or aborted.

        Raises
        ------
        RecordsGone
            The changelog does not hold the state of what was read, or the inputs what is to be read next.
        BrokerError
            The cluster does not answer.
        """
        started = time.monotonic()
        store = self._stores.restored(partition)
        try:
            position = self._resume.join_start(partition, store.position())
        except BaseException:
            store.close()
            raise
        unpack = self.context.codec.held.to_write  # read, and so checked, when it was taken
        join = Join(self.rules, store, unpack, self.context.task.name, partition, position)
        topics, took = self.context.topics, (partition, join.waiting, time.monotonic() - started)
        log.info("%s: join of partition %d restored: %d waiting, in %.2f s", self.context.task.name, *took)
        ids = (self.current.stamps.get(topics.predictions, ""), self.current.stamps.get(topics.outcomes, ""))
        return JoinPartition(join, topics, position, ids)

    def forget(self, partition: int) -> None:
        """Drop a partition that is no longer ours."""
        if (at := self.partitions.pop(partition, None)) is not None:
            at.join.store.close()

    def discard(self, state: JoinPartition) -> None:
        """Let go of a restored join that is not to be used."""
        state.join.store.close()

    async def checkpoint(self, *, now: bool = False) -> None:
        """Note how much of the changelog the stores on disk hold, now or now and then; no batch may be at work."""
        if not self._stores.on_disk:
            return
        if not now and time.monotonic() < self._noted_at + NOTE_S:
            return
        self._noted_at = time.monotonic()
        states = {(self.context.topics.join_state, number): at for number, at in self.partitions.items()}
        try:
            ends = await asyncio.get_running_loop().run_in_executor(
                None, end_offsets, self.context.connection, list(states)
            )
        except BrokerError as error:
            name = self.context.task.name
            log.warning("%s: the progress of the join's state cannot be noted: %s", name, error)
            return
        for place, at in states.items():
            if self.partitions.get(place[1]) is at:
                self._stores.note(at.join.store, ends[place])

    # ------------------------------------------------------------------ a batch

    def steps(self, items: Iterable[Inbound], numbers: Iterable[int]) -> Iterator[list[OutRecord]]:
        """Take a batch's records; gives all that its transaction writes, step by step.

        Nothing comes after each record, and after each request that it lets fall due: a place where the event loop
        may do something else.

        Parameters
        ----------
        numbers
            Of the partitions that they are of.

        Raises
        ------
        TransactionAborted
            A partition of the batch was given up, or restored, meanwhile.
        """
        count = self.context.partitions  # those beyond have no join
        mine = {number: self.partitions.get(number) for number in numbers if number < count}
        text = f"{self.context.task.name}: a partition of the batch was given up while it was joined"
        if None in mine.values():
            raise TransactionAborted(text, certain=True)
        for step in self._steps(items):
            yield step
            if any(self.partitions.get(number) is not at for number, at in mine.items()):
                raise TransactionAborted(text, certain=True)

    def _steps(self, items: Iterable[Inbound]) -> Iterator[list[OutRecord]]:
        self._items = {}
        self.dead_letters.clear()  # of a batch that was not committed
        written: list[OutRecord] = []
        numbers: set[int] = set()
        for number, run in runs(items):
            at = self.partitions.get(number)
            if at is not None:
                numbers.add(number)
            if at is None or run[0].scanned is None or not at.join.takes_scanned:
                for item in run:
                    yield from self._one(number, item, written)
                continue
            scanned, start = [item.scanned for item in run], 0
            while start < len(run):
                start += at.take(scanned, start)
                yield []
                if start < len(run):
                    yield from self._one(number, run[start], written)
                    start += 1
        yield written
        for number in numbers:
            yield from self.outputs(number)

    def _one(self, number: int, item: Inbound, written: list[OutRecord]) -> Iterator[list[OutRecord]]:
        """Take one record by what it says; adds what is to be written for it to count elsewhere."""
        try:
            for step in self._take(item):
                if step is None:
                    yield []
                else:
                    written.append(step)
        except BadRecord as bad:
            written.append(dead_letter(self.context, item, bad, self.dead_letters))
        if (at := self.partitions.get(number)) is not None:
            at.taken(item.message.topic() or "", item.message.offset() or 0)
        yield []

    def _take(self, item: Inbound) -> Iterator[OutRecord | None]:
        """Take a record; gives what is to be written for it to count elsewhere, and None between steps.

        Raises
        ------
        BadRecord
            It cannot be used.
        """
        record, message = item.record, item.message
        number = item.partition
        further = number >= self.context.partitions  # a service may have more partitions than there are joins
        if not further and self.partitions[number].has_taken(message.topic() or "", message.offset() or 0):
            return
        if item.bad is not None:
            # Not raised: its traceback would hold this frame, and with it the whole batch.
            yield dead_letter(self.context, item, item.bad, self.dead_letters)
            return
        if further:
            yield self._forwarding.from_further(item)
            return
        self._items[item.at], at = item, self.partitions[number]
        if isinstance(record, Prediction):
            yield from self._prediction(at, record, item)
        elif isinstance(record, Punctuation):
            at.join.punctuation(record, item.at)
        elif (right := self._forwarding.right_place(number, record, item, at.join)) != number:
            yield self._forwarding.forward(record, item, right)
        else:
            at.join.outcome(record, item.at, item.arrived)

    def _prediction(self, at: JoinPartition, prediction: Prediction, item: Inbound) -> Iterator[None]:
        payload = item.value
        if item.header(SERVED) is None:
            # From outside: checked and stored like a request.
            prediction = self.context.codec.protection.served(prediction)
            payload = self.context.codec.encode(prediction)
        name, ts, counter = prediction.request_id, prediction.ts, counter_of(prediction)
        held = self.context.codec.held.take(name, payload)
        yield from at.join.prediction_steps(name, ts, held, item.at, item.arrived, counter)
        at.quiet_since, at.quiet_from = time.monotonic(), at.join.stream_time

    def outputs(self, number: int) -> Iterator[list[OutRecord]]:
        """Return what a batch, or an idle advance, writes of a partition, step by step."""
        records = self._outputs(number)
        while step := [*islice(records, RUN)]:
            yield step

    def _outputs(self, number: int) -> Iterator[OutRecord]:
        at = self.partitions[number]
        topics, codec, out = self.context.topics, self.context.codec, at.join.out
        self._report_progress(at)
        for entry in out.entries:
            yield out_record((topics.log, None, codec.encode(entry), 0, None))
        for rejected in out.rejected:
            yield self._rejected(rejected)
        for name, state in records(out.changes):
            value = codec.encode(state) if state is not None and not isinstance(state, bytes) else state
            yield out_record((topics.join_state, name, value, number, None))
        yield OutRecord(topics.join_state, POSITION_KEY, codec.encode(at.position()), number)

    def _report_progress(self, at: JoinPartition) -> None:
        """Write the join's counters into the log: with the batch's last entry, or now and then without one."""
        join, now = at.join, time.monotonic()
        silent = not join.out.entries and not self.rules.lockstep
        if silent and now - at.reported_at > REPORT_S and join.stream_time > at.reported:
            join.report_progress()
        if join.out.entries:
            at.reported_at, at.reported = now, join.stream_time
            join.stamp()

    def _rejected(self, rejected: Rejected) -> OutRecord:
        early, item = rejected.early, self._items.get(rejected.at)
        if early is None or item is not None:
            at_work, bad = item or self._items[rejected.at], BadRecord(rejected.reason, rejected.message)
            return dead_letter(self.context, at_work, bad, self.dead_letters)
        # It was read in an earlier batch, so its bytes are gone; what it said is written again.
        outcome = early.outcome
        self.dead_letters[rejected.reason] += 1
        key, value = outcome.request_id.encode(), self.context.codec.encode(outcome)
        about = (early.at, key, value, early.arrived, outcome.reporter)
        value = self.context.codec.encode(DeadLetter(rejected.reason, rejected.message, "", *about))
        return OutRecord(self.context.topics.dead_letters, key, value)

    # ------------------------------------------------------------------ the end of a batch

    def commit(self) -> None:
        """Make the batch's changes the state: its transaction has committed."""
        for at in self.partitions.values():
            self.statistics.counts["resolved"] += len(at.join.out.entries)
            at.commit()
        self._items = {}
        self.statistics.count_dead_letters(self.dead_letters)

    def rollback(self, partitions: Iterable[int]) -> None:
        """Drop what a batch has changed in partitions: its transaction is known not to have committed."""
        for number in partitions:
            if (at := self.partitions.get(number)) is not None:
                at.rollback()
