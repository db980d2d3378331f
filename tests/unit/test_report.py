from __future__ import annotations

import math
import random
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from river import linear_model, naive_bayes

from schemas import Dictionary, Number
from schemas.event_time import EPOCH
from schemas.records import Entry, Outcome, Prediction, Request, Score
from streams import Event, MemoryDriver, Model, OnArrival, Task
from streams.backtest import backtest
from streams.report import DAY_MS, Resolutions, ScoreBook, roc_auc


def brute_force(scores: list[float], labels: list[bool]) -> float:
    """The probability that a positive scores above a negative, ties counted half: by asking all pairs."""
    wins = [
        1.0 if up > down else 0.5 if up == down else 0.0
        for up, positive in zip(scores, labels, strict=True)
        if positive
        for down, other in zip(scores, labels, strict=True)
        if not other
    ]
    return sum(wins) / len(wins) if wins else math.nan


def auc(scores: list[float], labels: list[bool]) -> float:
    return roc_auc(np.array(scores, float), np.array(labels, bool))


@pytest.mark.parametrize("levels", [2, 3, 10, 10_000])
def test_roc_auc_is_that_of_all_pairs_with_ties_counted_half(levels: int) -> None:
    pick = random.Random(levels)
    for size in (2, 3, 7, 50, 200):
        for _ in range(10):
            scores = [pick.randrange(levels) / levels for _ in range(size)]
            labels = [pick.random() < 0.3 for _ in range(size)]
            assert auc(scores, labels) == pytest.approx(brute_force(scores, labels), abs=1e-12, nan_ok=True)


def test_roc_auc_at_its_ends() -> None:
    assert auc([0.1, 0.9], [False, True]) == 1.0
    assert auc([0.9, 0.1], [False, True]) == 0.0
    assert auc([0.5] * 4, [False, True, False, True]) == 0.5
    for labels in ([True, True], [False, False]):
        assert math.isnan(auc([0.1, 0.2], labels))
    assert math.isnan(auc([], []))


def test_roc_auc_needs_no_ordinary_scores() -> None:
    assert auc([-1e308, 1e308, 5e-324, 0.0], [False, True, True, False]) == 1.0


MODEL = Model("lr", linear_model.LogisticRegression, policy=OnArrival())


def entry(kind: Any, request_id: str, score: float | None, value: Any, **more: Any) -> Entry:
    scores = (
        Score("other", 1, 0, 0.123),
        Score("lr", 1, 0, score),
    )
    prediction = Prediction(request_id, 0, {}, scores if score != -1 else ())
    outcome = None if kind == "expired" else Outcome(request_id, DAY_MS * 2, value)
    return Entry("e", kind, 0, prediction=prediction, outcome=outcome, **more)


def test_the_score_book_scores_each_request_once_with_its_last_label() -> None:
    book = ScoreBook(MODEL)
    for offset, each in enumerate(
        [
            entry("labelled", "a", 0.9, True),
            entry("labelled", "b", 0.2, False),
            entry("labelled", "c", 0.1, True),
            entry("revised", "c", 0.1, False, corrects="e", previous=True, previous_kind="labelled"),
            entry("expired", "d", 0.99, None),
            entry("unavailable", "e", 0.99, None),
            entry("labelled", "f", None, False),  # no answer, so nothing to score
            entry("backfill", "g", -1, False),
        ]
    ):
        book.apply(offset, each)
        book.apply(offset, entry("labelled", "again", 0.0, True))  # an offset that was taken
    assert book.curves()["roc_auc_exact"] == 1.0
    book.apply(100, entry("labelled", "h", 0.95, False))
    assert book.curves()["roc_auc_exact"] == pytest.approx(2 / 3)


def test_resolutions_count_kinds_and_keep_delays() -> None:
    found = Resolutions()
    log = [
        entry("labelled", "a", 0.5, True),
        entry("expired", "b", 0.5, None),
        entry("late", "b", 0.5, True, late_by="event_time", corrects="e"),
        entry("revised", "b", 0.5, False, corrects="e"),
        Entry("e", "time", 5),
        entry("opened", "c", 0.5, True),
    ]
    for offset, each in enumerate(log):
        found.apply(offset, each)
        found.apply(offset, each)
    assert found.kinds == {"labelled": 1, "expired": 1, "late": 1, "revised": 1}
    assert (found.first, found.delays) == (2, [2 * DAY_MS, 2 * DAY_MS])
    assert found.delay_days() == {"p10": 2.0, "p50": 2.0, "p90": 2.0, "p99": 2.0}
    assert Resolutions().delay_days() == {}
    twin = Resolutions()
    twin.restore(found.snapshot())
    assert (twin.kinds, twin.delays, twin.next_offset) == (found.kinds, found.delays, found.next_offset)


def test_a_backtest_says_all_of_it() -> None:
    task = Task(
        name="small",
        question="?",
        features=Dictionary(Number(name="x")),
        horizon=timedelta(days=10),
        earliest=EPOCH,
        models=(MODEL, Model("nb", naive_bayes.GaussianNB)),
    )
    events = []
    for n in range(30):
        delays = {0: (), 1: (12 * DAY_MS,), 2: (DAY_MS,)}[n % 3]
        outcomes = tuple(Outcome(f"r{n}", n * DAY_MS + delay, n % 2 == 0) for delay in delays)
        events.append(Event(Request(f"r{n}", n * DAY_MS, {"x": float(n % 2)}), outcomes))
    done: list[int] = []
    report = backtest(task, events, progress=done.append)
    assert done == list(range(1, 31))
    assert (report["task"], report["requests"]) == ("small", 30)
    assert report["resolutions"] == {"expired": 20, "labelled": 10, "late": 10}
    assert (report["coverage"], report["label_rate"]) == (1.0, pytest.approx(20 / 30))
    assert report["left_out"] == {
        "duplicates": 0,
        "outcomes_before_request": 0,
        "never_labelled": 10,
        "rejected": 0,
        "reasons": {},
    }
    assert report["delay_days"] == {"p10": 1.0, "p50": 6.5, "p90": 12.0, "p99": 12.0}
    assert report["counters"]["predictions"] == 30
    assert set(report["models"]) == {"lr", "nb"}
    first = report["models"]["lr"]
    shown = {
        "n",
        "accuracy",
        "f1",
        "log_loss",
        "roc_auc",
        "pr_auc",
        "roc_auc_exact",
        "pr_auc_exact",
        "confusion",
        "classes",
        "most_waiting",
        "version",
        "digest",
    }
    assert set(first) == shown | {"failures", "published", "segments"}
    assert first["failures"] is None
    assert {"precision", "recall", "brier", "ece"} < set(first["published"])
    assert first["n"] == 20
    assert report["models"]["nb"]["n"] == 18  # it had no answer until day 3, when it learned
    assert 0 <= first["roc_auc"] <= 1
    assert report["most_waiting"] == first["most_waiting"]
    assert backtest(task, events) == report
    only = backtest(task, events, [task.model("nb")])
    assert set(only["models"]) == {"nb"}


def test_a_backtest_counts_what_it_leaves_out_and_knows_no_metric_of_nothing() -> None:
    task = Task(
        name="small",
        question="?",
        features=Dictionary(Number(name="x")),
        horizon=timedelta(days=10),
        earliest=EPOCH + timedelta(hours=1),
        models=(MODEL,),
    )
    day = Request("a", DAY_MS, {"x": 1.0})
    events = [
        Event(Request("b", 0, {"x": 1.0}), ()),  # before the earliest time
        Event(day, (Outcome("a", DAY_MS - 1, True),)),  # an outcome before its request
        Event(day, ()),  # the same again
    ]
    report = backtest(task, events)
    assert report["left_out"] == {
        "duplicates": 1,
        "outcomes_before_request": 1,
        "never_labelled": 1,
        "rejected": 1,
        "reasons": {"impossible_time": 1},
    }
    figures = report["models"]["lr"]
    assert figures["n"] == 0
    assert all(math.isnan(figures[name]) for name in ("accuracy", "f1", "log_loss", "roc_auc"))
    nothing = backtest(task, [])
    assert (nothing["coverage"], nothing["label_rate"]) == (None, None)


def test_no_r2_of_one_number() -> None:
    """River calls it 0; what does not exist is left out of snapshots and of the status, and is NaN here."""
    task = Task(
        name="small",
        question="?",
        kind="regression",
        features=Dictionary(Number(name="x")),
        horizon=timedelta(days=10),
        earliest=EPOCH,
        models=(Model("lin", linear_model.LinearRegression),),
    )
    event = Event(Request("a", DAY_MS, {"x": 1.0}), (Outcome("a", DAY_MS, 3.0),))
    driver = MemoryDriver(task)
    assert driver.metrics[0].get() == {}
    for _ in driver.run([event]):
        pass
    assert driver.metrics[0].get() == {"mae": 3.0, "rmse": 3.0}
    figures = backtest(task, [event])["models"]["lin"]
    assert (figures["mae"], figures["rmse"]) == (3.0, 3.0)
    assert math.isnan(figures["r2"])


@pytest.mark.parametrize(
    ("kind", "outcomes", "expected"),
    [
        # Before the first label nobody answers; then 2 of 4 and 1 of 4 decisions are right.
        ("binary", [True, True, False, True, False], {"base-rate": 0.5, "last-value": 0.25}),
        ("multiclass", ["b", "b", "a", "b", "a"], {"base-rate": 0.5, "last-value": 0.25}),
    ],
)
def test_baselines_know_the_majority_and_the_last_label(
    kind: Any, outcomes: list[Any], expected: dict[str, float]
) -> None:
    task = Task(
        name="small",
        question="?",
        kind=kind,
        features=Dictionary(Number(name="x")),
        horizon=timedelta(days=10),
        earliest=EPOCH,
        models=(Model("nb", naive_bayes.GaussianNB),),
    )
    events = [
        Event(Request(str(n), n * DAY_MS, {"x": 1.0}), (Outcome(str(n), n * DAY_MS, value),))
        for n, value in enumerate(outcomes)
    ]
    report = backtest(task, events)
    assert set(report["models"]) == {"nb"}
    assert {name: each["accuracy"] for name, each in report["baselines"].items()} == expected


def test_baselines_of_numbers() -> None:
    task = Task(
        name="small",
        question="?",
        kind="regression",
        features=Dictionary(Number(name="x")),
        horizon=timedelta(days=10),
        earliest=EPOCH,
        models=(Model("lin", linear_model.LinearRegression),),
    )
    events = [
        Event(Request(str(n), n * DAY_MS, {"x": 1.0}), (Outcome(str(n), n * DAY_MS, value),))
        for n, value in enumerate([4.0, 6.0, 8.0])
    ]
    found = backtest(task, events)["baselines"]
    assert found["mean"]["mae"] == pytest.approx((4 + 2 + 3) / 3)
    assert (found["last-value"]["n"], found["last-value"]["mae"]) == (2, 2.0)  # no answer before the first
