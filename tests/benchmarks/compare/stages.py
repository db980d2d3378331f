"""Where the time of the pure core goes: each stage of the loop on the real functions, in memory, without Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from agents.settings import Settings
from infra.runtime import runtime_fingerprint
from schemas.codec import Codec
from schemas.records import Entry, Metric, Outcome, Position, Prediction, Request
from schemas.state import JoinRecord, Resolution
from streams.fold import Fold, Monitor
from streams.garbage import collect_seldom
from streams.join.changelog import records
from streams.join.join import Join
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore
from streams.model import ModelFold
from streams.monitors import monitors
from streams.quality.edge import EdgeCounter
from streams.quality.monitor import QualityMonitor
from streams.serve import Server
from tests.benchmarks.compare.load import requests_and_outcomes
from tests.benchmarks.compare.task import bench_task

T = TypeVar("T")
BATCH: Final = 1000


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage costs."""

    name: str
    says: str
    times: int
    """How often the loop does it for a pair of request and outcome."""
    us: float
    """Processor time of one (µs)."""
    monitoring: bool = False

    @property
    def us_per_event(self) -> float:
        """Its part in the processor time of an event, of which a pair has two (µs)."""
        return self.us * self.times / 2


class Core:
    """Runs the stages one after the other over the same pairs, and notes the time of each.

    Parameters
    ----------
    pairs
        Of request and outcome.
    """

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs
        self.task = bench_task("bench")
        self.codec = Codec(self.task.name, self.task.kind, self.task.features)
        self.stages: list[Stage] = []
        self.learned = 0
        """Examples, when it has run."""

    def _timed(self, name: str, says: str, times: int, work: Callable[[], Sequence[T]]) -> Sequence[T]:
        started = time.process_time()
        made = work()
        took = time.process_time() - started
        self.stages.append(Stage(name, says, times, took / self.pairs * 1e6))
        return made

    def run(self) -> list[Stage]:
        """Run them all; gives them in the order of the loop."""
        codec, task = self.codec, self.task
        given = list(requests_and_outcomes(self.pairs))
        questions = [codec.encode(request) for request, _ in given]
        truths = [codec.encode(outcome) for _, outcome in given]
        runtime = runtime_fingerprint()[0]
        model = ModelFold(task, task.models[0], runtime)
        server = Server(task, [model])
        model.apply(0, Entry("0", "command", 0, command=model.opening()))
        # A model that has learned: until then every prediction is made on a copy.
        first = server.predict(given[0][0])
        model.apply(1, Entry("1", "labelled", given[0][1].ts, prediction=first, outcome=given[0][1]))

        requests = self._timed(
            "decode request", "T.requests", 1, lambda: [codec.decode_request(each) for each in questions]
        )
        places = [Position(f"{task.name}.requests", 0, number) for number in range(self.pairs)]
        scored = self._timed(
            "predict",
            "River and the stamps",
            1,
            lambda: [server.predict(each, at) for each, at in zip(requests, places, strict=True)],
        )
        answers = self._timed(
            "encode prediction", "T.predictions", 1, lambda: [codec.encode(each) for each in scored]
        )
        predictions = self._timed(
            "decode prediction",
            "as the join reads it",
            1,
            lambda: [codec.decode_prediction(each) for each in answers],
        )
        outcomes = self._timed(
            "decode outcome", "T.outcomes", 1, lambda: [codec.decode_outcome(each) for each in truths]
        )
        joined: list[tuple[list[Entry], list[JoinRecord | Resolution]]] = []
        self._timed("join", "both sides", 1, lambda: self._join(predictions, answers, outcomes, joined))
        entries = [entry for batch, _ in joined for entry in batch]
        states = [state for _, batch in joined for state in batch]
        logged = self._timed("encode entry", "T.log", 1, lambda: [codec.encode(each) for each in entries])
        self._timed(
            "encode state",
            "T.join-state, all that a pair writes",
            1,
            lambda: [codec.encode(each) for each in states],
        )
        read = self._timed(
            "decode entry",
            "once, for the models and the log's owner",
            1,
            lambda: [codec.decode_entry(each) for each in logged],
        )
        self._timed("learn", "River", 1, lambda: self._fold(model, read))
        self.learned = model.learned
        watching = len(self.stages)
        folds = monitors(task)
        for fold in folds:
            says = "fold of the log's owner"
            self._timed(f"monitor {fold.name}", says, 1, lambda fold=fold: self._fold(fold, read))  # type: ignore[misc]
        tallies = self._timed("count requests", "tallies of a batch", 1, lambda: self._tallies(requests))
        judge = QualityMonitor(task.name, task.features, task.quality)
        self._timed("judge requests", "owner of the tallies", 1, lambda: self._judge(judge, tallies))
        self._publish([*folds, judge])
        self.stages[watching:] = [replace(each, monitoring=True) for each in self.stages[watching:]]
        return self.stages

    def _tallies(self, requests: Sequence[Request]) -> list[bytes]:
        """Count requests where they are answered, in batches; gives what lies on `T.quality`."""
        counter, made = EdgeCounter(self.task.features, "bench"), []
        for start in range(0, self.pairs, BATCH):
            for request in requests[start : start + BATCH]:
                counter.answered(0, request)
            made += [self.codec.encode(each) for each in counter.tallies()]
            counter.commit()
        return made

    def _judge(self, judge: QualityMonitor, tallies: Sequence[bytes]) -> list[None]:
        for offset, each in enumerate(tallies):
            judge.apply(offset, self.codec.decode_tally(each))
        return []

    def _publish(self, watching: Sequence[Monitor[Any] | QualityMonitor]) -> None:
        """Publish once; a loop does so every second of processor time that the stages so far take, at most."""

        def publish() -> list[bytes]:
            return [
                self.codec.encode(
                    Metric(
                        each.name,
                        each.value,
                        each.unit,
                        each.model,
                        each.version,
                        each.role,
                        each.window,
                        each.count,
                        0,
                        0,
                        each.segment,
                        self.task.name,
                    )
                )
                for monitor in watching
                for each in monitor.measurements()
            ]

        so_far_us = sum(each.us * each.times for each in self.stages)
        every_us = Settings().metrics_every_ms * 1000
        says = f"T.metrics, once in {every_us / 1e6:g} s of this thread"
        self._timed("publish metrics", says, 1, publish)
        last = self.stages.pop()
        # What was timed is one publication, told per pair: it comes once in so many pairs.
        self.stages.append(replace(last, us=last.us * self.pairs * so_far_us / every_us))

    def _join(
        self,
        predictions: Sequence[Prediction],
        answers: Sequence[bytes],
        outcomes: Sequence[Any],
        joined: list[tuple[list[Entry], list[JoinRecord | Resolution]]],
    ) -> list[None]:
        """Join in batches: of a batch of predictions, and then of their outcomes."""
        join = Join(JoinRules.of(self.task), MemoryStore(), self.codec.held.to_write, self.task.name, 0)

        def commit() -> None:
            joined.append(
                (
                    join.out.entries,
                    [each for _, each in records(join.out.changes) if each and not isinstance(each, bytes)],
                )
            )
            join.commit()

        name = self.task.name
        for start in range(0, self.pairs, BATCH):
            for number in range(start, min(start + BATCH, self.pairs)):
                each = predictions[number]
                at = Position(f"{name}.predictions", 0, number)
                held = self.codec.held.take(each.request_id, answers[number])
                join.prediction(each.request_id, each.ts, held, at, each.ts)
            commit()
            for number in range(start, min(start + BATCH, self.pairs)):
                outcome = outcomes[number]
                assert isinstance(outcome, Outcome)
                join.outcome(outcome, Position(f"{name}.outcomes", 0, number), outcome.ts)
            commit()
        return []

    def _fold(self, fold: Fold, entries: Sequence[Entry]) -> list[None]:
        for offset, entry in enumerate(entries, 2):
            fold.apply(offset, entry)
        return []


def stages(pairs: int = 5_000, repeat: int = 3) -> dict[str, Any]:
    """Measure the stages; the best of some repeats each.

    Returns
    -------
    dict
        `stages`, a row each; `core` with and without monitoring: µs and events per second, as if nothing but
        this one thread's work stood in the way; `monitoring`, its share of the time, 0 to 1.
    """
    collect_seldom()  # as a worker does
    runs = [Core(pairs).run() for _ in range(repeat)]
    best = [min(same, key=lambda each: each.us) for same in zip(*runs, strict=True)]
    rows = [
        {
            "stage": each.name,
            "says": each.says,
            "times": each.times,
            "us": each.us,
            "us_per_event": each.us_per_event,
            "monitoring": each.monitoring,
        }
        for each in best
    ]
    core = {}
    for name, chosen in (
        ("with monitoring", best),
        ("without monitoring", [each for each in best if not each.monitoring]),
    ):
        us = sum(each.us_per_event for each in chosen)
        core[name] = {"us_per_event": us, "events_per_s": 1e6 / us}
    share = 1 - core["without monitoring"]["us_per_event"] / core["with monitoring"]["us_per_event"]
    return {"pairs": pairs, "stages": rows, "core": core, "monitoring": share}
