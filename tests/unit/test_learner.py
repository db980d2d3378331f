"""How a model's state is kept and made again: however deep it is, and however much it costs."""

from __future__ import annotations

import copy
import sys
from datetime import timedelta
from typing import Any

import pytest
from river import base, forest, preprocessing
from river import linear_model as lm

from schemas import Dictionary, Number
from schemas.errors import SnapshotError
from streams import Model, Task
from streams.failures import NoCopy
from streams.learner import LEAST_KEPT, Learner
from streams.model import ModelFold
from streams.snapshot.digest import state_digest
from streams.state_copy import StateCopy


class Deep(base.Regressor):
    """Keeps what it has learned as a chain, each link within the next."""

    def __init__(self) -> None:
        self.chain: list[Any] = []
        self.other: Any = None

    def learn_one(self, x: Any, y: Any) -> None:
        """Add a link, and fail at 0."""
        self.chain = [self.chain, y]
        if y == 0:
            raise ZeroDivisionError

    def predict_one(self, x: Any) -> float:
        """Answer with the newest link."""
        return float(self.chain[1]) if self.chain else 0.0


def chain(links: list[Any]) -> list[Any]:
    found = []
    while links:
        links, value = links
        found.append(value)
    return found[::-1]


def learned(learner: Learner, values: list[float]) -> list[bool]:
    return [learner.learn(n, n * 1000, f"r{n}", {"x": 1.0}, value) for n, value in enumerate(values)]


def test_a_state_too_deep_to_be_copied_by_recursion_is_kept_all_the_same() -> None:
    count = max(LEAST_KEPT + 10, 2 * sys.getrecursionlimit())
    learner = Learner(Deep, "regression", 10)
    assert all(learned(learner, [float(n) for n in range(1, count)]))
    assert isinstance(learner.estimator, Deep)
    with pytest.raises(RecursionError):
        copy.deepcopy(learner.estimator)
    assert learned(learner, [0.0, 7.0]) == [False, True]
    assert learner.stopped is None
    assert chain(learner.estimator.chain) == [*map(float, range(1, count)), 7.0]


def test_a_model_whose_state_cannot_be_copied_stops_learning_where_it_fails() -> None:
    def make() -> Deep:
        made = Deep()
        made.other = (each for each in (1, 2))  # a generator has no state that could be copied
        return made

    with pytest.raises(TypeError):
        StateCopy(make())
    for before in (3, LEAST_KEPT + 3):
        learner = Learner(make, "regression", 10)
        assert learned(learner, [*[1.0] * before, 0.0]) == [*[True] * before, False]
        assert learner.stopped is not None
        assert learner.stopped.offset == before
        assert learner.stopped.why.startswith("its state cannot be restored: TypeError in copy:")
        assert [step.signal for step in learner.steps.newest] == ["skipped", "stopped"]


def test_without_copies_a_failing_example_ends_the_fold() -> None:
    learner = Learner(Deep, "regression", 10)
    learner.keeps_copies = False
    assert learned(learner, [*[1.0] * (LEAST_KEPT + 3)]) == [True] * (LEAST_KEPT + 3)
    assert not learner.is_behind
    with pytest.raises(NoCopy, match=r"^log offset \d+: ZeroDivisionError in "):
        learned(learner, [0.0])


def test_a_copy_without_the_form_of_snapshots_is_a_copy() -> None:
    made = Deep()
    made.other = object()
    made.learn_one({}, 3.0)
    taken = StateCopy(made)
    made.learn_one({}, 4.0)
    assert chain(taken.made(Deep).chain) == [3.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: preprocessing.StandardScaler() | lm.LogisticRegression(),
        lambda: forest.ARFClassifier(n_models=3, seed=1, grace_period=20),
    ],
)
def test_a_copy_is_the_state_bit_for_bit_and_may_be_used_again(make: Any) -> None:
    model = make()
    for n in range(300):
        model.learn_one({"x": n * 7 % 11 / 3, "y": n % 13 / 5}, n * 7 % 11 > 4)
    taken, digest = StateCopy(model), state_digest(model)
    for _ in range(2):
        twin = taken.made(make)
        assert state_digest(twin) == digest
        for n in range(100):
            twin.learn_one({"x": float(n), "y": 1.0}, n % 2 == 0)
        assert state_digest(twin) != digest
    assert state_digest(model) == digest


def test_a_state_of_which_nothing_can_be_made_stops_the_model_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner = Learner(Deep, "regression", 10)
    learned(learner, [1.0, 2.0])
    calls = 0

    def unlike() -> Deep:
        nonlocal calls
        calls += 1
        raise SnapshotError("of another model")

    monkeypatch.setattr(learner, "_make", unlike)
    assert learned(learner, [0.0]) == [False]
    assert calls == 1
    assert learner.stopped is not None
    assert "SnapshotError" in learner.stopped.why


class Hungry(Deep):
    """Has no memory left at 1, when it has learned half of the example."""

    def learn_one(self, x: Any, y: Any) -> None:
        """Learn, or end the process's work."""
        super().learn_one(x, y)
        if y == 1:
            raise MemoryError


def test_no_snapshot_is_taken_of_a_model_in_the_middle_of_an_entry() -> None:
    task = Task(
        name="hungry",
        question="How much?",
        features=Dictionary(Number(name="x")),
        horizon=timedelta(days=1),
        kind="regression",
        models=(Model("hungry", Hungry),),
    )
    fold = ModelFold(task, task.models[0])
    fold.snapshot()
    with pytest.raises(MemoryError):
        fold.learner.learn(0, 0, "r0", {"x": 1.0}, 1.0)
    with pytest.raises(SnapshotError, match="in the middle of"):
        fold.snapshot()


def test_what_is_put_off_is_in_no_snapshot_before_it_is_done() -> None:
    task = Task(
        name="deep",
        question="How much?",
        features=Dictionary(Number(name="x")),
        horizon=timedelta(days=1),
        kind="regression",
        models=(Model("deep", Deep),),
    )
    fold = ModelFold(task, task.models[0])
    fold.learner.puts_off = True
    assert fold.learner.learn(0, 0, "r0", {"x": 1.0}, 5.0)
    assert not fold.learner.learn(1, 0, "r1", {"x": 1.0}, 0.0)
    assert fold.learner.is_behind
    with pytest.raises(SnapshotError, match="in the middle of"):
        fold.snapshot()
    fold.learner.catch_up()
    assert fold.learner.skipped == 1
    assert isinstance(fold.estimator, Deep)
    assert chain(fold.estimator.chain) == [5.0]
    fold.snapshot()
