"""The monitors of the log, folded by the core and by Python: equal snapshots, alerts and measurements."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model

from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.records import Entry, Features, Kind, Outcome, Position, Prediction, Score
from streams import native
from streams.drift.drift_rules import DriftRules
from streams.drift.fold import DriftFold
from streams.fold import Monitor
from streams.metrics.metric_rules import MetricRules
from streams.monitors import monitors
from streams.native.turn import facts_of
from streams.native.watch import NativeWatch
from streams.policies import DefaultAtHorizon, OnArrival, Policy
from streams.snapshot.digest import state_digest
from streams.task import Task
from streams.task_model import Model

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")

FEATURES = Dictionary(
    *(Number(name="x"), Integer(name="n", optional=True), Boolean(name="b", optional=True)),
    Category(name="c", optional=True),
)
CODEC = Codec("shop", "binary", FEATURES)
NAMES = ("lr", "shadow", "third")
SEGMENTS = (), ("c", "b"), ("c",)
"""Features whose levels are followed, by number of models."""
HOUR = 3_600_000
START = 1_700_000_000_000


def make_task(policies: Sequence[Policy], warm_up: int) -> Task:
    return Task(
        name="shop",
        question="Will it be bought?",
        features=FEATURES,
        horizon=timedelta(days=1),
        models=tuple(
            Model(name, linear_model.LogisticRegression, policy=policy)
            for name, policy in zip(NAMES, policies, strict=False)
        ),
        drift=DriftRules(warm_up=warm_up),
        metrics=MetricRules(segments=SEGMENTS[len(policies) - 1], levels=2),
    )


def entry(
    number: int, ts: int, p: float, value: bool | None, delay: int = 0, kind: Kind = "labelled", **more: Any
) -> Entry:
    """An entry of the log; the models are calibrated unless the caller is not."""
    features: Features = {"x": p, "n": number, "b": value is True, "c": "é" * (number % 5)}
    if number % 7 == 0:
        del features["b"], features["n"]
    revision, names, apart = more.pop("revision", 1), more.pop("names", ("lr",)), more.pop("apart", 0.1)
    answers = [p + (1 - 2 * p) * apart * place for place in range(len(names))]
    scores = tuple(
        Score(name, revision, number, answer, answer > 1.0 - answer)
        for name, answer in zip(names, answers, strict=True)
    )
    asked = ts - delay
    source = Position("shop.requests", 0, number)
    prediction = Prediction(f"r{number}", asked, features, scores, source, None, (), 1.0, number)
    outcome = None if value is None else Outcome(f"r{number}", ts, value)
    at = Position("shop.outcomes" if outcome else "shop.predictions", 0, number)
    return Entry(
        *(f"{at}#0", kind, ts, at, ts + 40, Position("shop.predictions", 0, number)),
        *((at, prediction, outcome) if outcome else (None, prediction)),
        **more,
    )


class Log:
    """Monitors of the same log, with the core and without."""

    def __init__(self, *policies: Policy, warm_up: int = 1_000) -> None:
        self.task = make_task(policies, warm_up)
        self.one, self.two = monitors(self.task), monitors(self.task)
        self.watch = NativeWatch(self.task, self.two)
        self.scan = facts_of(CODEC)
        self.offset = self.taken = 0
        self.within: Counter[str] = Counter()
        """Entries that the core has taken while an episode was open, by its family."""
        self.alerts: list[list[Any]] = [[], []]

    @property
    def drift(self) -> DriftFold:
        drift = self.two[-1]
        assert isinstance(drift, DriftFold)
        return drift

    def apply(self, which: int, offset: int, each: Entry) -> None:
        for monitor in (self.one, self.two)[which]:
            monitor.apply(offset, each)
            self.alerts[which] += monitor.alerts()

    def fold(self, entries: Sequence[Entry]) -> None:
        data = [CODEC.encode(each) for each in entries]
        for number, each in enumerate(data):
            self.apply(0, self.offset + number, CODEC.decode_entry(each))
        facts, at = self.scan.facts(data), 0
        offsets = range(self.offset, self.offset + len(entries))
        while at < len(entries):
            opened = [each.family for each in self.drift._all if each.lead is not None]
            took = self.watch.fold(facts, at, facts.end_of_run(at), offsets)
            self.taken += took
            self.within.update(dict.fromkeys(opened, took))
            at += took
            if at < len(entries):
                self.apply(1, offsets[at], CODEC.decode_entry(data[at]))
                at += 1
        self.offset += len(entries)

    def check(self) -> None:
        assert self.alerts[0] == self.alerts[1]
        for one, two in zip(self.one, self.two, strict=True):
            assert same(one, two)
            assert [*map(repr, one.measurements())] == [*map(repr, two.measurements())]


def same(one: Monitor[Entry], two: Monitor[Entry]) -> bool:
    first, second = one.snapshot(), two.snapshot()
    river = first["scopes"] if isinstance(first, dict) and "scopes" in first else None
    if river is not None:
        for role, scope in river.items():
            mine, others = scope["river"]["log_loss"]._mean, second["scopes"][role]["river"]["log_loss"]._mean
            assert (mine.n, mine._mean) == (others.n, others._mean)
    assert state_digest(first) == state_digest(second)
    return True


def stream(
    seed: int, count: int, names: Sequence[str] = ("lr",), *, first: int = 0, gap: int = 60_000
) -> Iterator[Entry]:
    """Entries of models that are calibrated, then wrong, then slow, then at their ends; they serve in turn."""
    rng = random.Random(seed)
    ts = START + first * gap
    for number in range(first, first + count):
        ts += rng.choice((0, gap // 2, gap, 2 * gap))
        p = rng.choice((0.0, 1.0, 1e-18, 0.5)) if rng.random() < 0.01 else rng.random()
        phase = number // 2500 % 4
        value = rng.random() < (1 - p if phase == 1 else p)
        delay = rng.randrange(0, 12 * HOUR) * (2 if phase == 2 else 1)
        kind = rng.random()
        by: dict[str, Any] = {
            "names": (*names[number // 700 % len(names) :], *names[: number // 700 % len(names)])
        }
        if len(names) > 1 and rng.random() < 0.01:
            by["names"] = rng.sample(names, rng.randrange(len(names)))
        if kind < (0.3 if number // 1000 % 3 == 2 else 0.01):
            yield entry(number, ts, p, None, 24 * HOUR, "expired", **by)
        elif kind < 0.02:
            by["progress"] = {"predictions": number, "waiting": 3}
            yield entry(number, ts, p, value, delay, partition=0, **by)
        elif kind < 0.025:
            yield Entry("shop[0]@1#0", "time", ts, partition=0)
        else:
            yield entry(number, ts, p, value, delay, **by)


POLICIES: list[tuple[Policy, ...]] = [
    (OnArrival(),),
    (DefaultAtHorizon(False),),
    (OnArrival(), OnArrival()),
    (DefaultAtHorizon(True), OnArrival(), DefaultAtHorizon(True)),
]


@pytest.mark.parametrize("policies", POLICIES, ids=str)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_log_gives_the_same_numbers_alerts_and_state(policies: tuple[Policy, ...], seed: int) -> None:
    log, rng = Log(*policies, warm_up=300), random.Random(seed)
    entries = list(stream(seed, 10_000, NAMES[: len(policies)]))
    at = 0
    while at < len(entries):
        size = rng.choice((1, 5, 40, 300, 1000))
        log.fold(entries[at : at + size])
        at += size
        if size > 40:
            log.check()
    log.check()
    assert log.taken > 6_000
    if len(policies) == 1:
        assert min(log.within[each] for each in ("drift", "delay", "loss")) > 100
    assert {each.family for each in log.alerts[0]} >= {"drift", "loss"}


KINDS = st.sampled_from(("labelled",) * 12 + ("expired", "revised", "late", "unavailable", "opened"))
ODD = st.sampled_from((0.0, 1.0, 0.5, 1e-300, 1 - 1e-16, 0.01, 0.99)) | st.floats(0, 1)


@settings(max_examples=50)
@given(data=st.data())
def test_any_log_gives_the_same(data: st.DataObject) -> None:
    policies = data.draw(st.sampled_from(POLICIES))
    names = NAMES[: len(policies)]
    log = Log(*policies, warm_up=data.draw(st.integers(0, 40)))
    log.fold(list(stream(data.draw(st.integers(0, 9)), 60, names)))
    number, ts = 60, START + HOUR
    for _ in range(data.draw(st.integers(1, 4))):
        batch = []
        for _ in range(data.draw(st.integers(1, 60))):
            number += 1
            ts += data.draw(st.sampled_from((0, 0, 1, 1000, HOUR, -1000, 26 * HOUR)))
            kind = data.draw(KINDS)
            value = None if kind in {"expired", "opened", "unavailable"} else data.draw(st.booleans())
            delay = data.draw(st.sampled_from((0, 1, 1000, HOUR, 23 * HOUR, 80 * 24 * HOUR)))
            more: dict[str, Any] = {"apart": data.draw(st.sampled_from((0.0, 0.25, 0.5)))}
            more["names"] = data.draw(
                st.sampled_from((names,) * 9 + (names[::-1], names[1:], (), ("gone", *names)))
            )
            if kind in {"revised", "late"}:
                more["names"] = names  # what nobody has said is not taken back
                more |= {"corrects": "a", "previous_kind": "expired" if kind == "late" else "labelled"}
                more |= {"previous": None if kind == "late" else not value}
                more |= {"late_by": "arrival"} if kind == "late" else {}
            if data.draw(st.integers(0, 30)) == 0:
                more["revision"] = 2
            if data.draw(st.integers(0, 30)) == 0:
                more |= {"partition": 0, "progress": {"predictions": number, "score lr 3": 5}}
            batch.append(entry(number, ts, data.draw(ODD), value, delay, kind, **more))
        log.fold(batch)
        log.check()


def test_a_label_that_makes_up_for_a_correction_before_it_leaves_no_count_of_zero() -> None:
    log = Log(OnArrival())
    log.fold(list(stream(1, 60)))
    more: dict[str, Any] = {"corrects": "a", "previous_kind": "labelled", "previous": True}
    ts = START + 3 * HOUR
    log.fold([entry(100, ts, 0.0, False, HOUR, "revised", **more)])
    before = log.taken
    log.fold([entry(101 + n, ts, 0.0, n == 0, HOUR) for n in range(40)])
    assert log.taken > before
    log.check()


def test_what_is_common_is_folded_by_the_core() -> None:
    log = Log(OnArrival())
    log.fold(list(stream(1, 50)))
    plain = [entry(n, START + n * 60_000, 0.5, n % 2 == 0, HOUR) for n in range(100, 1100)]
    before = log.taken
    log.fold(plain)
    assert log.taken - before > 900
    log.check()


def test_facts_are_what_the_reference_reads() -> None:
    scan, made = facts_of(CODEC), 0
    for each in stream(3, 500):
        data = CODEC.encode(each)
        read, fact = CODEC.decode_entry(data), scan.facts([data]).fact(0)
        if fact is None:
            assert each.kind not in {"labelled", "expired"} or each.progress is not None
            continue
        made += 1
        assert read.prediction is not None
        score = read.prediction.scores[0]
        assert (fact.request_id, fact.asked, fact.ts) == (
            read.prediction.request_id,
            read.prediction.ts,
            read.ts,
        )
        assert (fact.model, fact.revision, fact.offset) == (score.model, score.revision, score.offset)
        assert (fact.value, fact.arrived) == (
            None if read.outcome is None else read.outcome.value,
            read.arrived,
        )
        assert list(fact.features.items()) == list(read.prediction.features.items())
    assert made > 400
