"""The join's native table beside the reference: equal bytes, states, counters and rejections, however it is cut.

Both joins get the same records. One takes bytes where it can, and reads the rest; the other reads all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.decoding import ANY_TIME, scans
from infra.inbound import SERVED
from schemas.codec import Codec
from schemas.codec.checks import TaskKind
from schemas.dictionary import Boolean, Category, Dictionary, Number
from schemas.errors import BadRecord
from schemas.features import PersonalData
from schemas.formats import HEADER_BYTES
from schemas.records import Outcome, Position, Prediction, Score
from schemas.state import RESOLVED, JoinPosition
from streams import native
from streams.join.changelog import Change, fill, records
from streams.join.join import RUN, Join
from streams.join.join_rules import JoinRules
from streams.join.pending import MemoryStore
from streams.metrics.waiting import counter_of
from streams.native.turn import scan_of, store_in_memory
from tests.properties.test_native_records import damaged

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")

KINDS: Final[tuple[TaskKind, ...]] = ("binary", "regression", "multiclass")
FEATURES = (Number(name="x"), Boolean(name="b", optional=True), Category(name="c", optional=True))
REPORTER: Final[dict[TaskKind, PersonalData]] = {
    "binary": "none",
    "regression": "left_out",
    "multiclass": "tokenised",
}
CODECS = {
    kind: Codec("shop", kind, Dictionary(*FEATURES, reporter=REPORTER[kind]), b"a key of a test")
    for kind in KINDS
}
TOPICS = ("shop.predictions", "shop.outcomes")
RULES = JoinRules(
    horizon_ms=100,
    revision_horizon_ms=300,
    early_horizon_ms=50,
    grace_ms=10,
    max_ahead_ms=300,
    tolerance_ms=5,
)
LONG = "n" * 64 + "é" * 60


@dataclass(frozen=True)
class Sent:
    """A record on its topic."""

    topic: int
    value: bytes
    arrived: int
    name: str = ""
    """How positions name its topic, where it is a later one."""


@dataclass(frozen=True)
class AsMessage:
    """What the core asks of a client's message."""

    sent: Sent
    at: int

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self.at

    def timestamp(self) -> tuple[int, int]:
        return 2, self.sent.arrived

    def headers(self) -> list[tuple[str, bytes]]:
        return [(SERVED, b"slot")]


class Side:
    """A join, and all that it has written."""

    def __init__(self, kind: TaskKind, *, in_table: bool) -> None:
        self.codec, self.in_table = CODECS[kind], in_table
        self.changelog: dict[bytes, bytes | None] = {}
        self.next = [0, 0]
        self.read = [0, 0]
        self.scan = scan_of(self.codec) if in_table else None
        self.taken = 0
        self.join = self.made(None)

    def made(self, position: JoinPosition | None) -> Join:
        store = store_in_memory(self.codec, RULES) if self.in_table else MemoryStore()
        fill(store, RULES, self.changes())
        return Join(RULES, store, self.codec.held.to_write, "shop", 0, position)

    def changes(self) -> Iterator[Change]:
        for key, value in self.changelog.items():
            if value is not None:
                found: Any = self.codec.decode_state(value)
                yield (
                    found if isinstance(found, JoinPosition) else (key.removeprefix(RESOLVED).decode(), found)
                )

    def restart(self, changelog: dict[bytes, bytes | None]) -> None:
        """Go on from a changelog, whoever has written it."""
        self.changelog = dict(changelog)
        position: Any = self.codec.decode_state(changelog[b"position"])
        self.join = self.made(position)
        self.next = [position.predictions, position.outcomes]

    def play(self, batch: Sequence[Sent]) -> list[str]:
        """Take a batch; gives what could not be read."""
        self.read = list(self.next)
        items = []
        for sent in batch:
            items.append((sent, self.read[sent.topic]))
            self.read[sent.topic] += 1
        if self.scan is None:
            return [each for item in items for each in self.one(*item)]
        bad: list[str] = []
        run: list[tuple[Sent, int, Any]] = []
        for sent, offset in items:
            scanned = self.scanned(sent, offset)
            if scanned is None or len(run) == RUN:
                bad += self.flush(run)
                run = []
            if scanned is None:
                bad += self.one(sent, offset)
            else:
                run.append((sent, offset, scanned))
        return bad + self.flush(run)

    def scanned(self, sent: Sent, offset: int) -> Any:
        """Scan a record alone."""
        scan = scans(self.scan)[sent.topic]
        assert scan is not None
        message: Any = AsMessage(sent, offset)
        [found] = scan([message], [sent.value], sent.name or TOPICS[sent.topic], len(sent.value), ANY_TIME)
        return found

    def flush(self, run: list[tuple[Sent, int, Any]]) -> list[str]:
        bad, start, places = [], 0, (0, 0)
        while start < len(run):
            count, *places = self.join.take([each[2] for each in run], start, *places)  # type: ignore[assignment]
            self.taken += count
            start += count
            if start < len(run):
                bad += self.one(*run[start][:2])
                start += 1
        return bad

    def one(self, sent: Sent, offset: int) -> list[str]:
        at = Position(sent.name or TOPICS[sent.topic], 0, offset)
        try:
            if sent.topic == 0:
                found = self.codec.decode_prediction(sent.value)
                payload = self.codec.held.take(found.request_id, sent.value)
                self.join.prediction(found.request_id, found.ts, payload, at, sent.arrived, counter_of(found))
            else:
                outcome = self.codec.decode_outcome(sent.value)
                assert isinstance(outcome, Outcome)
                self.join.outcome(outcome, at, sent.arrived)
        except BadRecord as bad:
            return [f"{at}: {bad.reason}"]
        return []

    def written(self) -> dict[bytes, bytes | None]:
        encode = self.codec.encode
        found: dict[bytes, bytes | None] = {}
        for key, state in records(self.join.out.changes):
            found[key] = encode(state) if state is not None and not isinstance(state, bytes) else state
        found[b"position"] = encode(self.join.position(*self.read))
        return found

    def seen(self) -> dict[str, Any]:
        """All that a batch gives, and all that the join goes on from."""
        self.join.stamp()
        join, written = self.join, self.written()
        return {
            "entries": [self.codec.encode(each) for each in join.out.entries],
            "rejected": [(each.reason, each.message, each.at) for each in join.out.rejected],
            "written": list(written.items()),
            "progress": list(join.progress().items()),
            "counters": list(join.counters.items()),
            "time": (join.stream_time, join.waiting, join.most_waiting, join.oldest_waiting()),
            "changed": list(join.out.changes.states.items()),
            "early": join.out.changes.early_bytes,
            "cohorts": dict(join.out.changes.waiting),
        }

    def state(self) -> Any:
        store = self.join.store
        return sorted(store.items(), key=str), list(store.due()), dict(store.waiting()), store.early_bytes()

    def commit(self) -> None:
        self.changelog |= self.written()
        self.next = list(self.read)
        self.join.commit(self.join.position(*self.read))


IDS = st.sampled_from(("a", "b", "c", "d", "é", LONG, "nul\0", "f" * 200))
TIMES = st.sampled_from((0, 1, 5, 9, 10, 11, 50, 99, 100, 101, 110, 111, 250, 400, 410, 411, 700))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "binary": st.sampled_from((True, True, False, None)),
    "regression": st.sampled_from((1.5, 0.0, -0.0, -3e140, math.inf, math.nan, 2e150, None)),
    "multiclass": st.sampled_from(("yes", "no", "", "é" * 200, "x" * 201, None)),
}
SCORES = st.lists(
    st.builds(
        Score,
        st.sampled_from(("lr", "tree", "m" * 201, "ü" * 200)),
        st.integers(1, 2),
        st.integers(-1, 300),
        st.sampled_from((0.0, 0.25, 0.999, 1.0, 1.5, -0.1, math.nan, None))
        | st.sampled_from(
            [{"yes": 0.5}, {"yes": 0.5, "z" * 201: 0.5}, {"score": 0.5, "low": 0.0, "high": 1.0}]
        ),
        st.sampled_from((True, False, None, "yes", "é" * 201)),
        st.sampled_from(("", "ValueError in a.py:1")),
    )
    | st.sampled_from(
        [
            Score("lr", 1, 7, 0.25, interval=each)
            for each in ((0.0, 1.0), (-0.0, math.nan), (-math.inf, 2e300))
        ]
    ),
    max_size=3,
)


@st.composite
def predictions(draw: st.DrawFn, codec: Codec, ts: int) -> bytes:
    features: dict[str, Any] = {"x": draw(st.sampled_from((1.0, -0.0, 5e300)))}
    if draw(st.booleans()):
        features |= {"b": True, "c": draw(st.sampled_from(("web", "", "é")))}
    made = Prediction(
        draw(IDS),
        ts,
        features,
        tuple(draw(SCORES)),
        draw(st.sampled_from((None, Position("shop.requests", 0, 7), Position("else" * 63, 3, 2**40)))),
        draw(st.sampled_from((None, None, "customer", "c" * 201))),
        draw(st.sampled_from(((), (), ("p", "q"), ("p" * 201,), ("p",) * 101))),
        draw(st.sampled_from((None, 1.0, 0.5, 0.0, 1.5, math.nan))),
        draw(st.sampled_from((None, 0, 12))),
    )
    return codec.encode(made, json=draw(st.sampled_from((False,) * 9 + (True,))))


@st.composite
def plain(draw: st.DrawFn, codec: Codec, ts: int) -> bytes:
    p = draw(st.sampled_from((0.0, 0.31, 1.0)))
    score = Score("lr", 1, 3, p, p > 0.5)
    source = Position("shop.requests", 0, ts)
    return codec.encode(Prediction(draw(IDS), ts, {"x": p}, (score,), source, None, (), 1.0, 3))


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


@st.composite
def outcomes(draw: st.DrawFn, codec: Codec, ts: int) -> bytes:
    value = draw(VALUES[codec.kind])
    reason = draw(st.sampled_from(("lost", "é" * 1000, "r" * 1001, ""))) if value is None else None
    reporter = draw(st.sampled_from((None, None, "till-1", "t" * 201)))
    revision = draw(st.sampled_from((None, None, 0, 1, 2, 2**62)))
    made = Outcome(draw(IDS), ts, value, revision, reason, reporter)
    return codec.encode(made, json=draw(st.sampled_from((False,) * 9 + (True,))) and not is_nan(value))


@st.composite
def histories(draw: st.DrawFn, kind: TaskKind) -> list[Sent]:
    codec, now, found = CODECS[kind], 1000, list[Sent]()
    for _ in range(draw(st.integers(0, 30))):
        now += draw(st.sampled_from((0, 0, 1, 3, 20, 60)))
        topic = draw(st.integers(0, 1))
        ts = (
            now + draw(st.sampled_from((0, 0, 0, 0, -5, -6, -420, 3)))
            if topic == 0
            else now + draw(TIMES) - 50
        )
        made = draw(
            (plain(codec, ts) | predictions(codec, ts)) if topic == 0 else outcomes(codec, max(0, ts))
        )
        if draw(st.sampled_from((False,) * 7 + (True,))) and len(made) > HEADER_BYTES:
            made = draw(damaged(made))
        arrived = ts - 301 if draw(st.sampled_from((False,) * 19 + (True,))) else now + 10_000
        name = f"{TOPICS[topic]}~2" if draw(st.sampled_from((False,) * 9 + (True,))) else ""
        found.append(Sent(topic, made, arrived, name))
    return found


ENDS = st.lists(st.sampled_from(("commit", "commit", "abort", "restart", "swap")), min_size=1, max_size=8)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=300)
@given(data=st.data())
def test_the_table_does_with_bytes_what_the_reference_does_with_records(
    kind: TaskKind, data: st.DataObject
) -> None:
    history, ends = data.draw(histories(kind)), data.draw(ENDS)
    one, two = Side(kind, in_table=False), Side(kind, in_table=True)
    at = 0
    for number in range(100):
        if at >= len(history):
            break
        size, end = data.draw(st.integers(1, 9)), ends[number % len(ends)]
        batch = history[at : at + size]
        assert one.play(batch) == two.play(batch)
        assert one.seen() == two.seen()
        if end == "abort":
            for side in (one, two):
                side.join.rollback()
            assert one.state() == two.state()
            ends = [each for each in ends if each != "abort"] or ["commit"]
            continue
        at += size
        for side in (one, two):
            side.commit()
        assert one.state() == two.state()
        if end == "restart":
            one.restart(one.changelog)
            two.restart(two.changelog)
        elif end == "swap":
            logs = one.changelog, two.changelog
            one.restart(logs[1])
            two.restart(logs[0])
        assert one.state() == two.state()


def many(kind: TaskKind, count: int) -> list[Sent]:
    codec, found = CODECS[kind], list[Sent]()
    for n in range(count):
        score = Score("lr", 1, n, (n % 11) / 10, n % 2 == 0)
        made = Prediction(f"r{n}", 1000 + n, {"x": 1.0 * n}, (score,), None, None, (), 1.0, n)
        found.append(Sent(0, codec.encode(made), 10**6))
        if n % 3 == 0:
            outcome = Outcome(f"r{n}", 1000 + n + 1, True, 1 if n % 2 else None, None, "till")
            found.append(Sent(1, codec.encode(outcome), 10**6))
    return found


def test_all_that_is_common_is_taken_as_bytes() -> None:
    one, two = Side("binary", in_table=False), Side("binary", in_table=True)
    history = many("binary", 3000)
    for start in range(0, len(history), 700):
        batch = history[start : start + 700]
        assert one.play(batch) == two.play(batch) == []
        assert one.seen() == two.seen()
        for side in (one, two):
            side.commit()
    assert two.taken == len(history)
    assert one.state() == two.state()
    assert two.join.counters["expired"] > 1000
    assert two.join.counters["forgotten"] > 1000


def test_a_gap_in_time_is_the_references() -> None:
    """It lets what falls due be resolved in turns."""
    one, two = Side("binary", in_table=False), Side("binary", in_table=True)
    history = many("binary", 1500)
    last = replace(history[0], value=CODECS["binary"].encode(Prediction("z", 9000, {"x": 1.0}, ())))
    for side in (one, two):
        for each in history:  # at one time: nothing falls due
            value = side.codec.decode_prediction(each.value) if each.topic == 0 else None
            if value is not None:
                side.play([Sent(0, side.codec.encode(replace(value, ts=1000)), 10**6)])
                side.next = list(side.read)
        side.commit()
        before = side.taken
        side.play([last])
        assert side.taken == before
    assert one.seen() == two.seen()


def test_what_was_taken_before_is_left_to_the_reference() -> None:
    side = Side("binary", in_table=True)
    prediction, outcome = many("binary", 1)
    first, second = side.scanned(prediction, 5), side.scanned(outcome, 3)
    assert side.join.take([first], 0, 6, 0) == (0, 6, 0)
    assert not side.join.counters
    assert side.join.take([first, second], 0, 5, 4) == (1, 6, 4)
    assert side.join.take([second], 0, 6, 3) == (1, 6, 4)
    assert side.join.counters["labelled"] == 1
