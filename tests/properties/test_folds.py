"""A fold is nothing but the entries that it has seen: cuts, redeliveries and restarts leave no trace in it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, preprocessing, tree

from schemas import Category, Dictionary, Number
from schemas.event_time import EPOCH
from schemas.records import Entry, Features, Outcome, Request
from streams import DefaultAtHorizon, Event, MemoryDriver, Model, OnArrival, Select, Task
from streams.fold import Fold, Measurement
from streams.model import ModelFold
from streams.model_state import ModelState
from streams.monitors import monitors
from streams.report import Resolutions, ScoreBook
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest


def logistic_regression() -> Any:
    scaled = Select("x", "y") | preprocessing.StandardScaler()
    return (scaled + (Select("c") | preprocessing.OneHotEncoder())) | linear_model.LogisticRegression()


def hoeffding_tree() -> Any:
    # Without a max_depth River takes one from this process's recursion limit, which Hypothesis changes.
    return tree.HoeffdingTreeClassifier(grace_period=5, delta=0.9, max_depth=20, nominal_attributes=["c"])


TASK = Task(
    name="folds",
    question="Does a fold depend on its entries only?",
    features=Dictionary(
        Number(name="x"), Number(name="y", optional=True), Category(name="c", missing="none")
    ),
    horizon=timedelta(seconds=10),
    earliest=EPOCH,
    revision_horizon=timedelta(seconds=300),
    models=(
        Model("lr", logistic_regression, policy=OnArrival()),
        Model("window", logistic_regression, policy=DefaultAtHorizon(False)),
        Model("ht", hoeffding_tree),
    ),
)


@cache
def history() -> tuple[Entry, ...]:
    """A log with facts of every kind, made by the loop itself."""
    events = []
    for n in range(70):
        ts, request_id = n * 2000, f"r{n}"
        values: dict[str, Any] = {"x": n * 7 % 11, "c": "abc"[n % 3]} | ({"y": n % 5 / 3} if n % 4 else {})
        first: dict[int, list[tuple[int, Any]]] = {
            0: [(4000, n % 2 == 0)],
            1: [(15_000, True)],
            2: [],
            3: [(3000, True), (30_000, False)],
            4: [(5000, None)],
            5: [(14_000, None)],
            6: [(9000, n % 4 == 0)],
        }
        outcomes = tuple(
            Outcome(request_id, ts + delay, value, reason=None if value is not None else "lost")
            for delay, value in first[n % 7]
        )
        events.append(Event(Request(request_id, ts, TASK.features.canonical(values)), outcomes))
    driver = MemoryDriver(TASK)
    list(driver.run(events))
    log = tuple(driver.log)
    assert {entry.kind for entry in log} >= {"labelled", "expired", "late", "revised", "unavailable", "time"}
    return log


ASKED: tuple[Features, ...] = (
    {"x": 3.0, "y": 0.1, "c": "a"},
    {"x": -1.0, "c": "new"},
    {"x": 8.0, "y": 1.0, "c": "b"},
)


class World:
    """The folds of one process."""

    def __init__(self) -> None:
        self.models = [ModelFold(TASK, model) for model in TASK.models]
        self.monitors = monitors(TASK)
        self.books = [ScoreBook(model) for model in TASK.models]
        self.resolutions = Resolutions()

    @property
    def others(self) -> list[Fold]:
        return [*self.monitors, *self.books, self.resolutions]

    def apply(self, start: int, entries: Sequence[Entry]) -> None:
        for fold in [*self.models, *self.others]:
            for offset, entry in enumerate(entries, start):
                fold.apply(offset, entry)

    def restarted(self) -> World:
        """A process that has nothing but the snapshots."""
        new = World()
        for model, fresh in zip(self.models, new.models, strict=True):
            fresh.restore(ModelState.load(dump(model.snapshot().values()), fresh.model))
        for other, new_other in zip(self.others, new.others, strict=True):
            new_other.restore(load(dump(other.snapshot()), new_other.snapshot()))
        return new

    def digests(self) -> list[str]:
        return [*(state_digest(each.snapshot()) for each in self.others), *(m.digest for m in self.models)]

    def answers(self) -> list[tuple[bytes | None, Any, str]]:
        """What each model says of a few requests, to the last bit, and under which version."""
        found = []
        for fold in self.models:
            for x in ASKED:
                score = fold.predict(x)
                bits = struct.pack("<d", score.score) if isinstance(score.score, float) else None
                found.append((bits, score.label, score.version))
        return found


class Step(NamedTuple):
    entries: int
    again: int
    """How many of the last entries come once more, before the new ones."""
    restart: bool
    predict: bool


STEPS = st.lists(
    st.builds(Step, st.integers(1, 40), st.integers(0, 30), st.booleans(), st.booleans()), max_size=12
)


@cache
def undisturbed() -> tuple[list[str], list[tuple[bytes | None, Any, str]], list[list[Measurement]]]:
    world = World()
    world.apply(0, history())
    return world.digests(), world.answers(), [list(each.measurements()) for each in world.monitors]


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_cuts_redeliveries_restarts_and_predicting_change_no_fold(steps: list[Step]) -> None:
    log, world, at = history(), World(), 0
    for step in [*steps, Step(len(log), 0, False, False)]:
        start = max(0, at - step.again)
        world.apply(start, log[start : at + step.entries])
        at = min(len(log), at + step.entries)
        if step.predict:
            world.answers()
        if step.restart:
            world = world.restarted()
    digests, answers, metrics = undisturbed()
    assert world.answers() == answers
    assert world.digests() == digests
    assert [list(each.measurements()) for each in world.monitors] == metrics


def test_a_fold_of_half_the_log_is_another_state() -> None:
    log, world = history(), World()
    world.apply(0, log[: len(log) // 2])
    digests, answers, _ = undisturbed()
    assert all(ours != theirs for ours, theirs in zip(world.digests(), digests, strict=True))
    assert world.answers() != answers


def test_versions_name_the_last_entry_that_taught_and_nothing_else() -> None:
    log, world = history(), World()
    for offset, entry in enumerate(log):
        before = [fold.version for fold in world.models]
        digests = [fold.digest for fold in world.models]
        world.apply(offset, [entry])
        for fold, version, digest in zip(world.models, before, digests, strict=True):
            taught = entry.command is None and fold.model.policy.label(entry) is not None
            if taught:
                assert fold.version.offset == offset
                assert fold.digest != digest
            elif entry.command is None:
                assert fold.version == version
                assert fold.digest == digest
