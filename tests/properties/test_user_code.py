"""Code of a task file that raises, or answers nonsense, costs nothing but itself, and the same in every replica."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, linear_model, neighbors, optim, preprocessing, tree

from schemas import Category, Dictionary, Number
from schemas.alert import Alert
from schemas.event_time import EPOCH
from schemas.records import Entry, Outcome, Request
from streams import DriftRules, Event, MemoryDriver, Model, OnArrival, Select, Task, Watch
from streams.drift.fold import DriftFold
from streams.learner import LEAST_KEPT
from streams.model import ModelFold
from streams.model_state import ModelState
from streams.monitors import monitors
from streams.policies import Label
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest

TROUBLES = ("learn", "half", "panic", "exit", "nan", "predict", "policy", "nonsense")
"""Where a model raises, or what it answers, for an example; `half`: when it has learned half of it."""


class PanicException(BaseException):
    """As a library written in Rust raises it."""


class Delicate(base.Classifier):
    """Learns as a Hoeffding tree does, and breaks on request."""

    def __init__(self) -> None:
        self.tree = tree.HoeffdingTreeClassifier(grace_period=3, delta=0.9, max_depth=10)
        self.calls = 0
        self.spoilt = 0.0

    def learn_one(self, x: Any, y: Any) -> None:
        """Learn, or break."""
        trouble = x.pop("trouble")
        if trouble == "learn":
            raise OverflowError("math range error")
        self.calls += 1
        if trouble == "half":
            raise ValueError
        self.tree.learn_one(x, y)
        if trouble == "panic":
            raise PanicException
        if trouble == "exit":
            sys.exit(1)
        if trouble == "nan":
            self.spoilt = math.nan

    def predict_proba_one(self, x: Any, **_: Any) -> dict[Any, float]:
        """Answer, or break."""
        if x.pop("trouble") == "predict":
            raise ZeroDivisionError
        found: dict[Any, float] = self.tree.predict_proba_one(x)
        return {value: share + self.spoilt for value, share in found.items()} or {True: 0.5 + self.spoilt}


@dataclass(frozen=True, slots=True)
class Moody:
    """A policy that breaks on request."""

    def label(self, entry: Entry) -> Label | None:
        """Give the label, or break."""
        trouble = entry.prediction.features["trouble"] if entry.prediction else ""
        if trouble == "policy":
            raise KeyError("Ada Lovelace")
        label = OnArrival().label(entry)
        return Label("yes") if trouble == "nonsense" and label else label


def logistic_regression() -> Any:
    return Select("x") | preprocessing.StandardScaler() | linear_model.LogisticRegression()


GOOD = Model("good", logistic_regression)
BAD = Model("bad", Delicate, policy=Moody())
TASK = Task(
    name="trouble",
    question="Does it cost anybody else?",
    features=Dictionary(Number(name="x"), Category(name="trouble")),
    earliest=EPOCH,
    horizon=timedelta(seconds=10),
    models=(GOOD, BAD),
)


def events(troubles: Sequence[str]) -> list[Event]:
    found = []
    for n, trouble in enumerate(troubles):
        ts, request_id = n * 1000, f"r{n}"
        features = TASK.features.canonical({"x": n * 7 % 11, "trouble": trouble})
        found.append(
            Event(Request(request_id, ts, features), (Outcome(request_id, ts + 2500, n * 7 % 11 > 4),))
        )
    return found


def played(task: Task, troubles: Sequence[str]) -> MemoryDriver:
    driver = MemoryDriver(task, folds=monitors(task))
    list(driver.run(events(troubles)))
    return driver


def restarted(fold: ModelFold) -> ModelFold:
    """The fold of a process that has nothing but the snapshot."""
    fresh = ModelFold(fold.task, fold.model)
    fresh.restore(ModelState.load(dump(fold.snapshot().values()), fresh.model, [Delicate]))
    return fresh


def knowledge(fold: ModelFold) -> tuple[Any, ...]:
    return fold.digest, str(fold.version), fold.learned, fold.next_offset, fold.learner.snapshot()


def expected(troubles: Sequence[str], most: int) -> tuple[str, int, list[str]]:
    """The digest, what was learned, and what was skipped, of a model that never met trouble."""
    model, learned, passed = Delicate(), 0, list[str]()
    for n, trouble in enumerate(troubles):
        if len(passed) > most:
            break
        if trouble:
            passed.append(f"r{n}")
        else:
            model.learn_one({"x": float(n * 7 % 11), "trouble": ""}, n * 7 % 11 > 4)
            learned += 1
    return state_digest(model), learned, passed


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(("", "", "", *TROUBLES)), min_size=1, max_size=40),
    st.sampled_from((0, 2, 10)),
    st.sets(st.integers(0, 60), max_size=4),
)
def test_a_shadow_in_trouble_is_as_if_it_had_never_met_it(
    troubles: list[str], most: int, cuts: set[int]
) -> None:
    task = replace(TASK, max_skipped=most)
    driver = played(task, troubles)
    good, bad = driver.models
    digest, learned, passed = expected(troubles, most)
    assert (bad.digest, bad.learned, bad.learner.skipped) == (digest, learned, len(passed))
    assert [each.request_id for each in bad.learner.newest] == passed
    assert (bad.learner.stopped is not None) == (len(passed) > most)

    # Nobody else notices.
    alone = played(replace(task, models=(GOOD,)), troubles)
    assert good.digest == alone.models[0].digest
    served = [[e.prediction.scores[0] for e in d.log if e.prediction] for d in (driver, alone)]
    assert [s.score for s in served[0]] == [s.score for s in served[1]]

    # Every refold, with restarts anywhere, comes to the same.
    fold = ModelFold(task, BAD)
    for offset, entry in enumerate(driver.log):
        if offset in cuts:
            fold = restarted(fold)
        fold.apply(offset, entry)
        fold.apply(offset, entry)
    assert knowledge(restarted(fold)) == knowledge(fold) == knowledge(bad)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(("", "", "predict", "nan")), min_size=1, max_size=25), st.booleans())
def test_a_served_model_in_trouble_costs_its_own_requests_or_is_replaced(
    troubles: list[str], fallback: bool
) -> None:
    task = replace(TASK, models=(BAD, GOOD), fallback="good" if fallback else None)
    driver = played(task, troubles)
    failing = {f"r{n}" for n, trouble in enumerate(troubles) if trouble == "predict"}
    found = {entry.prediction.request_id: entry.prediction for entry in driver.log if entry.prediction}
    if fallback:
        assert driver.rejected == []
        for request_id, prediction in found.items():
            served, shadow = prediction.scores
            names = ("good", "bad") if request_id in failing else ("bad", "good")
            assert (served.model, shadow.model) == names
            if request_id in failing:
                assert (shadow.score, shadow.label) == (None, None)
                assert shadow.failure.startswith("ZeroDivisionError in tests.properties.test_user_code:")
                assert served.score is not None
    else:
        assert {request.request_id for request, _ in driver.rejected} == failing
        for request, bad in driver.rejected:
            assert bad.reason == "model_failed"
            assert repr(request.request_id) in bad.message
            assert "bad.1@" in bad.message
            assert "ZeroDivisionError" in bad.message
        assert not failing & found.keys()


def test_a_score_that_is_no_finite_number_is_none_and_makes_no_label() -> None:
    driver = played(TASK, ["", "", "", "", "", ""])
    fold = driver.models[1]
    fold.estimator.spoilt = math.nan  # type: ignore[attr-defined]  # of `Delicate`
    score = fold.predict(TASK.features.canonical({"x": 1.0, "trouble": ""}))
    assert (score.score, score.label, score.failure) == (None, None, "NotFinite: the score is nan")


def test_a_neighbours_model_that_divides_by_zero_is_the_only_one_without_a_score() -> None:
    """River's, where all that was learned lies infinitely far from the request."""

    def neighbours() -> Any:
        return Select("x") | preprocessing.StandardScaler() | neighbors.KNNClassifier()

    task = replace(TASK, models=(GOOD, Model("knn", neighbours)))
    rows = [
        Event(replace(each.request, features=task.features.canonical({"x": x, "trouble": ""})), each.outcomes)
        for each, x in zip(events([""] * 6), (0.0, 1e-155, 0.0, 0.0, -1.5, 0.0), strict=True)
    ]
    driver = MemoryDriver(task)
    assert sum(1 for _ in driver.run(rows)) == len(rows)
    scores = [entry.prediction.scores for entry in driver.log if entry.prediction]
    assert [good.failure for good, _ in scores] == [""] * len(rows)
    failures = [knn.failure for _, knn in scores]
    assert failures[:4] == [""] * 4
    assert failures[4].startswith("ZeroDivisionError")
    assert (driver.models[1].learned, driver.models[1].learner.skipped) == (len(rows), 0)


def test_a_value_that_would_spoil_a_scaler_for_ever_is_skipped() -> None:
    task = replace(TASK, models=(GOOD,))
    rows = events([""] * 30)
    huge = TASK.features.canonical({"x": 1e200, "trouble": ""})
    rows[10] = Event(replace(rows[10].request, features=huge), rows[10].outcomes)
    driver = MemoryDriver(task)
    list(driver.run(rows))
    assert [each.request_id for each in driver.models[0].learner.newest] == ["r10"]
    after = [e.prediction.scores[0] for e in driver.log if e.prediction and e.prediction.request_id > "r20"]
    assert after
    assert all(isinstance(score.score, float) and math.isfinite(score.score) for score in after)


def test_a_state_is_made_again_from_a_copy_far_back() -> None:
    count = 2 * LEAST_KEPT + 77
    troubles = ["half" if n in {LEAST_KEPT - 1, LEAST_KEPT, count - 1} else "" for n in range(count)]
    bad = played(TASK, troubles).models[1]
    digest, learned, passed = expected(troubles, 10)
    assert (bad.digest, bad.learned, bad.learner.skipped) == (digest, learned, len(passed))
    assert [each.exception.partition(":")[0] for each in bad.learner.newest] == [
        "ValueError in tests.properties.test_user_code"
    ] * 3


def test_the_rate_counts_the_last_thousand_labelled_entries_only() -> None:
    # Each 100th: never more than 10 of 1,000. Then one more.
    troubles = ["learn" if n % 100 == 99 else "" for n in range(2500)]
    bad = played(TASK, troubles).models[1]
    assert (bad.learner.skipped, bad.learner.stopped) == (25, None)
    stopped = played(TASK, [*troubles[:-1], "learn", "learn", "", ""]).models[1]
    assert stopped.learner.stopped is not None
    assert stopped.learner.stopped.why.startswith("11 of the last 1,000 labelled entries were skipped")
    assert stopped.version.offset < stopped.learner.stopped.offset < stopped.next_offset - 1


def test_a_model_that_diverges_stops_at_an_offset_and_says_so() -> None:
    def diverging() -> Any:
        return Select("x") | linear_model.LinearRegression(optimizer=optim.SGD(0.9), clip_gradient=1e300)

    task = replace(TASK, kind="regression", models=(Model("lin", diverging),))
    driver = MemoryDriver(task)
    rows = [
        Event(each.request, tuple(replace(o, value=float(n)) for o in each.outcomes))
        for n, each in enumerate(events([""] * 400))
    ]
    list(driver.run(rows))
    fold = driver.models[0]
    assert fold.learner.stopped is not None
    assert "no longer finite" in fold.learner.stopped.why or "the score is" in fold.learner.stopped.why
    assert len(fold.learner.newest) == 11


class Brittle(base.DriftDetector):
    """A detector that alarms at every number, and breaks at one of them, half way through."""

    def __init__(self, good: int, breaks: str) -> None:
        super().__init__()
        self.good, self.breaks, self.seen = good, breaks, 0

    def update(self, x: float) -> None:
        """Take a number, or break."""
        self.seen += 1
        self._drift_detected = True
        if self.seen > self.good:
            if self.breaks == "raise":
                raise OverflowError("math range error")
            if self.breaks == "panic":
                raise PanicException
            sys.exit(1)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 60), st.sampled_from(("raise", "panic", "exit")), st.sets(st.integers(0, 200), max_size=4)
)
def test_a_detector_in_trouble_finds_nothing_any_more_and_costs_no_other_detector_anything(
    good: int, breaks: str, cuts: set[int]
) -> None:
    brittle = Watch("score_mean", Brittle, {"good": good, "breaks": breaks})
    # Watched without the brittle one beside it, the label mean is judged the same.
    watch = Watch("label_mean", Brittle, {"good": 10**9, "breaks": "raise"}, worse="both")
    rules = DriftRules(watches=(watch, brittle), warm_up=5, cool_down=10)
    task = replace(TASK, models=(GOOD,), drift=rules)
    driver = played(task, [""] * 100)  # which raises nothing

    def folded(rules: DriftRules, cuts: set[int]) -> tuple[DriftFold, list[Alert]]:
        made = replace(task, drift=rules)
        fold, found = DriftFold(made), list[Alert]()
        for offset, entry in enumerate(driver.log):
            if offset in cuts:
                state, fold = (
                    load(dump(fold.snapshot()), DriftFold(made).snapshot(), [Brittle]),
                    DriftFold(made),
                )
                fold.restore(state)
            fold.apply(offset, entry)
            found += fold.alerts()
        return fold, found

    fold, alerts = folded(rules, set())
    (levels,) = [{w.signal: n for w, _, n in watched.levels()} for watched in fold.models]
    assert levels == {"label_mean": 95, "score_mean": 95}  # its mean goes on
    again, same = folded(rules, cuts)
    assert same == alerts
    assert state_digest(again.snapshot()) == state_digest(fold.snapshot())
    alone = folded(replace(rules, watches=(watch,)), set())[0]
    mine, its = (each.models[0].snapshot()[-1][0] for each in (fold, alone))
    assert state_digest(mine) == state_digest(its)
    failure = fold.models[0].snapshot()[-1][1][1][-1]
    kinds = {"raise": "OverflowError", "panic": "PanicException", "exit": "SystemExit"}
    assert failure.partition(" ")[0] == kinds[breaks]
