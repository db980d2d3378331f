"""The join of one partition: predictions and outcomes in, facts about requests out.

Every row of the table in docs/concepts/join.md is one branch here, and every branch counts. The kind of a
resolution is decided by event time: an outcome with `ts` up to the deadline is in time, wherever a batch was
cut. Nothing is read from a clock: time moves by the predictions taken, by an idle advance that the caller
measures, or in lockstep by punctuations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from schemas.errors import BadRecord
from schemas.records import Entry, Kind, LateBy, Outcome, Position, Prediction, Punctuation
from schemas.state import EarlyOutcome, JoinPosition, JoinRecord, Payload, Resolution
from schemas.written import WrittenEntry
from streams.join.join_rules import JoinRules
from streams.join.outputs import Outputs, Rejected
from streams.join.overlay import overlay_of
from streams.join.pending import Due, StateStore, early_size
from streams.native.table import TableOverlay, TableStore

MAX_EARLY: Final = 100
"""Outcomes of one request that wait for its prediction: one noisy id must not outgrow a record."""
MAX_COUNTERS: Final = 1_000
"""Counters by name: a prediction from outside names its model itself."""
RUN: Final = 256
"""Records that the native table takes at once, at most."""
LAST: Final = 2**63
"""After every offset."""


class Join:
    """The join of one partition of a task.

    Parameters
    ----------
    store
        Committed state; changed by `commit` only.
    unpack
        Gives the prediction of a request id that a payload holds.
    task, partition
        For the ids of entries that no record triggers.
    position
        Where to go on; None at the beginning.
    """

    def __init__(
        self,
        rules: JoinRules,
        store: StateStore | TableStore,
        unpack: Callable[[str, Payload], Prediction],
        task: str,
        partition: int,
        position: JoinPosition | None = None,
    ) -> None:
        self.rules, self._times = rules, rules.times
        self.store = store
        self._unpack = unpack
        self._task, self.partition = task, partition
        start = position or JoinPosition(None, 0, 0)
        self.stream_time = -1 if start.stream_time is None else start.stream_time
        self.counters: Counter[str] = Counter(start.counters)
        self._pending = overlay_of(store, rules)
        self.most_waiting = self.waiting
        """At once, since this join was made."""
        self._committed = (self.stream_time, Counter(self.counters), self.most_waiting)
        self._begin_batch()

    # ------------------------------------------------------------------ batches

    def commit(self, position: JoinPosition | None = None) -> None:
        """Make the batch's changes the state: after its transaction has committed, never before.

        Parameters
        ----------
        position
            What the transaction wrote as the progress; a store that outlives the process keeps it.
        """
        self._pending.commit(position)
        self._committed = (self.stream_time, Counter(self.counters), self.most_waiting)
        self._begin_batch()

    def rollback(self) -> None:
        """Drop the batch: its transaction is known not to have committed."""
        self._pending.rollback()
        self.stream_time, counters, self.most_waiting = self._committed
        self.counters = Counter(counters)
        self._begin_batch()

    def _begin_batch(self) -> None:
        self.out = Outputs(changes=self._pending.changes)

    @property
    def waiting(self) -> int:
        """How many requests wait, with the batch at work."""
        return self._pending.waiting

    def position(self, predictions: int, outcomes: int) -> JoinPosition:
        """Give the progress to be written with the batch, with the next offsets of both inputs."""
        stream_time = None if self.stream_time < 0 else self.stream_time
        return JoinPosition(stream_time, predictions, outcomes, dict(self.counters))

    def report_progress(self) -> None:
        """Add an entry with the progress of the join, for a batch that has none.

        Else a dead feed of outcomes would be silent in the log, until the first deadlines pass.
        """
        self._begin_idle(self.stream_time)
        self.out.emit("time", self.stream_time, partition=self.partition)

    def stamp(self) -> None:
        """Write the counters into the batch's last entry, where there is one: see `Entry.progress`."""
        entries = self.out.entries
        if entries:
            entries[-1] = _stamped(entries[-1], self.partition, self.progress())

    def progress(self) -> dict[str, int]:
        """Give the counters, how many requests wait, since when, and stream time."""
        fields = dict(sorted(self.counters.items())) | {"waiting": self.waiting}
        if self.stream_time >= 0:
            fields["stream_time"] = self.stream_time
        oldest = self.oldest_waiting()
        return fields if oldest is None else fields | {"oldest_waiting": oldest}

    def oldest_waiting(self) -> int | None:
        """Give the event time (ms) from which on requests wait, to the span of a cohort; None when none does."""
        return self._pending.oldest

    def is_due(self, stream_time: int) -> bool:
        """Whether advancing to a stream time may resolve or forget anything."""
        due = self._pending.first_due()
        return due is not None and due[0] < stream_time - self.rules.grace_ms

    def knows(self, request_id: str) -> bool:
        """Whether anything is held of a request id."""
        return self._pending.get(request_id) is not None

    # ------------------------------------------------------------------ inputs

    @property
    def takes_scanned(self) -> bool:
        """Whether `take` may take anything."""
        simple = not self.rules.lockstep and not self.rules.opened
        return simple and isinstance(self._pending, TableOverlay)

    def take(self, items: list[Any], start: int, predictions: int, outcomes: int) -> tuple[int, int, int]:
        """Take records that were scanned, as `prediction` and `outcome` take what they say.

        Parameters
        ----------
        items
            `Scanned` records, in order; at most `RUN`.
        start
            The first to take.
        predictions, outcomes
            The next offsets of both inputs.

        Returns
        -------
        tuple
            How many were taken, and the next offsets. The one behind them is to be taken by what it says.
        """
        pending = self._pending
        if not isinstance(pending, TableOverlay) or len(self.counters) + 2 * RUN > MAX_COUNTERS:
            return 0, predictions, outcomes
        took = pending.take(items, start, self.stream_time, self.most_waiting, predictions, outcomes)
        self.stream_time, self.most_waiting = took.stream_time, took.most_waiting
        for name, count in took.counters:
            self.counters[name] += count
        self.out.entries += took.entries
        return took.taken, took.predictions, took.outcomes

    def prediction(
        self, request_id: str, ts: int, payload: Payload, at: Position, arrived: int, counter: str = ""
    ) -> None:
        """Take a prediction.

        Parameters
        ----------
        request_id, ts
            Of the request.
        payload
            The prediction as it is to be held.
        at
            Where it lies.
        arrived
            Kafka's timestamp of it.
        counter
            A further counter that it raises when it is taken, of at most 1,000 in all; empty: none.
        """
        _exhaust(self.prediction_steps(request_id, ts, payload, at, arrived, counter))

    def prediction_steps(
        self, request_id: str, ts: int, payload: Payload, at: Position, arrived: int, counter: str = ""
    ) -> Iterator[None]:
        """Do as `prediction` does, one due request at a time; to the end, or `rollback` must follow."""
        self.out.begin(at, arrived)
        if self._impossible(ts, arrived, at):
            return
        yield from self._advance(ts)
        rules = self.rules
        pending = self._pending.get(request_id)
        if pending is not None and pending.status != "early":
            self.counters["duplicate_prediction"] += 1
            return
        if ts + rules.horizon_ms + rules.revision_horizon_ms < self.stream_time - rules.grace_ms:
            message = (
                f"the prediction is past its deadline and revision horizon at stream time {self.stream_time}"
            )
            self._reject("stale", message, at)
            return
        self.counters["predictions"] += 1
        if counter and (counter in self.counters or len(self.counters) < MAX_COUNTERS):
            self.counters[counter] += 1
        self._put(request_id, JoinRecord(at, ts, prediction=payload))
        if rules.opened:
            self.out.emit("opened", ts, self._unpack(request_id, payload), at)
        for early in pending.early if pending else ():
            self._outcome(early.outcome, early.at, early.arrived, early)
        if not rules.lockstep:
            yield from self._fire((self.stream_time - rules.grace_ms, -1, ""))

    def outcome(self, outcome: Outcome, at: Position, arrived: int) -> None:
        """Take an outcome."""
        self.out.begin(at, arrived)
        if self._impossible(outcome.ts, arrived, at):
            return
        self.counters["outcomes"] += 1
        if self.rules.lockstep:
            pending = self._pending.get(outcome.request_id)
            # Expiries due before it come first; at equal times the earlier request does.
            _exhaust(self._fire((outcome.ts, _offset(pending), "")))
        self._outcome(outcome, at, arrived)

    def punctuation(self, punctuation: Punctuation, at: Position) -> None:
        """Resolve all that is due at or before a punctuation; only in lockstep."""
        self.out.begin(at)
        if not self.rules.lockstep:
            self._reject("unexpected_punctuation", "punctuations are allowed in lockstep runs only", at)
            return
        self.stream_time = max(self.stream_time, punctuation.ts)
        _exhaust(self._fire((punctuation.ts, LAST, "")))
        self.out.emit("time", punctuation.ts, partition=at.partition)

    def idle_steps(self, stream_time: int) -> Iterator[None]:
        """Advance in silence, one due request at a time; to the end, or `rollback` must follow.

        The caller adds the time elapsed to the highest ts taken.
        """
        if stream_time <= self.stream_time:
            return
        self._begin_idle(stream_time)
        yield from self._advance(stream_time)
        self.out.emit("time", stream_time, partition=self.partition)

    def _begin_idle(self, stream_time: int) -> None:
        self.out.begin(Position(self._task, self.partition, stream_time), idle=True)

    # ------------------------------------------------------------------ the table

    def _outcome(
        self, outcome: Outcome, at: Position, arrived: int, early: EarlyOutcome | None = None
    ) -> None:
        pending = self._pending.get(outcome.request_id)
        if pending is None or pending.status == "early":
            self._early(pending, EarlyOutcome(outcome, at, arrived))
            return
        rules = self.rules
        assert pending.request_ts is not None
        deadline = pending.request_ts + rules.horizon_ms
        if outcome.ts < pending.request_ts - rules.tolerance_ms:
            message = f"the outcome's ts {outcome.ts} is before its request's, {pending.request_ts}"
            self._reject("outcome_before_request", message, at, early)
            return
        kind: Kind
        if pending.status == "waiting":
            if outcome.ts <= deadline:
                kind = "unavailable" if outcome.value is None else "labelled"
                self._resolve(kind, outcome.request_id, pending, outcome, at)
                return
            pending = self._expire(outcome.request_id, pending)
        if outcome.ts > deadline + rules.revision_horizon_ms:
            message = (
                f"the outcome arrived after its request was deleted at {deadline + rules.revision_horizon_ms}"
            )
            self._reject("unknown_or_forgotten", message, at, early)
            return
        assert pending.resolution is not None
        if pending.resolution.kind == "expired":
            kind = "unavailable" if outcome.value is None else "late"
            late_by: LateBy = "event_time" if outcome.ts > deadline else "arrival"
            self._resolve(kind, outcome.request_id, pending, outcome, at, late_by)
            return
        self._again(pending, pending.resolution, outcome, at)

    def _again(self, pending: JoinRecord, known: Resolution, outcome: Outcome, at: Position) -> None:
        assert pending.request_ts is not None
        equal = outcome.value == known.value and type(outcome.value) is type(known.value)
        if equal and outcome.revision == known.revision:
            self.counters["duplicate_outcome"] += 1
        elif not _newer(outcome, known, pending.request_ts):
            self.counters["stale_revision"] += 1
        else:
            kind: Kind = "unavailable" if outcome.value is None else "revised"
            self._resolve(kind, outcome.request_id, pending, outcome, at, known.late_by)

    def _early(self, pending: JoinRecord | None, early: EarlyOutcome) -> None:
        if self._lasts(early) < self.stream_time - self.rules.grace_ms:
            self._orphan(early)
            return
        known = pending.early if pending else ()
        message = ""
        budget = self.rules.early_budget_bytes
        if len(known) >= MAX_EARLY:
            message = f"{MAX_EARLY} outcomes of this request already wait for its prediction"
        elif self._pending.changes.early_bytes + early_size(early) > budget:
            message = f"outcomes without predictions fill their budget of {budget:,} bytes"
        if message:
            # The newcomer leaves, never one that was taken: predictions come in order, so those that have
            # waited longest are the next to be joined.
            self._reject("too_many_early", message, early.at, early)
            return
        self.counters["early"] += 1
        self._put(early.outcome.request_id, JoinRecord(early=(*known, early)))

    def _lasts(self, early: EarlyOutcome) -> int:
        return early.outcome.ts + self.rules.early_horizon_ms

    def _orphan(self, early: EarlyOutcome) -> None:
        message = f"no prediction of request {early.outcome.request_id!r:.80}"
        self._reject("unknown_or_forgotten", message, early.at, early)

    # ------------------------------------------------------------------ time

    def _impossible(self, ts: int, arrived: int, at: Position) -> bool:
        try:
            self._times.check(ts, arrived)
        except BadRecord as bad:
            self._reject(bad.reason, bad.message, at)
            return True
        return False

    def _advance(self, ts: int) -> Iterator[None]:
        if ts > self.stream_time:
            self.stream_time = ts
            if not self.rules.lockstep:
                yield from self._fire((ts - self.rules.grace_ms, -1, ""))

    def _fire(self, until: Due) -> Iterator[None]:
        while (due := self._pending.first_due()) is not None and due <= until:
            request_id = due[2]
            pending = self._pending.get(request_id)
            assert pending is not None, f"{due} is in the due index but not in the state"
            if pending.status == "waiting":
                self._expire(request_id, pending)
            elif pending.status == "closed":
                self.counters["forgotten"] += 1
                self._put(request_id, None)
            else:
                self._give_up(request_id, pending, due[0])
            yield

    def _give_up(self, request_id: str, pending: JoinRecord, until: int) -> None:
        # Each has its own time: an old one must not take along what came after it.
        over = [early for early in pending.early if self._lasts(early) <= until]
        for early in over:
            self._orphan(early)
        kept = tuple(early for early in pending.early if early not in over)
        self._put(request_id, replace(pending, early=kept) if kept else None)

    # ------------------------------------------------------------------ outputs

    def _put(self, request_id: str, state: JoinRecord | None) -> None:
        self._pending.put(request_id, state)
        self.most_waiting = max(self.most_waiting, self.waiting)

    def _reject(self, reason: str, message: str, at: Position, early: EarlyOutcome | None = None) -> None:
        self.counters[reason] += 1
        self.out.rejected.append(Rejected(reason, message, at, early))

    def _expire(self, request_id: str, pending: JoinRecord) -> JoinRecord:
        return self._resolve("expired", request_id, pending, None, None)

    def _resolve(
        self,
        kind: Kind,
        request_id: str,
        pending: JoinRecord,
        outcome: Outcome | None,
        outcome_at: Position | None,
        late_by: LateBy | None = None,
    ) -> JoinRecord:
        assert pending.prediction is not None
        assert pending.request_ts is not None
        ts = outcome.ts if outcome else pending.request_ts + self.rules.horizon_ms
        prediction = self._unpack(request_id, pending.prediction)
        number = self.out.emit(
            kind, ts, prediction, pending.prediction_at, outcome, outcome_at, before=pending, late_by=late_by
        )
        resolution = Resolution(self.out.cause, number, kind, late_by)
        if outcome:
            known = (outcome.value, outcome.revision, outcome.ts - pending.request_ts)
            resolution = Resolution(self.out.cause, number, kind, late_by, *known)
        closed = JoinRecord(
            pending.prediction_at, pending.request_ts, resolution, prediction=pending.prediction
        )
        self.counters[kind] += 1
        if kind == "late" and late_by == "arrival":
            self.counters["late_by_arrival"] += 1
        self._put(request_id, closed)
        return closed


def _stamped(entry: Entry, partition: int, progress: dict[str, int]) -> Entry:
    if isinstance(entry, WrittenEntry):
        return WrittenEntry(entry.head, partition, progress)
    return replace(entry, partition=partition, progress=progress)


def _exhaust(steps: Iterator[None]) -> None:
    for _ in steps:
        pass


def _offset(pending: JoinRecord | None) -> int:
    return pending.prediction_at.offset if pending and pending.prediction_at else -1


def _newer(outcome: Outcome, known: Resolution, request_ts: int) -> bool:
    if outcome.revision is not None:
        return known.revision is None or outcome.revision > known.revision
    return known.delay_ms is None or outcome.ts > request_ts + known.delay_ms
