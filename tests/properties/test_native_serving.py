"""Serving from bytes beside the reference: equal predictions, dead letters, tallies and counters, for any requests.

Two serve agents answer the same requests with the same models. One scans what it can, the other reads all.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import compose, conf, linear_model, naive_bayes, preprocessing

from infra.decoding import Decoder, scan_requests
from infra.inbound import Inbound
from infra.kafka.connection import Connection
from infra.kafka.transaction import OutRecord
from infra.task.context import TaskContext
from infra.task.serve import Serve
from infra.task.statistics import Statistics
from infra.taskfile import LoadedTask
from schemas.cloudevents import EventHeaders
from schemas.codec import Codec
from schemas.dictionary import Boolean, Category, Dictionary, Integer, Number
from schemas.event_time import EPOCH
from schemas.features import PersonalData
from schemas.framing import Frame, prefix
from schemas.records import Command, Entry, Features, Outcome, Position, Request
from schemas.topics import TaskTopics
from streams import native
from streams.join.join_rules import JoinRules
from streams.model import ModelFold
from streams.native.serving import NativeServer, request_scan_of
from streams.select import Select
from streams.serve import Server
from streams.task import Task
from streams.task_model import Model
from tests.history import Kept
from tests.properties.test_native_records import damaged

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")

PERSONAL: Final[tuple[PersonalData, ...]] = ("none", "left_out", "tokenised")
FEATURES = (
    Number(name="price", low=0, high=1e6),
    Number(name="weight", optional=True, low=0, high=9, on_range="reject"),
    Integer(name="items", low=0, high=9, on_range="reject"),
    Integer(name="code", optional=True),
    Boolean(name="new", optional=True),
    Category(name="channel", optional=True, levels=("web", "é"), on_new_level="reject"),
    Category(name="country", missing="?", levels=("DE", "PT")),
    Category(name="name", personal_data="left_out", optional=True),
)


def pipeline() -> Any:
    """Numbers are scaled, texts are encoded."""
    numbers = Select("price", "weight", "items") | preprocessing.StandardScaler()
    return (
        numbers + (Select("channel", "country") | preprocessing.OneHotEncoder())
        | linear_model.LogisticRegression()
    )


def scaled() -> Any:
    """Prices only."""
    return Select("price") | preprocessing.MinMaxScaler() | linear_model.LogisticRegression()


def amount() -> Any:
    """A regression."""
    return Select("price", "items") | preprocessing.StandardScaler() | linear_model.LinearRegression()


def with_interval() -> Any:
    """A regression whose scores have an interval, once it has some residuals."""
    return conf.RegressionJackknife(amount())


def in_river() -> Any:
    """No kernel does it."""
    return compose.Select("new") | naive_bayes.BernoulliNB()


def make_task(kind: Any, models: Sequence[Model], personal: PersonalData) -> Task:
    return Task(
        name="shop",
        question="Will it be bought?",
        kind=kind,
        features=Dictionary(*FEATURES, entity_key=personal, parents=personal),
        horizon=timedelta(days=1),
        earliest=EPOCH,
        models=tuple(models),
    )


BINARY: Final = (Model("lr", pipeline), Model("shadow", scaled))
TASKS: Final = {
    **{f"binary {each}": make_task("binary", BINARY, each) for each in PERSONAL},
    "regression": make_task("regression", (Model("amount", amount),), "none"),
    "with an interval": make_task(
        "regression", (Model("amount", amount), Model("jackknife", with_interval)), "none"
    ),
    "with a sample": make_task(
        "binary", (Model("lr", pipeline), Model("shadow", scaled, sample=0.5)), "none"
    ),
    "with River": make_task("binary", (Model("lr", pipeline), Model("bayes", in_river)), "none"),
}


class Loop:
    """The models of a task, and two serve agents that use them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.codec = Codec(task.name, task.kind, task.features, b"a key of a test")
        self.topics = TaskTopics("shop")
        loaded = LoadedTask(task, "shop.py", Path(), ())
        at = (Connection("127.0.0.1:1"), self.codec, self.topics, 2, "id", "group", "slot")
        self.context = TaskContext(loaded, *at)
        self.models = [ModelFold(task, model, "runtime") for model in task.models]
        server = Server(task, self.models)
        self.scan = request_scan_of(self.codec)
        self.answered = 0
        self.native = NativeServer(server, self.scan)
        self._answer, self.native.answer = self.native.answer, self._counted  # type: ignore[method-assign]
        self.serves = [Serve(self.context, server, Statistics(), native=each) for each in (None, self.native)]
        times = JoinRules.of(task).times
        decode = self.codec.decode_request
        self.decoders = [
            Decoder(decode, times=times),
            Decoder(decode, times=times, scan=scan_requests(self.scan)),
        ]
        self.offset = 0
        self.sent = [0, 0]
        for fold in self.models:
            self.command(fold.opening())

    def _counted(self, requests: list[Any], start: int) -> Any:
        found = self._answer(requests, start)
        self.answered += len(found or ())
        return found

    def command(self, command: Command) -> None:
        self.fold(Entry(f"c{self.offset}", "command", 0, command=command))

    def fold(self, entry: Entry) -> None:
        for fold in self.models:
            fold.apply(self.offset, entry)
        self.offset += 1

    def message(self, value: bytes, partition: int, arrived: int) -> Kept:
        self.sent[partition] += 1
        return Kept((self.topics.requests, partition), self.sent[partition] - 1, b"k", value, arrived)

    def play(self, messages: Sequence[Kept], *, commit: bool = True) -> list[OutRecord]:
        """Serve a batch; gives what both have written."""
        runs = [[*run] for _, run in groupby(messages, Kept.partition)]
        items: list[list[Inbound]] = [
            [item for run in runs for item in decode.many(run)] for decode in self.decoders
        ]
        one, two = (
            [*chain.from_iterable(serve.process(each))]
            for serve, each in zip(self.serves, items, strict=True)
        )
        assert one == two
        for first, second in zip(*items, strict=True):
            assert (first.ts, repr(first.bad), first.at) == (second.ts, repr(second.bad), second.at)
            if second.scanned is not None:
                assert first.record == second.record
                asked: Request = first.record
                found: Any = second.scanned
                assert (found.request_id, found.ts, found.entity_key) == (
                    asked.request_id,
                    asked.ts,
                    asked.entity_key,
                )
                assert [*found.features.items()] == [*asked.features.items()]
        for serve in self.serves if commit else ():
            serve.commit()
        seen = [(serve.counter._times, serve.counter._ids, serve.statistics.counts) for serve in self.serves]
        assert seen[0] == seen[1]
        assert self.serves[0].dead_letters == self.serves[1].dead_letters
        return one

    def learn(self, written: Sequence[OutRecord], label: Any) -> None:
        """Let the models learn from predictions."""
        for each in written:
            if each.topic == self.topics.predictions:
                prediction = self.codec.decode_prediction(each.value)
                at = Position("shop.outcomes", 0, self.offset)
                outcome = Outcome(prediction.request_id, prediction.ts, label(prediction.features))
                self.fold(Entry(f"{at}#0", "labelled", prediction.ts, at, 0, at, at, prediction, outcome))


def label_of(kind: str) -> Any:
    return (lambda x: x["price"] > 3) if kind == "binary" else (lambda x: x["price"] * 2)


IDS = st.sampled_from(("a", "b", "c", "é" * 200, "x" * 201, "", "nul\0", "\0", "n" * 70)) | st.integers(
    0, 99
).map(str)
TIMES = st.sampled_from((0, 1, 59_999, 60_000, 61_000, 120_000, -1, 2**53, 10**12))
NUMBERS = st.sampled_from((0.0, -0.0, 1.5, 3.5, 1e-320, 1e300, math.inf, math.nan, -2.0)) | st.floats(0, 10)
FOUND = st.fixed_dictionaries(
    {
        "price": NUMBERS,
        "items": st.sampled_from((0, 1, 9, 10, -1, 2**62)),
        "country": st.sampled_from(("DE", "?", "new", "é" * 10_001, "")),
    },
    optional={
        "weight": NUMBERS,
        "code": st.sampled_from((0, -5, 2**53 + 1, -(2**63))),
        "new": st.booleans(),
        "channel": st.sampled_from(("web", "é", "post")),
    },
)
ABOUT = st.sampled_from((None, None, "guest 7", "é" * 201, ""))
PARENTS = st.sampled_from(((), (), ("a",), ("b", "é" * 200), ("c" * 201,), ("d",) * 101))
REQUESTS = st.builds(Request, IDS, TIMES, FOUND, ABOUT, PARENTS)
STEPS = st.sampled_from(
    ("serve",) * 6 + ("drop", "learn", "learn", "share", "promote", "freeze", "resume", "retire")
)


@st.composite
def sent(draw: st.DrawFn, codec: Codec) -> bytes:
    """A request as somebody sends it: as Avro or JSON, whole or damaged."""
    request = draw(REQUESTS)
    form = draw(st.integers(0, 9))
    try:
        whole = codec.encode(request, json=form == 0)
    except Exception:
        return b"{}"
    return draw(damaged(whole)) if form == 1 else whole


def plain(number: int, rng: random.Random) -> Request:
    features: Features = {
        "price": rng.uniform(0, 6),
        "items": rng.randrange(10),
        "new": rng.random() < 0.5,
        "channel": rng.choice(("web", "é")),
        "country": rng.choice(("DE", "PT", "?")),
    }
    return Request(f"p{number}", number * 20, features)


def warm(loop: Loop, count: int = 60) -> None:
    rng = random.Random(3)
    for start in range(0, count, 20):
        messages = [
            loop.message(loop.codec.encode(plain(n, rng)), n % 2, n * 20) for n in range(start, start + 20)
        ]
        loop.learn(loop.play(messages), label_of(loop.task.kind))


@pytest.mark.parametrize("name", TASKS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_requests_are_answered_as_the_reference_answers_them(name: str, data: st.DataObject) -> None:
    loop = Loop(TASKS[name])
    if data.draw(st.integers(0, 5)):
        warm(loop)
    written: list[OutRecord] = []
    names = [model.name for model in loop.task.models]
    for _ in range(data.draw(st.integers(1, 6))):
        step = data.draw(STEPS)
        model = data.draw(st.sampled_from(names))
        role = loop.models[0].roles.role(model)
        if step in {"serve", "drop"}:
            batch = data.draw(st.lists(sent(loop.codec), max_size=40))
            arrived = data.draw(st.sampled_from((0, 10**6, 10**12)))
            messages = [loop.message(each, number % 3 // 2, arrived) for number, each in enumerate(batch)]
            written = loop.play(messages, commit=step == "serve")
        elif step == "learn":
            loop.learn(written, label_of(loop.task.kind))
        elif step == "share" and len(names) > 1 and not any(each.retired for each in loop.models):
            shares = {f"share.{names[0]}": "0.6", f"share.{names[1]}": "0.4", "salt": "s"}
            loop.command(Command("share", "", shares))
        elif step == "promote" and role.retired_at < 0:
            loop.command(Command("promote", model))
        elif step == "freeze" and role.frozen_at < 0:
            loop.command(Command("freeze", model))
        elif step == "resume" and role.frozen_at >= 0:
            loop.command(Command("resume", model, {"mode": "catch-up"}))
        elif step == "retire" and not role.share and role.retired_at < 0:
            loop.command(Command("retire", model))


@pytest.mark.parametrize("name", ["binary none", "binary left_out", "regression", "with River", "frozen"])
def test_what_is_common_is_answered_by_the_core(name: str) -> None:
    loop, rng = Loop(TASKS.get(name, TASKS["binary none"])), random.Random(4)
    warm(loop)
    before = loop.answered
    if name == "frozen":
        loop.command(Command("freeze", "lr"))
    if name == "binary none":
        loop.command(Command("share", "", {"share.lr": "0.6", "share.shadow": "0.4", "salt": "s"}))
    written: list[OutRecord] = []
    for start in range(100, 1300, 400):
        records = [plain(number, rng) for number in range(start, start + 400)]
        messages = [loop.message(loop.codec.encode(each), 0, each.ts) for each in records]
        written = loop.play(messages)
        loop.learn(written, label_of(loop.task.kind))
    assert loop.answered - before == 1200
    drawn = {
        loop.codec.decode_prediction(each.value).scores[0].model for each in written if each.key != b"slot"
    }
    assert len(drawn) == (2 if name == "binary none" else 1)


def test_the_core_frames_predictions_and_gives_them_headers_as_the_reference_does() -> None:
    loop, rng = Loop(TASKS["binary none"]), random.Random(4)
    warm(loop)
    mark = bytes.fromhex("c301" + loop.codec.fingerprints["Prediction"])
    for serve in loop.serves:
        serve.context = replace(serve.context, frame=Frame(mark, 7), events=EventHeaders("shop", json=False))
    before = loop.answered
    records = [plain(number, rng) for number in range(100, 140)]
    written = loop.play([loop.message(loop.codec.encode(each), 0, each.ts) for each in records])
    assert loop.answered - before == len(records)
    found = [each for each in written if each.topic == loop.topics.predictions]
    assert [dict(each.headers or ())["ce_id"] for each in found] == [each.request_id for each in records]
    for each, request in zip(found, records, strict=True):
        assert each.value is not None
        assert each.value[:5] == prefix(7)
        assert loop.codec.decode_prediction(mark + each.value[5:]).request_id == request.request_id


def test_nothing_is_scanned_where_a_feature_is_a_token() -> None:
    hashed = Category(name="guest", personal_data="tokenised", optional=True)
    codec = Codec("shop", "binary", Dictionary(*FEATURES, hashed), b"a key of a test")
    assert request_scan_of(codec) is None
    assert request_scan_of(Codec("shop", "multiclass", Dictionary(*FEATURES))) is None
