"""A model in the kernel and the same in River: whatever is asked, learned, stored or undone, all bits are equal."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.event_time import EPOCH
from streams import Model, Task, native
from streams.model import ModelFold
from streams.native import proof
from streams.native.plan import plan_of
from streams.native.state import read, write
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest
from tests.fused import PIPELINES, Fusable, bits, features, targets

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")


class Pair:
    """A fold in the kernel, and one in River."""

    def __init__(self, name: str) -> None:
        self.name, (make, dictionary, kind) = name, PIPELINES[name]
        task = Task(
            name="fused",
            question="Does it differ?",
            features=dictionary,
            kind=kind,  # type: ignore[arg-type]  # one of them
            horizon=timedelta(seconds=1),
            earliest=EPOCH,
            models=(Model("model", make),),
            max_skipped=999,
        )
        self.folds = [ModelFold(task, task.models[0], core=core) for core in ("native", "python")]
        assert self.folds[0].prepare() == ""
        assert self.folds[1].prepare() == "Python is set"
        self.learned = 0

    def both(self, do: Any) -> Any:
        one, other = [do(fold) for fold in self.folds]
        assert one == other
        return one

    def predict(self, x: dict[str, Any]) -> None:
        def ask(fold: ModelFold) -> tuple[Any, ...]:
            score = fold.predict(x)
            assert not isinstance(score.score, dict)
            return bits(score.score), score.label, type(score.label), score.version, score.failure

        self.both(ask)

    def learn(self, x: dict[str, Any], y: Any) -> None:
        self.learned += 1
        self.both(lambda fold: fold.learner.learn(self.learned, self.learned, str(self.learned), dict(x), y))

    def restart(self, crossed: bool) -> None:
        """Restore each from its own snapshot, or from the other's."""
        states = [fold.snapshot() for fold in self.folds]
        fresh = Pair(self.name)
        for fold, state in zip(fresh.folds, reversed(states) if crossed else states, strict=True):
            estimator = load(dump(state.estimator), fold.model.make())
            fold.restore(replace(state, estimator=estimator))
        self.folds = fresh.folds

    def touch(self) -> None:
        """Take River's object, which might be changed from then on."""
        assert state_digest(self.folds[0].estimator) == state_digest(self.folds[1].estimator)

    def freeze(self) -> None:
        if self.folds[0].frozen is None:
            self.both(lambda fold: fold._freeze(self.learned))

    def resume(self, skip: bool) -> None:
        self.both(lambda fold: fold._thaw(skip=skip))

    def check(self) -> None:
        self.both(lambda fold: (fold.digest, fold.learner.snapshot(), fold.learned, fold.learner.lately))


@pytest.mark.parametrize("name", PIPELINES)
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_happens_to_a_model_happens_to_it_bit_for_bit(name: str, data: st.DataObject) -> None:
    pair = Pair(name)
    example, target = features(pair.folds[0].task.features), targets(pair.folds[0].task.kind)
    for _ in range(data.draw(st.integers(1, 25))):
        act = data.draw(
            st.sampled_from(
                ["learn"] * 6
                + ["predict"] * 3
                + ["check", "restart", "cross", "touch", "freeze", "resume", "skip"]
            )
        )
        if act == "learn":
            pair.learn(data.draw(example), data.draw(target))
        elif act == "predict":
            pair.predict(data.draw(example))
        elif act == "check":
            pair.check()
        elif act == "touch":
            pair.touch()
        elif act == "freeze":
            pair.freeze()
        elif act in ("resume", "skip"):
            pair.resume(act == "skip")
        else:
            pair.restart(act == "cross")
    pair.check()


class Kernels:
    """A kernel, and River beside it, without a fold."""

    def __init__(self, fusable: Fusable) -> None:
        self.fusable = fusable
        self.river = fusable.make()
        planned = plan_of(self.river, fusable.dictionary, fusable.kind)
        self.kernel = native.built().Kernel(planned.plan)
        self.kernel.load(*read(planned))
        self.learned = 0

    def digest(self) -> str:
        twin = self.fusable.make()
        write(plan_of(twin, self.fusable.dictionary, self.fusable.kind), self.kernel.dump())
        return state_digest(twin)

    def follow(self, xs: list[Any], ys: list[Any]) -> None:
        for x, y in zip(xs, ys, strict=True):
            self.river.learn_one(dict(x), y)
            self.learned += 1

    def score(self, x: dict[str, Any]) -> float:
        if self.fusable.kind == "regression":
            return float(self.river.predict_one(dict(x)))
        return float(self.river.predict_proba_one(dict(x))[True])


@pytest.mark.parametrize("name", ["encoded", "everything", "huber", "scaled numbers"])
@settings(max_examples=40)
@given(data=st.data())
def test_batches_learn_up_to_the_first_that_river_must_and_can_be_undone(
    name: str, data: st.DataObject
) -> None:
    both = Kernels(PIPELINES[name])
    example, target = features(both.fusable.dictionary), targets(both.fusable.kind)
    pairs = st.lists(st.tuples(example, target), max_size=12)
    for _ in range(data.draw(st.integers(1, 4))):
        batch = data.draw(pairs)
        xs, ys = [x for x, _ in batch], [y for _, y in batch]
        undone = data.draw(st.booleans())
        before = both.digest()
        if undone:
            both.kernel.mark()
        scores = both.kernel.learn_many(xs, ys)
        if len(scores) < len(batch):
            after = both.digest()
            assert both.kernel.learn(xs[len(scores)], ys[len(scores)]) is None
            assert both.digest() == after
        if undone and data.draw(st.booleans()):
            both.kernel.undo()
            assert both.digest() == before
        else:
            both.kernel.keep()
            both.follow(xs[: len(scores)], ys[: len(scores)])
            if scores:
                assert bits(scores[-1]) == bits(both.score(xs[len(scores) - 1]))
        assert both.digest() == state_digest(both.river)
        found = both.kernel.predict_many(xs)
        assert [bits(each) for each in found] == [bits(both.kernel.predict(x)) for x in xs]
        if both.learned:
            for x, score in zip(xs, found, strict=True):
                assert score is None or proof.bits(score) == proof.bits(both.score(x))
