"""A join of one partition, fed by hand; what it gives as short texts that a table of cases can hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from infra.store.rocks import RocksStore
from schemas import Dictionary, Number
from schemas.codec import Codec
from schemas.records import Entry, Outcome, Position, Prediction, Punctuation, Value
from schemas.state import Payload
from streams.join.changelog import fill
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.outputs import Rejected
from streams.join.pending import Due, MemoryStore, StateStore
from streams.native.table import TableStore

RULES = JoinRules(
    horizon_ms=100, revision_horizon_ms=1000, early_horizon_ms=50, grace_ms=10, max_ahead_ms=300
)
CODEC = Codec("task", "binary", Dictionary(Number(name="x", unit="1")))
MEETS = (
    *("labelled", "late", "revised", "unavailable", "duplicate_outcome", "stale_revision"),
    *("outcome_before_request", "unknown_or_forgotten", "too_many_early"),
)
"""The counters of which each outcome is in exactly one, unless it still waits for its prediction."""


def unpack(_: str, payload: Payload) -> Prediction:
    assert isinstance(payload, Prediction)
    return payload


class Bench:
    """Records get their offsets in the order in which they come; what was committed is kept."""

    def __init__(self, rules: JoinRules = RULES, store: StateStore | TableStore | None = None) -> None:
        self.rules = rules
        self.store: StateStore | TableStore = store or MemoryStore()
        self.join = Join(rules, self.store, self.unpack, "task", 3)
        self.asked = 0
        self.reported = 0
        self.entries: list[Entry] = []
        self.rejected: list[Rejected] = []
        self._committed = (0, 0)

    def pack(self, prediction: Prediction) -> Payload:
        """The prediction as it is held."""
        return prediction

    def unpack(self, request_id: str, payload: Payload) -> Prediction:
        """What `pack` packed."""
        return unpack(request_id, payload)

    def ask(self, request_id: str, ts: int, arrived: int | None = None, x: float = 1.0) -> None:
        at = Position("predictions", 3, self.asked)
        self.asked += 1
        prediction = Prediction(request_id, ts, {"x": x}, ())
        payload = self.pack(prediction)
        self.join.prediction(request_id, ts, payload, at, ts if arrived is None else arrived)

    def report(
        self,
        request_id: str,
        ts: int,
        value: Value = True,
        revision: int | None = None,
        arrived: int | None = None,
    ) -> None:
        reason = "lost" if value is None else None
        outcome = Outcome(request_id, ts, value, revision, reason)
        self.join.outcome(outcome, self._outcome_at(), ts if arrived is None else arrived)

    def punctuate(self, ts: int) -> None:
        self.join.punctuation(Punctuation(ts), self._outcome_at())

    def idle(self, stream_time: int) -> None:
        for _ in self.join.idle_steps(stream_time):
            pass

    def _outcome_at(self) -> Position:
        self.reported += 1
        return Position("outcomes", 3, self.reported - 1)

    # ------------------------------------------------------------------ batches

    def commit(self) -> None:
        self.entries += self.join.out.entries
        self.rejected += self.join.out.rejected
        self._committed = (self.asked, self.reported)
        self.join.commit(self.join.position(*self._committed))

    def rollback(self) -> None:
        self.asked, self.reported = self._committed
        self.join.rollback()

    def restart(self) -> None:
        """Go on from what was committed, in a process that knows nothing else."""
        position = self.join.position(*self._committed)
        self.store = self.reopened()
        self.join = Join(self.rules, self.store, self.unpack, "task", 3, position)

    def reopened(self) -> StateStore:
        """What a process finds that knows nothing but the changelog."""
        store = MemoryStore()
        fill(store, self.rules, [*self.store.items()])
        return store

    # ------------------------------------------------------------------ what came out

    @property
    def facts(self) -> list[str]:
        """Each entry as `kind request@ts value`."""
        return [fact(entry) for entry in [*self.entries, *self.join.out.entries]]

    @property
    def rejections(self) -> list[str]:
        """Each rejected record as `reason topic@offset`."""
        return [
            f"{each.reason} {each.at.topic}@{each.at.offset}"
            for each in [*self.rejected, *self.join.out.rejected]
        ]

    @property
    def counters(self) -> dict[str, int]:
        return {name: count for name, count in sorted(self.join.counters.items()) if count}

    def pending(self) -> dict[str, Any]:
        """All that is held, with the changes of the batch at work."""
        changed = self.join.out.changes.states
        both = dict(self.store.items()) | changed
        return {request_id: state for request_id, state in both.items() if state is not None}

    def due(self) -> list[Due]:
        """The due index, with the changes of the batch at work."""
        changes = self.join._pending.changes
        kept = [due for due in self.store.due() if due not in changes.dropped]
        assert kept == sorted(kept)
        return sorted([*kept, *changes.added])

    def state(self) -> tuple[Any, ...]:
        """All that the join goes on from."""
        join = self.join
        return (
            join.stream_time,
            Counter(join.counters),
            join.waiting,
            join.most_waiting,
            self.pending(),
            self.due(),
            list(join.out.entries),
            list(join.out.rejected),
        )

    def unaccounted(self) -> int:
        """Outcomes that are in no counter; negative when one is in two."""
        early = sum(len(state.early) for state in self.pending().values())
        return self.join.counters["outcomes"] - sum(self.join.counters[name] for name in MEETS) - early


def fact(entry: Entry) -> str:
    if entry.prediction is None:
        return f"{entry.kind} @{entry.ts}"
    text = f"{entry.kind} {entry.prediction.request_id}@{entry.ts}"
    if entry.outcome is not None:
        text += f" {entry.outcome.value}"
    return f"{text} by {entry.late_by}" if entry.late_by else text


class PackedBench(Bench):
    """A bench whose join holds predictions as bytes, as on Kafka."""

    def pack(self, prediction: Prediction) -> Payload:
        return CODEC.held.take(prediction.request_id, CODEC.encode(prediction))

    def unpack(self, request_id: str, payload: Payload) -> Prediction:
        assert isinstance(payload, bytes)
        return CODEC.held.read(request_id, payload)


class DiskBench(PackedBench):
    """A bench whose state lies in a folder; a restart opens that again."""

    def __init__(self, folder: Path, rules: JoinRules = RULES) -> None:
        self._folder = folder
        super().__init__(rules, RocksStore(folder, CODEC))

    def reopened(self) -> StateStore:
        self.store.close()
        return RocksStore(self._folder, CODEC)


Step = Callable[[Bench], None]


def ask(request_id: str, ts: int, **more: Any) -> Step:
    return lambda bench: bench.ask(request_id, ts, **more)


def report(request_id: str, ts: int, value: Value = True, revision: int | None = None, **more: Any) -> Step:
    return lambda bench: bench.report(request_id, ts, value, revision, **more)


def idle(stream_time: int) -> Step:
    return lambda bench: bench.idle(stream_time)


def punctuate(ts: int) -> Step:
    return lambda bench: bench.punctuate(ts)


def played(steps: Iterable[Step], rules: JoinRules = RULES) -> Bench:
    """Play steps in one batch, without committing."""
    bench = Bench(rules)
    for step in steps:
        step(bench)
    return bench
