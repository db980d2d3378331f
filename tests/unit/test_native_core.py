"""When a kernel learns, when River does, and that nobody can tell from the results."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from river import compose, linear_model, naive_bayes, optim, preprocessing

from agents import settings
from infra.build.hook import source_digest
from infra.runtime import runtime_fingerprint
from schemas import Category, Dictionary, Number
from schemas.errors import UsageError
from schemas.event_time import EPOCH
from streams import Model, Select, Task, native
from streams.model import ModelFold
from streams.native import fused
from streams.native.plan import NotFused, plan_of
from streams.native.proof import difference, examples, untaught_difference
from streams.snapshot.digest import state_digest
from tests.fused import MIXED, NUMBERS, PIPELINES

needs_core = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")


@pytest.fixture
def core() -> Iterator[None]:
    """What was chosen is chosen again afterwards."""
    before = native.chosen()
    yield
    native.choose(before)


def fold_of(
    make: Any, dictionary: Dictionary = NUMBERS, kind: Any = "binary", core: str = "native"
) -> ModelFold:
    task = Task(
        name="core",
        question="Which core?",
        features=dictionary,
        kind=kind,
        horizon=timedelta(seconds=1),
        earliest=EPOCH,
        models=(Model("model", make),),
    )
    return ModelFold(task, task.models[0], core=core)


def scaled() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def example(number: int) -> dict[str, Any]:
    return {f"x{n}": math.sin(number * (n + 1)) for n in range(8)}


def teach(fold: ModelFold, first: int, last: int) -> None:
    for n in range(first, last):
        assert fold.learner.learn(n, n, str(n), example(n), n % 3 == 0)


# ------------------------------------------------------------------ which one


@needs_core
def test_the_compiled_module_is_that_of_these_sources() -> None:
    root = Path(__file__).parents[2]
    assert source_digest(root) == native.built().SOURCES, "run pip install -e . again"


def test_the_setting_names_the_cores_that_there_are() -> None:
    assert settings.CORES == native.CORES


def test_a_core_that_is_not_built_is_an_error_only_when_it_is_asked_for(
    core: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "built", lambda: None)
    native.choose("auto")
    fold = fold_of(scaled, core="")
    assert fold.prepare() == "the native core is not built"
    teach(fold, 0, 3)
    assert fold.learned == 3
    assert runtime_fingerprint()[1].endswith(", core python (native is not built)")
    with pytest.raises(UsageError, match="install riverloop where there is a C"):
        native.choose("native")
    with pytest.raises(UsageError, match="must be one of auto, native, python"):
        native.choose("fast")


def test_the_core_is_named_in_the_runtime_and_no_part_of_its_fingerprint(core: None) -> None:
    digest, text = runtime_fingerprint()
    native.choose("python")
    assert runtime_fingerprint()[0] == digest
    assert runtime_fingerprint()[1].endswith(", core python")
    assert text.rpartition(", ")[0] == runtime_fingerprint()[1].rpartition(", ")[0]


@needs_core
@pytest.mark.parametrize(
    ("make", "kind", "reason"),
    [
        (naive_bayes.GaussianNB, "binary", "GaussianNB is not fused for a task of kind binary"),
        (
            lambda: linear_model.LogisticRegression(optim.Adam()),
            "binary",
            "river.optim.adam.Adam is not fused",
        ),
        (lambda: linear_model.LogisticRegression(l1=0.1), "binary", "l1 is not fused"),
        (
            lambda: linear_model.LogisticRegression(initializer=optim.initializers.Normal(seed=1)),
            "binary",
            "Normal is not fused",
        ),
        (
            lambda: linear_model.LogisticRegression(loss=optim.losses.BinaryFocalLoss()),
            "binary",
            "BinaryFocalLoss is not fused",
        ),
        (
            lambda: preprocessing.StandardScaler(window_size=3) | linear_model.LogisticRegression(),
            "binary",
            "a StandardScaler with a window",
        ),
        (
            lambda: preprocessing.Normalizer() | linear_model.LogisticRegression(),
            "binary",
            "Normalizer is not fused",
        ),
        (
            lambda: compose.Pipeline(
                Select("x1") | preprocessing.StandardScaler() + Select("x1"), linear_model.LinearRegression()
            ),
            "regression",
            "Pipeline is not fused",
        ),
        (
            lambda: compose.TransformerUnion(Select("x1"), Select("x1")) | linear_model.LinearRegression(),
            "regression",
            "a union that gives a feature twice",
        ),
        (
            lambda: preprocessing.OneHotEncoder() | linear_model.LinearRegression(),
            "regression",
            "a OneHotEncoder of numbers",
        ),
    ],
)
def test_a_pipeline_that_the_kernel_does_not_do_runs_in_river(make: Any, kind: str, reason: str) -> None:
    with pytest.raises(NotFused, match=reason):
        plan_of(make(), NUMBERS, kind)
    fold = fold_of(make, kind=kind)
    assert reason in fold.prepare()
    reference = fold_of(make, kind=kind, core="python")
    label = True if kind == "binary" else 1.0
    learned = [each.learner.learn(1, 1, "1", example(1), label) for each in (fold, reference)]
    assert learned[0] == learned[1]
    assert fold.digest == reference.digest


def test_a_class_that_someone_has_derived_or_patched_runs_in_river() -> None:
    class Mine(linear_model.LogisticRegression):
        pass

    with pytest.raises(NotFused, match="Mine is not fused"):
        plan_of(Mine(), NUMBERS, "binary")
    patched = scaled()
    patched["StandardScaler"].learn_one = lambda x: None
    with pytest.raises(NotFused, match="a StandardScaler has fields of its own"):
        plan_of(patched, NUMBERS, "binary")
    with pytest.raises(NotFused, match="c is a text before the linear model"):
        plan_of(linear_model.LinearRegression(), MIXED, "regression")


# ------------------------------------------------------------------ equal to River, or River


@needs_core
def test_one_differing_bit_in_the_proof_and_river_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class OneBitOff(native.built().Kernel):  # type: ignore[misc]  # found at run time
        steps = 0

        def learn(self, x: Any, y: Any) -> Any:
            score = super().learn(x, y)
            OneBitOff.steps += 1
            return score if OneBitOff.steps != 321 else math.nextafter(score, 2)

    make, dictionary, kind = PIPELINES["encoded"]
    assert difference(make, dictionary, kind, native.built().Kernel) == ""
    found = difference(make, dictionary, kind, OneBitOff)
    assert found == "in run 0, example 320: the score after learning it differs"

    class Module:
        Kernel = OneBitOff

    OneBitOff.steps = 0
    monkeypatch.setattr(native, "built", lambda: Module)
    monkeypatch.setattr(fused, "_proven", {})
    fold = fold_of(make, dictionary)
    assert fold.prepare() == f"the kernel does not equal River: {found}"


@needs_core
def test_a_kernel_that_learns_almost_nothing_is_not_proven() -> None:
    class Shy(native.built().Kernel):  # type: ignore[misc]  # found at run time
        def learn(self, x: Any, y: Any) -> Any:
            return None

    make, dictionary, kind = PIPELINES["scaled"]
    assert difference(make, dictionary, kind, Shy) == "the kernel has learned only 0% of the examples"


@needs_core
def test_a_kernel_scores_before_the_first_learned_example_where_the_proof_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class OneBitOff(native.built().Kernel):  # type: ignore[misc]  # found at run time
        """It differs before the first learned example, where a feature is missing."""

        def predict(self, x: Any) -> Any:
            score = super().predict(x)
            return score if "real" in x or self.dump()[4] else math.nextafter(score, 2)

    make, dictionary, kind = PIPELINES["encoded"]
    assert untaught_difference(make, dictionary, kind, native.built().Kernel) == ""
    assert "a score before the first learned example differs" in untaught_difference(
        make, dictionary, kind, OneBitOff
    )

    fold, reference = fold_of(make, dictionary), fold_of(make, dictionary, core="python")
    names, kinds = plan_of(make(), dictionary, kind).plan[:2]
    assert fold.kernel(names, kinds) is None  # nothing is proven yet
    assert fold.prepare() == ""
    assert fold.kernel(names, kinds) is not None
    digest = fold.digest
    for x in ({}, {"c": "new"}, {"real": 1.0, "whole": 3}, {"a_b": 0.5, "flag": True}):
        assert fold.predict(x) == reference.predict(x)
    assert fold._untaught is None
    assert fold.predict({"c": 3}) == reference.predict({"c": 3})  # a text is expected
    assert fold._untaught is not None
    assert (fold.digest, reference.digest) == (digest, digest)

    class Module:
        Kernel = OneBitOff

    monkeypatch.setattr(native, "built", lambda: Module)
    monkeypatch.setattr(fused, "_proven", {})
    asked = fold_of(make, dictionary)
    assert asked.prepare() == ""  # it learns in the kernel
    assert asked.kernel(names, kinds) is None
    assert asked.predict({"c": "new"}) == reference.predict({"c": "new"})
    assert asked._untaught is not None


@needs_core
def test_the_kernel_learns_and_river_only_follows_when_it_is_asked() -> None:
    fold = fold_of(scaled)
    teach(fold, 0, 1500)
    stale: Any = fold.learner.pipeline._river
    assert stale["LogisticRegression"].optimizer.n_iterations == 0
    assert not fold.learner.is_behind  # no copies are kept
    assert not fold.learner._since
    reference = fold_of(scaled, core="python")
    teach(reference, 0, 1500)
    assert fold.digest == reference.digest
    assert stale["LogisticRegression"].optimizer.n_iterations == 1500
    teach(fold, 1500, 1510)
    teach(reference, 1500, 1510)
    assert fold.digest == reference.digest


@needs_core
def test_who_takes_the_estimator_may_change_it() -> None:
    fold, reference = fold_of(scaled), fold_of(scaled, core="python")
    for each in (fold, reference):
        teach(each, 0, 10)
        model: Any = each.estimator
        model["LogisticRegression"].intercept += 0.5
        teach(each, 10, 20)
    assert fold.digest == reference.digest
    assert fold.learner.pipeline.is_fused
    assert fold.predict(example(3)) == reference.predict(example(3))


@needs_core
def test_an_example_that_river_fails_at_is_undone_and_costs_nothing_else() -> None:
    fold, reference = fold_of(scaled), fold_of(scaled, core="python")
    for each in (fold, reference):
        teach(each, 0, 50)
        for bad in ({"x1": 1e308, "x2": 1.0}, {"x1": "text"}, {"x9": math.inf}):
            assert not each.learner.learn(50, 50, "bad", bad, True)
        teach(each, 51, 60)
    assert fold.digest == reference.digest
    assert fold.learner.snapshot() == reference.learner.snapshot()
    assert [each.exception for each in fold.learner.newest][1:] == [
        "TypeError in river.preprocessing.scale:287",
        "NotFinite: a number of the state is no longer finite",
    ]
    assert fold.learner.pipeline.is_fused


def encoded() -> Any:
    encoder = Select("a", "a_b") | preprocessing.OneHotEncoder()
    return (encoder + (Select("a_x") | preprocessing.StandardScaler())) | linear_model.LogisticRegression()


NAMES = Dictionary(Category(name="a"), Category(name="a_b"), Number(name="a_x"))


@needs_core
def test_columns_of_the_same_name_are_rivers() -> None:
    fold, reference = fold_of(encoded, NAMES), fold_of(encoded, NAMES, core="python")
    same: list[dict[str, Any]] = [
        {"a": "b_c", "a_b": "c", "a_x": 1.0},
        {"a": "b_c", "a_b": "d", "a_x": 2.0},
        {"a": "b_d", "a_b": "d", "a_x": 3.0},
    ]
    for each in (fold, reference):
        for n in range(9):
            assert each.learner.learn(n, n, "", same[n % 3], n % 2 == 0)
    assert fold.learner.pipeline.is_fused  # two levels of one encoder, one column
    assert fold.digest == reference.digest
    collides: dict[str, Any] = {"a": "x", "a_b": "c", "a_x": 4.0}
    assert fold.predict(collides) == reference.predict(collides)
    for each in (fold, reference):
        assert each.learner.learn(9, 9, "", collides, True)
        assert each.learner.learn(10, 10, "", same[0], True)
    assert fold.learner.pipeline.why == "two columns have the same name"
    assert fold.digest == reference.digest
    assert fold.predict(collides) == reference.predict(collides)


@needs_core
def test_where_river_answers_too_often_it_does_so_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "DEBT", 100)
    fold, reference = fold_of(scaled), fold_of(scaled, core="python")
    for each in (fold, reference):
        for n in range(40):
            assert each.learner.learn(n, n, "", dict(reversed(example(n).items())), True)
    assert fold.learner.pipeline.why == "River has had to answer too often"
    assert fold.digest == reference.digest


@needs_core
def test_text_of_any_length_and_kind_is_a_level_of_its_own() -> None:
    fold, reference = fold_of(encoded, NAMES), fold_of(encoded, NAMES, core="python")
    levels = ["", "\x00", "a\x00b", "a\x00", "é", "é", "名" * 5_000, "x" * 100_000, "\U0001f600", "_"]
    for each in (fold, reference):
        for n in range(60):
            assert each.learner.learn(
                n, n, "", {"a": levels[n % 10], "a_b": levels[n % 7], "a_x": 1.0 * n}, n % 3 == 0
            )
    assert fold.learner.pipeline.is_fused
    assert fold.digest == reference.digest
    surrogate: dict[str, Any] = {"a": "\ud800", "a_b": "", "a_x": 0.0}
    assert fold.predict(surrogate) == reference.predict(surrogate)


@needs_core
def test_threads_that_score_and_learn_at_once_each_get_a_whole_state() -> None:
    make, dictionary, kind = PIPELINES["scaled"]
    planned = plan_of(make(), dictionary, kind)
    kernel = native.built().Kernel(planned.plan)
    river: Any = make()
    xs, ys = [example(n) for n in range(3000)], [n % 3 == 0 for n in range(3000)]
    expected = set()
    for x, y in zip(xs, ys, strict=True):
        expected.add(river.predict_proba_one(xs[0])[True])
        river.learn_one(x, y)
    expected.add(river.predict_proba_one(xs[0])[True])
    found: list[list[float]] = [[], []]

    def score(into: list[float]) -> None:
        while not done.is_set():
            into.extend(kernel.predict_many([xs[0]] * 10))
            into.append(kernel.predict(xs[0]))

    done = threading.Event()
    threads = [threading.Thread(target=score, args=(each,)) for each in found]
    for each in threads:
        each.start()
    for start in range(0, 3000, 500):
        assert len(kernel.learn_many(xs[start : start + 500], ys[start : start + 500])) == 500
    done.set()
    for each in threads:
        each.join()
    assert all(found)
    assert {*found[0], *found[1]} <= expected
    assert state_digest(fold_of(scaled).estimator) != state_digest(river)


@needs_core
@pytest.mark.parametrize("name", ["scaled", "encoded", "everything", "huber"])
@pytest.mark.parametrize("before", [0, 200])
def test_undoing_leaves_nothing_behind_not_even_an_order(name: str, before: int) -> None:
    make, dictionary, kind = PIPELINES[name]
    planned = plan_of(make(), dictionary, kind)
    kernel, twin = (native.built().Kernel(planned.plan) for _ in range(2))
    given = list(examples(dictionary, kind, 2 * before + 200, seed=7))
    for x, y in given[:before]:
        assert kernel.learn(x, y) == twin.learn(x, y)
    was = kernel.dump()
    for last in (1, 20, 100):
        kernel.mark()
        kernel.learn_many(
            [x for x, _ in given[before : before + last]], [y for _, y in given[before : before + last]]
        )
        assert kernel.dump() != was
        kernel.undo()
        assert kernel.dump() == was == twin.dump()
    rejected = 0
    for (x, y), large in itertools.product(given[before : before + 20], (1e155, 1e200, 1e300, 1e308)):
        odd = {each: f"new {value}" if isinstance(value, str) else value for each, value in x.items()}
        odd |= {each: large for each, value in x.items() if isinstance(value, float)}
        kernel.mark()
        if kernel.learn(odd, y) is None:
            rejected += 1
            kernel.keep()
        else:
            kernel.undo()
        assert kernel.dump() == was
    assert rejected > 0 or before == 0 or name in {"everything", "huber"}  # which squares nothing
    for x, y in given[before:]:
        assert kernel.learn(x, y) == twin.learn(x, y)
    assert kernel.dump() == twin.dump()


@needs_core
def test_a_task_file_that_fails_to_make_a_pipeline_again_costs_only_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused, "_proven", {})
    made: list[Any] = []

    def make() -> Any:
        made.append(1)
        if len(made) in broken:
            raise RuntimeError("no more of them")
        return scaled()

    broken: set[int] = set()
    fold = fold_of(make)
    broken.add(len(made) + 1)
    assert fold.prepare().startswith("RuntimeError in ")
    assert fold.learner.learn(0, 0, "0", example(0), True)

    made.clear()
    broken.clear()
    fold = fold_of(make)
    assert fold.prepare() == ""
    teach(fold, 0, 5)
    broken.update(range(1_000))
    assert not fold.learner.learn(5, 5, "bad", {"x1": "text"}, True)
    assert fold.learner.stopped is not None
    assert fold.learner.stopped.why.startswith("its state cannot be restored: RuntimeError in ")
