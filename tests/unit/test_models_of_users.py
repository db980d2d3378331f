"""Models that River's users bring: each passes the load check, or is refused with what to write instead."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from river import (
    active,
    anomaly,
    cluster,
    compose,
    drift,
    ensemble,
    facto,
    feature_extraction,
    feature_selection,
    linear_model,
    multiclass,
    naive_bayes,
    preprocessing,
    reco,
    rules,
    stats,
    time_series,
    tree,
    utils,
)

from schemas.dictionary import Category, Dictionary, Number
from schemas.errors import RiverloopError, TaskError
from schemas.records import Outcome, Request
from streams import AMRules, AnomalyClassifier, DefaultAtHorizon, Event, Model, Select, Task, pure
from streams.backtest import backtest
from streams.examples import synthetic_examples
from streams.exercise import exercise
from streams.loadcheck import compare
from streams.oracle import river_metrics
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest

FEATURES = Dictionary(
    Number(name="size", low=0, high=10),
    Category(name="shop", levels=("a", "b", "c")),
    Category(name="text", levels=("a good one", "late again", "not so bad")),
)
DAY = timedelta(days=1)
HOUR_MS = 3_600_000


def log_odds() -> Any:
    return linear_model.LogisticRegression()


def words() -> Any:
    return feature_extraction.BagOfWords(on="text", stop_words={"a", "so", "one"})


def over_days(statistic: Any = stats.Mean, **arguments: Any) -> Any:
    return utils.TimeRolling(statistic, period=DAY, **arguments)


def target_over_days() -> Any:
    return feature_extraction.TargetAgg(by="shop", how=over_days())


def detector() -> Any:
    trees = anomaly.HalfSpaceTrees(n_trees=5, height=4, window_size=30, seed=1)
    return Select("size") | preprocessing.MinMaxScaler() | AnomalyClassifier(trees, q=0.9, least=50)


ACCEPTED: dict[str, tuple[str, Callable[[], Any]]] = {
    "anomalies": ("binary", detector),
    "words": ("binary", lambda: words() | naive_bayes.MultinomialNB()),
    "inverse frequencies": ("binary", lambda: feature_extraction.TFIDF(on="text") | log_odds()),
    "topics": ("binary", lambda: words() | pure(preprocessing.LDA(n_components=2, seed=1)) | log_odds()),
    "inclusion": (
        "binary",
        lambda: words() | pure(feature_selection.PoissonInclusion(0.2, seed=1)) | log_odds(),
    ),
    "rolling": (
        "binary",
        lambda: feature_extraction.Agg(on="size", by="shop", how=utils.Rolling(stats.Mean, 5)) | log_odds(),
    ),
    "over time": (
        "binary",
        lambda: (target_over_days() + Select("size")) | preprocessing.StandardScaler() | log_odds(),
    ),
    "factors": ("binary", lambda: pure(facto.FMClassifier(n_factors=3, seed=1))),
    "fields": ("regression", lambda: pure(facto.FFMRegressor(n_factors=3, seed=1))),
    "orders": ("binary", lambda: pure(facto.HOFMClassifier(n_factors=3, seed=1))),
    "tree of means": ("regression", lambda: tree.HoeffdingTreeRegressor(leaf_prediction="mean")),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_it_passes_and_its_specification_is_one(name: str) -> None:
    kind, make = ACCEPTED[name]
    one, other = (exercise(make, FEATURES, kind, 60, model="m") for _ in range(2))
    compare(one, other)


def task(make: Callable[[], Any], kind: Any = "binary", **more: Any) -> Task:
    return Task(
        name="t", question="", kind=kind, features=FEATURES, horizon=DAY, models=(Model("m", make),), **more
    )


def checked(make: Callable[[], Any], kind: str) -> None:
    made = task(make, kind)
    found = exercise(made.models[0].make, FEATURES, kind, 60, model="m")
    compare(found, found)


def refused(make: Callable[[], Any], kind: str = "binary") -> str:
    with pytest.raises(RiverloopError) as caught:
        checked(make, kind)
    return str(caught.value)


LINEAR = linear_model.LinearRegression
REFUSED: dict[str, tuple[str, Callable[[], Any], str]] = {
    "labels of its choice": (
        "binary",
        lambda: active.EntropySampler(log_odds(), seed=1),
        "use the classifier inside",
    ),
    "anomalies": (
        "binary",
        lambda: Select("size") | anomaly.HalfSpaceTrees(seed=1),
        "streams.AnomalyClassifier(",
    ),
    "forecasts": ("regression", lambda: time_series.HoltWinters(alpha=0.3), "use a regressor on features"),
    "rules of texts": ("regression", AMRules, "put preprocessing.OneHotEncoder() before the texts"),
    "rankings": ("regression", lambda: reco.BiasedMF(seed=1), "streams.pure(facto.FMRegressor(seed=1))"),
    "several outcomes": ("regression", tree.ISOUPTreeRegressor, "make a task for each"),
    "a regression": ("binary", LINEAR, "set kind='regression'"),
    "two classes": ("multiclass", lambda: Select("size") | log_odds(), "multiclass.OneVsRestClassifier("),
    "votes": (
        "binary",
        lambda: Select("size") | ensemble.VotingClassifier([log_odds(), naive_bayes.GaussianNB()]),
        "ensemble.VotingClassifier at VotingClassifier cannot answer an example: it returns no probabilities",
    ),
    "pairs": (
        "multiclass",
        lambda: Select("size") | multiclass.OneVsOneClassifier(log_odds()),
        "OneVsRestClassifier",
    ),
    "factors behind a selector": (
        "binary",
        lambda: Select("size", "shop") | facto.FMClassifier(seed=1),
        "write streams.pure(facto.FMClassifier(...))",
    ),
    "factors": ("binary", lambda: facto.FMClassifier(seed=1), "write streams.pure(facto.FMClassifier(...))"),
    "topics": (
        "binary",
        lambda: words() | preprocessing.LDA(2, seed=1) | log_odds(),
        "streams.pure(preprocessing.LDA",
    ),
    "texts in a tree": ("regression", tree.HoeffdingTreeRegressor, "set leaf_prediction='mean'"),
    "texts": ("binary", log_odds, 'Select("shop", "text") | preprocessing.OneHotEncoder()'),
    "time beside none": (
        "binary",
        lambda: (
            (target_over_days() + feature_extraction.Agg(on="size", by="shop", how=stats.Mean())) | log_odds()
        ),
        "let every feature_extraction",
    ),
    "clusters as features": (
        "binary",
        lambda: Select("size") | cluster.KMeans(seed=1) | log_odds(),
        "cluster.KMeans is no transformer",
    ),
    "a function in a function": (
        "binary",
        lambda: compose.FuncTransformer(lambda x: {"size": x["size"]}) | log_odds(),
        "model 'm': ",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_model_and_the_cure(name: str) -> None:
    kind, make, cure = REFUSED[name]
    message = refused(make, kind)
    assert "model 'm'" in message
    assert cure in message


def test_only_what_is_known_can_be_made_pure() -> None:
    with pytest.raises(TaskError, match=r"streams\.pure takes FMClassifier, .*, not LinearRegression"):
        pure(LINEAR())
    with pytest.raises(TaskError, match="not Pipeline"):
        pure(Select("size") | facto.FMClassifier(seed=1))


def test_a_pure_model_answers_as_rivers_where_nothing_lies_between_asking_and_learning() -> None:
    rivers, ours = facto.FMClassifier(n_factors=3, seed=1), pure(facto.FMClassifier(n_factors=3, seed=1))
    for x, y in synthetic_examples(FEATURES, "binary", 100, 2):
        assert ours.predict_proba_one(dict(x)) == rivers.predict_proba_one(dict(x))
        before = state_digest(ours)
        ours.predict_proba_one({"size": 2.0, "shop": "never seen"})
        assert state_digest(ours) == before
        for model in (ours, rivers):
            model.learn_one(dict(x), y)


def test_aggregates_over_time_get_the_requests_time_and_equal_rivers_evaluator() -> None:
    first = 1_700_000_000_000
    events = []
    for number, (x, y) in enumerate(synthetic_examples(FEATURES, "binary", 150, 5)):
        ts = first + number * HOUR_MS
        outcome = Outcome(f"r{number}", ts + number % 7 * HOUR_MS, y)
        events.append(Event(Request(f"r{number}", ts, x), (outcome,)))
    made = task(ACCEPTED["over time"][1])
    rivers, ours = river_metrics(made, made.models[0], events), backtest(made, events)["models"]["m"]
    assert {name: ours[name] for name in rivers} == rivers
    model: Any = made.models[0].make()
    for event in events[:40]:
        model.learn_one(
            dict(event.request.features),
            True,
            t=dt.datetime(1970, 1, 1) + timedelta(milliseconds=event.request.ts),
        )
    assert "TimeRolling" not in made.models[0].describe()
    assert "feature_extraction.TargetAgg" in made.models[0].describe()


def test_a_range_of_outcomes_is_declared_for_a_model_that_learns_no_others() -> None:
    def make() -> Any:
        return Select("size") | compose.TargetTransformRegressor(LINEAR(), math.log, math.exp)

    assert "Set outcome_low= and outcome_high=" in refused(make, "regression")
    made = task(make, "regression", outcome_low=1.0)
    assert not exercise(
        make, FEATURES, "regression", 60, outcomes=(made.outcome_low, made.outcome_high)
    ).faults
    targets: list[Any] = [y for _, y in synthetic_examples(FEATURES, "regression", 200, 1, (1.0, 2.0))]
    assert all(1.0 <= y <= 2.0 for y in targets)
    with pytest.raises(TaskError, match="is for kind='regression'"):
        task(log_odds, outcome_low=0.0)
    with pytest.raises(TaskError, match="must be below"):
        task(LINEAR, "regression", outcome_low=1.0, outcome_high=0.0)


def test_the_specification_does_not_depend_on_the_order_of_a_set() -> None:
    def make(names: Any) -> Any:
        return lambda: feature_extraction.BagOfWords(on="text", stop_words=names) | log_odds()

    one, other = (task(make({*names})) for names in (("a", "so", "one", "no"), ("no", "one", "so", "a")))
    assert one.spec(one.models[0]) == other.spec(other.models[0])


def test_numbered_rules_answer_as_rivers_and_are_stored_in_the_same_bits() -> None:
    def model(kind: Any) -> Any:
        detector = drift.ADWIN(delta=0.5, clock=1, grace_period=5, min_window_length=3)
        return Select("size") | kind(n_min=100, delta=0.05, anomaly_threshold=-100.0, drift_detector=detector)

    ours, rivers, restored = model(AMRules), model(rules.AMRules), model(AMRules)
    for number, (x, y) in enumerate(synthetic_examples(FEATURES, "regression", 1500, 4)):
        shifted = float(y) + 20 * (number > 700)
        assert ours.predict_one(dict(x)) == rivers.predict_one(dict(x))
        for each in (ours, rivers):
            each.learn_one(dict(x), shifted)
        if number == 500:
            restored = load(dump(ours), restored)
        elif number > 500:
            restored.learn_one(dict(x), shifted)
    inside = ours["AMRules"]
    assert inside.n_drifts_detected > 0
    assert len(inside._rules) > 1
    assert [*inside._rules] == sorted(inside._rules)
    assert max(inside._rules) < 100
    assert [repr(rule) for rule in inside._rules.values()] == [
        repr(rule) for rule in rivers["AMRules"]._rules.values()
    ]
    assert state_digest(restored) == state_digest(ours)
    assert repr(inside.clone()) == repr(inside)


def test_a_detector_of_anomalies_learns_without_labels_and_is_measured_by_later_ones() -> None:
    first, events = 1_700_000_000_000, []
    rng = random.Random(1)
    for number in range(800):
        ts, fraud = first + number * 60_000, number > 100 and number % 20 == 0
        x: dict[str, Any] = {"size": 9.5 if fraud else 4 + rng.random(), "shop": "a", "text": "a good one"}
        # Only fraud is ever reported, two hours later.
        reported = (Outcome(f"r{number}", ts + 2 * HOUR_MS, True),) if fraud else ()
        events.append(Event(Request(f"r{number}", ts, x), reported))

    def of(policy: Any) -> Any:
        models = (Model("m", detector, policy=policy),)
        horizon = timedelta(hours=3)
        return Task(name="m", question="", features=FEATURES, horizon=horizon, models=models)

    found = backtest(of(DefaultAtHorizon(False)), events)["models"]["m"]
    # None had a score that was asked before 50 had been learned, three hours after the first.
    assert 560 < found["n"] < 580
    assert found["roc_auc"] > 0.95
    assert found["published"]["recall"] > 0.9
    assert found["failures"] is None
    # Its state has no label in it: with other outcomes of the same requests, the same state.
    turned = [
        Event(each.request, tuple(Outcome(o.request_id, o.ts, False) for o in each.outcomes))
        for each in events
    ]
    assert backtest(of(DefaultAtHorizon(False)), turned)["models"]["m"]["digest"] == found["digest"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: AnomalyClassifier(LINEAR()), "takes a detector that scores features"),
        (lambda: AnomalyClassifier(anomaly.GaussianScorer()), "not GaussianScorer"),
        (lambda: AnomalyClassifier(anomaly.OneClassSVM(), q=0.3), "between 0.5 and 1"),
        (lambda: AnomalyClassifier(anomaly.OneClassSVM(), least=0), "at least 1"),
    ],
)
def test_what_is_no_detector_of_requests_is_refused(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(TaskError, match=why):
        make()
