"""Histories of runs made in memory: the real join on several partitions, each at its own pace."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from schemas.codec import Codec
from schemas.dictionary import Boolean, Dictionary, Number
from schemas.errors import BadRecord
from schemas.records import DeadLetter, Entry, Outcome, Position, Prediction, Request
from schemas.state import JoinPosition, JoinRecord
from streams.driver import unpacked
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.merge import MergeByTime
from streams.join.pending import MemoryStore
from tests.faults.check.check import Check
from tests.faults.check.findings import Findings
from tests.faults.workload.plan import SentRecord, Step
from tests.faults.workload.workload import Workload

FEATURES = Dictionary(Number(name="amount", unit="EUR", low=0, high=10), Boolean(name="new"))
CODEC = Codec("faults", "binary", FEATURES)


def rules(horizon_s: int = 120) -> JoinRules:
    def ms(**span: int) -> int:
        return timedelta(**span) // timedelta(milliseconds=1)

    return JoinRules(
        horizon_ms=ms(seconds=horizon_s),
        revision_horizon_ms=ms(seconds=60),
        early_horizon_ms=ms(seconds=60),
        grace_ms=ms(seconds=240),
        max_ahead_ms=ms(minutes=5),
        tolerance_ms=ms(seconds=2),
    )


def workload(seed: int, count: int, partitions: int = 1, horizon_s: int = 120) -> Workload:
    closing = tuple(f"end-{number}" for number in range(partitions))
    return Workload(seed, count, FEATURES, "binary", rules(horizon_s), closing)


@dataclass
class Timed:
    ts: int
    at: Position
    record: Prediction | Outcome
    arrived: float = 0.0


@dataclass
class History:
    """The records on the topics after a run."""

    workload: Workload
    predictions: list[tuple[Prediction, Position]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    states: list[tuple[dict[str, JoinRecord], JoinPosition]] = field(default_factory=list)
    fault_steps: dict[str, tuple[Step, ...]] = field(default_factory=dict)

    def check(self) -> Findings:
        """Check it as a run is checked."""
        check = Check(self.workload, fault_steps=self.fault_steps)
        for prediction, at in self.predictions:
            check.prediction(prediction, at)
        for offset, entry in enumerate(self.entries):
            check.entry(offset, entry)
        for dead_letter in self.dead_letters:
            check.dead_letter(dead_letter)
        for partition, (pending, position) in enumerate(self.states):
            check.state(partition, pending, position)
        return check.finish()


class World:
    """Sends a workload to joins in memory, which lag, cut batches and abort at random."""

    def __init__(self, load: Workload, partitions: int, seed: int) -> None:
        self.history = History(load)
        self.chance = random.Random(seed)
        self.partitions = partitions
        self.stores = [MemoryStore() for _ in range(partitions)]
        self.joins = [
            Join(load.rules, store, unpacked, "faults", number) for number, store in enumerate(self.stores)
        ]
        self.merges = [MergeByTime("outcomes", "predictions") for _ in range(partitions)]
        self.offsets: dict[tuple[str, int], int] = {}
        self.buffers: dict[tuple[str, int], deque[Timed]] = {
            (topic, number): deque() for topic in ("predictions", "outcomes") for number in range(partitions)
        }

    def run(self, block: int = 20) -> History:
        for number, each in enumerate(self.history.workload.blocks(block)):
            for sent in (*each.outcomes, *each.requests):
                self.send(sent)
            for partition in range(self.partitions):
                # It lags, but only by a few blocks: the sender limits that.
                if number % 5 == 0 or self.chance.random() < 0.5:
                    self.join(partition)
        for partition in range(self.partitions):
            self.join(partition)
            pending = dict(self.stores[partition].items())
            self.history.states.append((pending, self.joins[partition].position(0, 0)))
        return self.history

    def send(self, sent: SentRecord) -> None:
        name = sent.key
        partition = int(name[4:]) if name.startswith("end-") else sum(name.encode()) % self.partitions
        at = self.place(sent.input, partition)
        record = sent.record
        if isinstance(record, bytes):
            try:
                (CODEC.decode_request if sent.input == "requests" else CODEC.decode_outcome)(record)
            except BadRecord as bad:
                self.dead_letter(bad.reason, name, at)
            else:
                raise AssertionError(f"{record!r} should be malformed")
        elif isinstance(record, Request):
            made = Prediction(record.request_id, record.ts, record.features, (), source=at)
            at = self.place("predictions", partition)
            self.history.predictions.append((made, at))
            self.buffers["predictions", partition].append(Timed(record.ts, at, made))
        else:
            self.buffers["outcomes", partition].append(Timed(record.ts, at, record))

    def dead_letter(self, reason: str, name: str, at: Position) -> None:
        self.history.dead_letters.append(DeadLetter(reason, "", "", at, name.encode(), b"", 0))

    def place(self, topic: str, partition: int) -> Position:
        offset = self.offsets[topic, partition] = self.offsets.get((topic, partition), -1) + 1
        return Position(topic, partition, offset)

    def join(self, number: int) -> None:
        join = self.joins[number]
        mine = {(topic, number): self.buffers[topic, number] for topic in ("predictions", "outcomes")}
        while batch := self.merges[number].pick(mine, lambda *_: True, self.chance.randrange(1, 60)):
            if self.chance.random() < 0.1:  # an aborted transaction, repeated
                self.take(join, batch)
                join.rollback()
            self.take(join, batch)
            self.history.entries += join.out.entries
            for rejected in join.out.rejected:
                at = rejected.at
                name = self.names[at]
                self.dead_letter(rejected.reason, name, at)
            join.commit()

    def take(self, join: Join, batch: list[Timed]) -> None:
        self.names = getattr(self, "names", {})
        for each in batch:
            record = each.record
            self.names[each.at] = record.request_id
            if isinstance(record, Prediction):
                join.prediction(record.request_id, record.ts, record, each.at, each.ts)
            else:
                join.outcome(record, each.at, each.ts)
