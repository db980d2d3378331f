"""The reader of the log folds what is common as bytes: models and monitors end as they do entry by entry."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from river import feature_extraction, linear_model, preprocessing, stats, utils

from infra.kafka.acknowledging import Acknowledging
from infra.kafka.connection import Connection
from infra.snapshots.store import SnapshotStore
from infra.task.context import TaskContext
from infra.task.log_fold import LogFold
from infra.task.readiness import Readiness
from infra.task.resume import Resume
from infra.task.statistics import Statistics
from infra.task.topic_watch import CurrentTopics
from infra.taskfile import LoadedTask
from infra.turns import Turns
from schemas.codec import Codec
from schemas.codec.checks import TaskKind
from schemas.dictionary import Dictionary, Number
from schemas.records import Command, Entry, Features, Outcome, Position, Prediction, Score
from schemas.topics import TaskTopics
from streams import native
from streams.model import ModelFold
from streams.monitors import monitors
from streams.native.watch import NativeWatch
from streams.policies import DefaultAtHorizon, OnArrival, Policy
from streams.snapshot.digest import state_digest
from streams.task import Task
from streams.task_model import Model
from tests.history import Kept

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")

START = 1_700_000_000_000
KINDS: tuple[TaskKind, ...] = "binary", "regression"


def pipeline() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


class Raises(linear_model.LogisticRegression):
    """No kernel does it, and some examples it does not learn."""

    def learn_one(self, x: Any, y: Any) -> None:  # type: ignore[override]  # as River calls it
        super().learn_one(x, y)
        if 1.0 < x["x"] < 1.002 or x["x"] > 1e100:
            raise ValueError("not this one")


def timed() -> Any:
    """What it learns depends on the requests' times."""
    mean = feature_extraction.Agg("x", None, utils.TimeRolling(stats.Mean, timedelta(minutes=20)))
    return mean | linear_model.LogisticRegression()


def regression() -> Any:
    return preprocessing.StandardScaler() | linear_model.LinearRegression()


def bayesian() -> Any:
    """No kernel does it."""
    return linear_model.BayesianLinearRegression()


def task_of(*makes: Any, kind: TaskKind = "binary", policies: Sequence[Policy] = (OnArrival(),) * 4) -> Task:
    named = zip(("lr", "b", "c", "d"), makes, policies, strict=False)
    return Task(
        name="shop",
        kind=kind,
        question="Will it be bought, or for how much?",
        features=Dictionary(Number(name="x"), Number(name="y", optional=True)),
        horizon=timedelta(days=1),
        models=tuple(Model(name, make, policy=policy) for name, make, policy in named),
    )


TASKS = {
    "fused": task_of(pipeline),
    "River": task_of(Raises),
    "timed": task_of(timed),
    "fused twice": task_of(pipeline, pipeline),
    "all": task_of(pipeline, Raises, timed, Raises),
    "regression": task_of(regression, bayesian, kind="regression"),
    "silence of numbers": task_of(
        regression, regression, kind="regression", policies=(DefaultAtHorizon(0.25), OnArrival())
    ),
    "silence": task_of(pipeline, policies=(DefaultAtHorizon(False),)),
    "silence for some": task_of(
        *(pipeline, Raises, pipeline, timed),
        policies=(DefaultAtHorizon(True), *(OnArrival(), DefaultAtHorizon()) * 2),
    ),
}
CODECS = {kind: Codec("shop", kind, TASKS["fused"].features) for kind in KINDS}


def log_of(task: Task, count: int) -> list[Any]:
    """A log with a revision, labels, silence, a freeze and its end, and an example that River cannot learn."""
    rng, found, ts = random.Random(5), list[bytes](), START
    codec, binary = CODECS[task.kind], task.kind == "binary"
    arguments = ModelFold(task, task.models[0], "runtime").next_opening()
    orders = {0: Command("revision", "lr", arguments), 700: Command("freeze", "lr")}
    orders[900] = Command("resume", "lr", {"mode": "catch-up"})
    for number in range(count):
        ts += rng.choice((0, 1000, 90_000))
        if number in orders:
            found.append(codec.encode(Entry(f"c{number}", "command", ts, command=orders[number]), json=True))
            continue
        x = 1e300 if number == 1200 else rng.gauss(0, 1)
        features: Features = {"x": x, "y": 1.0} if number % 3 else {"x": x}
        p = rng.random()
        score = Score("lr", 1, number, p, p > 1.0 - p if binary else None)
        # Other models that scored it as well, or none.
        more_scores = (Score("b", 1, number, 0.5, True if binary else None),) * (number % 100 == 3)
        scores = () if number % 100 == 4 else (score, *more_scores)
        prediction = Prediction(f"r{number}", ts - 5000, features, scores, None, None, (), 1.0, number)
        at, asked = Position("shop.outcomes", 0, number), Position("shop.predictions", 0, number)
        outcome = (
            None
            if number % 50 == 7
            else Outcome(f"r{number}", ts, rng.random() < p if binary else rng.gauss(p, 3.0))
        )
        kind = "expired" if outcome is None else "labelled"
        places: tuple[Any, ...] = (asked, at if outcome else None, prediction, outcome)
        more: dict[str, Any] = (
            {"partition": 0, "progress": {"predictions": number}} if number % 97 == 0 else {}
        )
        trigger: tuple[Any, ...] = (at, ts + 9, f"{at}#0")
        if outcome is not None and number % 100 == 5:
            kind, trigger, places = (
                "backfill",
                (None, None, f"row {number}"),
                (None, None, prediction, outcome),
            )
        elif number % 100 == 6:
            trigger = at, None, f"{at}#0"
        found.append(codec.encode(Entry(trigger[2], kind, ts, *trigger[:2], *places, **more)))  # type: ignore[arg-type]  # as named above
    return [Kept(("shop.log", 0), offset, b"shop", value) for offset, value in enumerate(found)]


class Reader:
    """A reader of the log with a worker's monitors."""

    def __init__(self, task: Task, folder: Path, *, as_bytes: bool) -> None:
        context = TaskContext(
            LoadedTask(task, "shop.py", Path(), ()),
            Connection("127.0.0.1:1", {}),
            CODECS[task.kind],
            TaskTopics("shop"),
            1,
            "id",
            "group",
            "slot",
        )
        readiness, current = Readiness("shop", Acknowledging()), CurrentTopics(1)
        readiness.set_ready()
        models = [ModelFold(task, each, "runtime") for each in task.models]
        shared = (context, models, readiness, Resume(context, current), Statistics(), Turns())
        self.fold = LogFold(*shared, SnapshotStore(str(folder)))
        self.monitors = monitors(task)
        self.alerts: list[tuple[int, Any]] = []
        self.fold.listener = self.listen
        self.read = 0
        if as_bytes:
            watch = NativeWatch(task, self.monitors)
            self.fold.many = watch.fold
        else:
            self.fold._runs._scan = None
        self._decode, self.fold.read = self.fold.read, self.counted  # type: ignore[method-assign]  # counted

    def counted(self, message: Any) -> Entry | None:
        self.read += 1
        return self._decode(message)

    def listen(self, offset: int, entry: Entry | None) -> None:
        assert entry is not None
        for monitor in self.monitors:
            monitor.apply(offset, entry)
            self.alerts += [(offset, each) for each in monitor.alerts()]

    def seen(self) -> dict[str, Any]:
        fold = self.fold
        counts, freshness = fold.statistics.counts, fold.statistics.freshness
        return {
            "models": [
                (model.digest, model.learned_digest, str(model.version), str(model.learned_version))
                for model in fold.models
            ],
            "learners": [
                (model.learned, model.learner.learned, model.learner.snapshot()) for model in fold.models
            ],
            "next": (fold.next_offset, [(model.next_offset, model.left_out) for model in fold.models]),
            "counts": dict(counts),
            "fresh": [each.count for each in freshness.values()],
            "recent": [dict(each) for each in fold.recent],
            "monitors": [(each.name, state_digest(each.snapshot())) for each in self.monitors],
            "alerts": self.alerts,
        }


@pytest.mark.parametrize("name", TASKS)
def test_models_stand_at_the_same_entry_between_two_steps(tmp_path: Path, name: str) -> None:
    """A prediction names one offset, and has scores of all of them."""
    log, reader = log_of(TASKS[name], 2600), Reader(TASKS[name], tmp_path, as_bytes=True)
    fold, fold.listener = reader.fold, None  # as a worker that does not own the log
    for step in fold._steps(log):
        if step is not None:
            step.function()
        assert {fold.next_offset, *(each.next_offset for each in fold.models)} == {fold.next_offset}
    assert fold.next_offset == len(log)
    assert reader.read < 0.1 * len(log)  # commands, what is no label, and what a kernel rejects


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TASKS)
def test_any_cut_of_the_log_ends_as_it_does_entry_by_entry(tmp_path: Path, seed: int, name: str) -> None:
    log, rng = log_of(TASKS[name], 2600), random.Random(seed)
    one = Reader(TASKS[name], tmp_path / "1", as_bytes=False)
    two = Reader(TASKS[name], tmp_path / "2", as_bytes=True)

    async def play() -> None:
        at = 0
        while at < len(log):
            size = rng.choice((1, 7, 60, 400))
            for each in (one, two):
                await each.fold.apply(log[at : at + size])
            at += size
            assert one.seen() == two.seen()

    asyncio.run(play())
    assert one.read == len(log)
    if one.fold.context.task.kind == "binary":
        assert two.read < 0.35 * len(log)  # those that no core watches
    if "silence" in name or "regression" in name:
        return
    for model in two.fold.models:
        kind = {pipeline: "fused", Raises: "River", timed: "timed"}[model.model.build]
        assert model.learner.skipped == {"fused": 1, "River": 4, "timed": 0}[kind]
        states = [each.state for each in model.learner.steps.newest]
        assert [*states[:1], *states[-1:]] == {
            "fused": ["opened", "closed"],
            "River": ["opened", "updated"],
            "timed": [],
        }[kind]
