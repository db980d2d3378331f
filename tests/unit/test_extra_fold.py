"""The task's own metrics in a worker: what is published, restored and shown is what a backtest gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from river import conf, linear_model, metrics, naive_bayes, stats, tree
from sklearn import metrics as sk

from infra.exporter import Exporter
from infra.snapshots.models import LogPlace
from infra.snapshots.monitors import pack_monitors, restore_monitors, spec_of
from infra.snapshots.store import SnapshotStore
from infra.web.board import Board
from schemas.dictionary import Category, Dictionary, Number
from schemas.records import Entry, Metric, Outcome, Request
from streams import Event, MemoryDriver, MetricRules, Model, Select, Task
from streams.backtest import backtest
from streams.fold import Measurement, Monitor
from streams.metrics.extra_metrics import ExtraMetrics
from streams.metrics.further import (
    AtThreshold,
    DecisionCost,
    IntervalCoverage,
    IntervalWidth,
    Residual,
    TopK,
)
from streams.metrics.loop_health import LoopHealth
from streams.metrics.per_class import cell_of
from streams.metrics.served import ServedMetrics
from streams.monitors import monitors
from streams.native.watch import NativeWatch
from streams.oracle import river_metrics
from tests.unit.test_exporter import view

T0 = 1_700_000_000_000
FEATURES = Dictionary(Number(name="a", low=0, high=10), Category(name="c", levels=("x", "y")))
EXTRA: dict[str, dict[str, Callable[[], Any]]] = {
    "binary": {
        "mcc": metrics.MCC,
        "balanced_accuracy": metrics.BalancedAccuracy,
        "kappa": metrics.CohenKappa,
        "f2": lambda: metrics.FBeta(2.0),
        "f_half": lambda: metrics.FBeta(0.5),
        "at_30": lambda: AtThreshold(0.3, metrics.F1()),
        "cost": lambda: DecisionCost(1, 5),
    },
    "multiclass": {
        "micro_f1": metrics.MicroF1,
        "macro_f1": metrics.MacroF1,
        "weighted_f1": metrics.WeightedF1,
        "top_1": lambda: TopK(1),
        "top_2": lambda: TopK(2),
    },
    "regression": {
        "mape": metrics.MAPE,
        "smape": metrics.SMAPE,
        "mse": metrics.MSE,
        "bias": lambda: Residual(stats.Mean()),
        "residual_p90": lambda: Residual(stats.Quantile(0.9)),
    },
}
MODELS: dict[str, Callable[[], Any]] = {
    "binary": lambda: Select("a") | linear_model.LogisticRegression(),
    "multiclass": lambda: Select("a") | naive_bayes.GaussianNB(),
    "regression": lambda: Select("a") | tree.HoeffdingTreeRegressor(),
}


class Fails(metrics.MCC):
    """A metric that cannot count more than five labels."""

    def update(self, *arguments: Any) -> None:
        super().update(*arguments)
        if self.cm.n_samples > 5:
            raise ValueError("of Ada Lovelace")


def task(kind: Any, extra: Mapping[str, Callable[[], Any]] | None = None, **more: Any) -> Task:
    rules = MetricRules(extra=EXTRA[kind] if extra is None else extra, segments=("c",))
    models = (Model("m", MODELS[kind]),)
    features = {"name": "t", "question": "", "kind": kind, "features": FEATURES}
    return Task(**features, horizon=timedelta(hours=1), models=models, metrics=rules, **more)


def events(kind: str, count: int = 200, delay_ms: int = 2500) -> list[Event]:
    made = []
    for n in range(count):
        a, noise = (n * 37 % 100) / 10, (n * 61 % 17) / 17
        value: Any = {"binary": a + noise > 5.5, "multiclass": "uvw"[int(a + noise) // 4]}.get(
            kind, 1 + a + noise
        )
        request = Request(f"r{n}", T0 + n * 1000, {"a": a, "c": "xy"[n % 3 == 0]})
        made.append(Event(request, (Outcome(f"r{n}", request.ts + delay_ms, value),)))
    return made


def log_of(made: Task, given: list[Event]) -> list[Entry]:
    driver = MemoryDriver(made)
    for _ in driver.run(given):
        pass
    return driver.log


def folded(made: Task, log: list[Entry]) -> list[Monitor[Entry]]:
    found = monitors(made)
    for monitor in found:
        for offset, entry in enumerate(log):
            monitor.apply(offset, entry)
    return found


def measured(found: list[Monitor[Entry]]) -> list[Measurement]:
    return [each for monitor in found for each in monitor.measurements()]


def whole(found: list[Monitor[Entry]], name: str) -> float:
    (value,) = [
        each.value
        for each in measured(found)
        if each.name == name and each.window == "all" and not each.segment and "@" in each.version
    ]
    return value


@pytest.mark.parametrize("kind", EXTRA)
def test_a_worker_a_backtest_and_rivers_evaluator_give_the_same_to_the_last_digit(kind: str) -> None:
    made, given = task(kind), events(kind)
    live, report = folded(made, log_of(made, given)), backtest(made, given)
    figures, river = report["models"]["m"], river_metrics(made, made.models[0], given)
    for name in EXTRA[kind]:
        assert whole(live, name) == figures[name] == river[name], name
        assert name in report["baselines"]["last-value"]
    if kind == "binary":
        assert whole(live, "pr_auc") == figures["pr_auc"]
        assert whole(live, "roc_auc") == figures["roc_auc"]


@pytest.mark.parametrize("kind", EXTRA)
def test_each_segment_has_its_own(kind: str) -> None:
    made, given = task(kind), events(kind)
    driver = MemoryDriver(made)
    found = {each.request_id: each.scores[0] for each in driver.run(given)}
    own = {name: make() for name, make in EXTRA[kind].items()}
    for event in sorted(given, key=lambda each: each.outcomes[0].ts):
        score: Any = found[event.request.request_id]
        if event.request.features["c"] != "x" or score.score is None:
            continue
        answer: Any = {False: 1.0 - score.score, True: score.score} if kind == "binary" else score.score
        for metric in own.values():
            labels = kind != "regression" and metric.requires_labels
            metric.update(event.outcomes[0].value, score.label if labels else answer)
    segment = backtest(made, given)["models"]["m"]["segments"]["c=x"]
    assert {name: segment[name] for name in own} == {name: metric.get() for name, metric in own.items()}
    live = {
        each.name: each.value
        for each in measured(folded(made, driver.log))
        if each.segment == "c=x" and each.name in own
    }
    assert live == {name: segment[name] for name in own}


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_the_confusion_and_the_scores_of_each_class_are_rivers(kind: str) -> None:
    made, given = task(kind), events(kind)
    driver, river = MemoryDriver(made), metrics.ConfusionMatrix()
    labels = {event.request.request_id: event.outcomes[0].value for event in given}
    for each in driver.run(given):
        if each.scores[0].score is not None:
            river.update(labels[each.request_id], each.scores[0].label)
    found = measured(folded(made, driver.log))
    cells = {cell_of(each.segment): each.value for each in found if each.name == "confusion"}
    names = {str(name).lower(): name for name in river.classes}
    expected = {(one, other): river[names[one]][names[other]] for one in names for other in names}
    assert cells == {cell: count for cell, count in expected.items() if count}
    figures = backtest(made, given)["models"]["m"]
    assert {(a, b): n for a, row in figures["confusion"].items() for b, n in row.items()} == cells
    for name, value in names.items():
        of_class: dict[str, Any] = {
            "class_precision": metrics.Precision(cm=river, pos_val=value),
            "class_recall": metrics.Recall(cm=river, pos_val=value),
            "class_f1": metrics.F1(cm=river, pos_val=value),
        }
        published = {each.name: each.value for each in found if each.segment == f"class={name}"}
        assert published == {score: metric.get() for score, metric in of_class.items()}
        count = {"count": river.support(value)}
        assert figures["classes"][name] == published | count


def test_of_many_classes_those_with_most_labels_are_published_and_the_rest_as_other() -> None:
    made = task("multiclass")
    given = [
        Event(Request(f"r{n}", T0 + n * 1000, {"a": 1.0, "c": "x"}), (Outcome(f"r{n}", T0 + n * 1000, name),))
        for n, name in enumerate([f"k{n * n % 23:02}" for n in range(200)])
    ]
    found = measured(folded(made, log_of(made, given)))
    cells = {cell_of(each.segment): each.value for each in found if each.name == "confusion"}
    assert len({outcome for outcome, _ in cells}) == 11
    assert sum(cells.values()) == 199  # the first request had no answer
    assert len({each.segment for each in found if each.name == "class_recall"}) == 10


def test_average_precision_over_bins_is_near_the_exact_one() -> None:
    given = events("binary", 800)
    figures = backtest(task("binary"), given)["models"]["m"]
    assert figures["pr_auc"] == pytest.approx(figures["pr_auc_exact"], abs=5e-3)
    assert figures["roc_auc"] == pytest.approx(figures["roc_auc_exact"], abs=1e-3)
    driver = MemoryDriver(task("binary"))
    scores = [each.scores[0].score for each in driver.run(given)]
    labels = [event.outcomes[0].value for event in given]
    assert figures["pr_auc_exact"] == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-12)


def test_a_snapshot_restores_them_and_one_with_other_metrics_is_folded_again(tmp_path: Path) -> None:
    made, store = task("binary"), SnapshotStore(str(tmp_path))
    log = log_of(made, events("binary"))
    half = folded(made, log[:150])
    place = LogPlace("t.log", "id")
    snapshot = pack_monitors("metrics", half, 150, place, made, "", 0)
    store.save(snapshot.manifest, snapshot.state, snapshot.probes)
    again = monitors(made)
    assert restore_monitors("metrics", again, store, "t", place, 150) == 150
    for offset, entry in enumerate(log):
        for monitor in again:
            monitor.apply(offset, entry)
    assert measured(again) == measured(folded(made, log))
    for extra in ({}, {"mcc": metrics.MCC}, EXTRA["binary"] | {"f2": lambda: metrics.FBeta(3.0)}):
        other = monitors(task("binary", extra))
        assert spec_of(other) != spec_of(again)
        assert restore_monitors("metrics", other, store, "t", place, 150) == 0


def test_a_metric_whose_code_raises_stops_alone_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    made, given = task("binary", {"fails": Fails, "mcc": metrics.MCC}), events("binary", 60)
    figures = backtest(made, given)["models"]["m"]
    assert math.isnan(figures["fails"])
    assert figures["mcc"] == river_metrics(task("binary", {"mcc": metrics.MCC}), made.models[0], given)["mcc"]
    assert list(figures["stopped"]) == ["fails"]
    assert figures["stopped"]["fails"].startswith("ValueError in tests.unit.test_extra_fold:")
    assert "Ada" not in str(figures["stopped"])
    found = folded(made, log_of(made, given))
    assert "fails" not in {each.name for each in measured(found)}


def test_nothing_has_a_value_without_labels() -> None:
    made = task("binary")
    silent = [Event(each.request, ()) for each in events("binary", 60)]
    figures = backtest(made, silent)["models"]["m"]
    assert all(math.isnan(figures[name]) for name in (*EXTRA["binary"], "pr_auc", "roc_auc", "pr_auc_exact"))
    assert (figures["confusion"], figures["classes"]) == ({}, {})
    names = {each.name for each in measured(folded(made, log_of(made, silent)))}
    assert not names & {*EXTRA["binary"], "pr_auc", "confusion"}


def test_a_task_without_them_has_no_monitor_more_and_keeps_the_compiled_one() -> None:
    with_, without = task("binary"), task("binary", {})
    assert [type(each) for each in monitors(without)].count(ExtraMetrics) == 0
    assert [type(each) for each in monitors(with_)].count(ExtraMetrics) == 1
    assert NativeWatch(with_, monitors(with_)).fold(object(), 0, 50, range(50)) == 0
    kept = [each.snapshot() for each in monitors(with_) if isinstance(each, ServedMetrics)]
    assert kept == [each.snapshot() for each in monitors(without) if isinstance(each, ServedMetrics)]


def test_coverage_has_one_meaning_in_a_worker_and_in_a_backtest() -> None:
    made, given = task("binary"), events("binary", 100, delay_ms=50_000)
    given[7] = Event(given[7].request, ())  # resolved without an outcome once its time is over
    report, (health,) = (
        backtest(made, given),
        [each for each in folded(made, log_of(made, given)) if isinstance(each, LoopHealth)],
    )
    values = {(each.name, each.window): each.value for each in health.measurements()}
    assert values["coverage", "all"] == report["coverage"] == 1.0
    assert report["label_rate"] == 0.99


def jackknife(confidence: float) -> Callable[[], Any]:
    return lambda: Select("a") | conf.RegressionJackknife(linear_model.LinearRegression(), confidence)


def test_a_jackknifes_interval_is_kept_and_its_coverage_measured() -> None:
    extra = {"covered": IntervalCoverage, "width": IntervalWidth, "mse": metrics.MSE}
    plain = Model("plain", lambda: Select("a") | linear_model.LinearRegression())
    models = (Model("wide", jackknife(0.9)), Model("narrow", jackknife(0.5)), plain)
    made = replace(task("regression", extra), models=models)
    given = events("regression", 300)
    driver = MemoryDriver(made)
    asked = list(driver.run(given))
    assert asked[0].scores[0].interval is None, "it has learned nothing"
    codec = made.codec()
    for each in (asked[0], asked[-1]):
        again = codec.decode_prediction(codec.encode(each))
        assert again == each
        assert [type(score.score) for score in again.scores] == [float, float, float]
        assert codec.decode_prediction(codec.encode(each, json=True)) == each
    wide, narrow, none = asked[-1].scores
    assert wide.score == narrow.score
    assert wide.interval is not None
    assert narrow.interval is not None
    assert wide.interval[0] < narrow.interval[0] < narrow.interval[1] < wide.interval[1]
    assert none.interval is None
    found = backtest(made, given)["models"]
    for model in models:
        river, live = river_metrics(made, model, given), folded(made, driver.log)
        values = {
            each.name: each.value
            for each in measured(live)
            if each.model == model.name and each.name in extra and not each.segment
        }
        known = {name: value for name, value in river.items() if name in extra and math.isfinite(value)}
        assert values == known
        assert {name: found[model.name][name] for name in values} == values
        assert ("covered" in values) == (model.name != "plain")
    assert found["narrow"]["covered"] < found["wide"]["covered"]


# ---------------------------------------------------------------------- in Prometheus and on the page


def test_prometheus_has_them_in_one_family() -> None:
    made = task("binary")
    found = measured(folded(made, log_of(made, events("binary"))))
    page = Exporter(lambda: [view(*found)], "1", "r").page()
    samples = {
        (each.name, each.labels.get("metric", ""), each.labels.get("segment", "")): each.value
        for family in text_string_to_metric_families(page.decode())
        for each in family.samples
        if each.labels.get("model") == "m" and each.labels.get("window") == "all"
    }
    figures = backtest(made, events("binary"))["models"]["m"]
    for name in EXTRA["binary"]:
        assert samples["riverloop_extra", name, ""] == figures[name]
        assert samples["riverloop_extra", name, "c=x"] == figures["segments"]["c=x"][name]
    assert samples["riverloop_pr_auc_ratio", "", ""] == figures["pr_auc"]
    cell = samples["riverloop_confusion", "", "outcome=true&decision=false"]
    assert cell == figures["confusion"]["true"]["false"]


def test_the_page_shows_them_with_the_confusion_and_the_classes() -> None:
    made = task("binary")
    board = Board(made)
    for each in measured(folded(made, log_of(made, events("binary")))):
        names = ("name", "value", "unit", "model", "version", "role", "window", "count", "segment")
        fields: dict[str, Any] = {name: getattr(each, name) for name in names}
        board.metric(Metric(**fields, log_offset=7, ts=T0), 5000)
    figures, shown = backtest(made, events("binary"))["models"]["m"], board.sections()["quality"]["m"]
    assert shown["windows"]["all"]["mcc"] == figures["mcc"]
    assert shown["segments"]["c=x"]["mcc"] == figures["segments"]["c=x"]["mcc"]
    assert shown["classes"]["class=true"] == figures["classes"]["true"]
    cells = {cell_of(name): each["confusion"] for name, each in shown["confusion"].items()}
    assert cells == {(a, b): n for a, row in figures["confusion"].items() for b, n in row.items()}
    assert board.facts()["extra"] == [*EXTRA["binary"]]
    assert board.facts()["units"]["cost"] == {"unit": "own", "better": "lower"}
