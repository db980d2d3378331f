"""Drift: what alarms, what does not, and what becomes of it."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from river import drift, dummy

from schemas.alert import Alert
from schemas.dictionary import Dictionary, Number
from schemas.errors import TaskError
from schemas.records import Entry, Outcome, Prediction, Score
from streams.drift.adwin import DirectionalAdwin
from streams.drift.drift_rules import DriftRules, Watch
from streams.drift.fold import DriftFold
from streams.drift.river_detector import RiverDetector
from streams.policies import DefaultAtHorizon, OnArrival
from streams.task import Task
from streams.task_model import Model
from tests.benchmarks.drift.concepts import Scored
from tests.benchmarks.drift.no_drift import no_drift_stream
from tests.benchmarks.drift.ours import alerts, entries, openings
from tests.benchmarks.drift.ours import task as bench_task

MINUTE = 60_000
RIVER: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (drift.ADWIN, {}),
    (drift.KSWIN, {"seed": 1}),
    (drift.PageHinkley, {}),
    (drift.binary.DDM, {}),
    (drift.binary.EDDM, {}),
    (drift.binary.FHDDM, {}),
    (drift.binary.HDDMA, {}),
    (drift.binary.HDDMW, {}),
]


def worlds(*stretches: tuple[int, float, float], seed: int = 1) -> Iterator[Scored]:
    """Give events of several stretches: how many, the base rate, how often the score is upside down."""
    rng = random.Random(seed)
    for count, base, upside_down in stretches:
        for _ in range(count):
            label = rng.random() < base
            right = rng.random() >= upside_down
            yield Scored(0.8 if label == right else 0.2, label)


def reported(fold: DriftFold, log: list[Entry]) -> list[Alert]:
    """Fold a log and give its alerts."""
    found: list[Alert] = []
    for offset, entry in enumerate(log):
        fold.apply(offset, entry)
        found += fold.alerts()
    return found


# ---------------------------------------------------------------------- detectors


def test_what_gets_worse_alarms_and_what_gets_better_does_not() -> None:
    rng = random.Random(3)
    for worse, first, then, alarmed in (
        ("up", 0.1, 0.4, True),
        ("up", 0.4, 0.1, False),
        ("down", 0.4, 0.1, True),
    ):
        detector = DirectionalAdwin(0.002, worse)  # type: ignore[arg-type]  # a tuple of texts
        found = [detector.update(float(rng.random() < (first if n < 2000 else then))) for n in range(4000)]
        assert any(found) is alarmed, (worse, first, then)
        assert not any(found[:2000])


def test_going_back_soon_after_an_alarm_is_a_recovery_also_where_both_ways_are_bad() -> None:
    rng = random.Random(3)
    for back_at, alarms in ((2_600, ["up"]), (4_500, ["up", "down"])):
        detector = DirectionalAdwin(0.002, "both", hush=1_000)
        found = []
        for number in range(7_000):
            rate = 0.4 if 2_000 <= number < back_at else 0.1
            change = detector.update(float(rng.random() < rate))
            found += [change.direction] if change else []
        assert found == alarms


@pytest.mark.parametrize(("make", "parameters"), RIVER)
def test_every_detector_of_river_can_be_named_and_alarms_when_errors_rise(
    make: Callable[..., Any], parameters: dict[str, Any]
) -> None:
    rules = DriftRules(watches=(Watch("error", make, parameters),), warm_up=500, loss=False)
    found = alerts(worlds((3_000, 0.5, 0.1), (1_500, 0.5, 0.6)), rules)
    opened = [alert for alert in found if alert.state == "opened"]
    assert opened, make
    assert any(3_000 <= alert.log_offset < 4_500 for alert in found)
    assert opened[-1].evidence.detector.startswith(make.__name__)


def test_a_detector_of_falling_means_is_fed_hits() -> None:
    detector = RiverDetector(drift.binary.FHDDM, {}, "up", 1_000)
    rng = random.Random(1)
    found = [n for n in range(3_000) if detector.update(float(rng.random() < (0.1 if n < 2_000 else 0.7)))]
    assert found
    assert found[0] >= 2_000


# ---------------------------------------------------------------------- signals and episodes


@pytest.mark.parametrize(
    ("first", "then", "alarmed"),
    [(0.5, 0.8, True), (0.5, 0.2, True), (0.8, 0.5, False), (0.2, 0.5, False)],
)
def test_scores_that_move_towards_the_truth_have_learned_and_away_from_it_alarm(
    first: float, then: float, alarmed: bool
) -> None:
    rng = random.Random(5)
    events = [Scored(rng.gauss(first if n < 4_000 else then, 0.02), rng.random() < 0.5) for n in range(8_000)]
    found = alerts(events, DriftRules(watches=(Watch("score_mean"),), loss=False))
    assert [alert.signal for alert in found if alert.state == "opened"] == ["score_mean"] * alarmed


def test_nothing_opens_where_nothing_drifts() -> None:
    assert alerts(no_drift_stream("10 % positive", 30_000, seed=5)) == []


def test_one_cause_opens_one_episode_led_by_the_most_telling_signal_and_closes_it() -> None:
    stretches = worlds((4_000, 0.5, 0.1), (600, 0.9, 0.7), (4_000, 0.5, 0.1))
    found = [alert for alert in alerts(stretches) if alert.family == "drift"]
    assert [alert.state for alert in found].count("opened") == 1
    assert len({alert.episode for alert in found}) == 1
    assert found[0].log_offset < 4_200
    assert found[-1].state == "closed"
    assert found[-1].signal == "excess_log_loss"
    assert found[-1].severity == "info", "what has moved is information"
    assert found[0].episode == f"bench/drift@{found[0].log_offset}"


def loss_steps(found: list[Alert]) -> list[tuple[str, str]]:
    return [(alert.state, alert.severity) for alert in found if alert.family == "loss"]


def test_a_loss_above_its_level_opens_an_episode_that_ends_when_it_is_back() -> None:
    found = alerts(worlds((4_000, 0.5, 0.1), (300, 0.5, 0.5), (4_000, 0.5, 0.1)))
    steps = loss_steps(found)
    assert steps[0] == ("opened", "warning")
    assert steps[-1][0] == "closed"
    opened, closed = (alert for alert in found if alert.family == "loss" and alert.state != "updated")
    assert 4_000 <= opened.log_offset < 4_150
    assert 4_300 <= closed.log_offset < 4_600
    assert opened.ts == (opened.log_offset - 1) * 1_000 + 60_000, "the time of the labels that it rests on"
    evidence = opened.evidence
    assert evidence.reference == pytest.approx(0.9 * 0.223 + 0.1 * 1.609, abs=0.03)
    assert evidence.recent is not None
    assert evidence.recent > 1.5 * 0.36
    assert "its recent level is 0.3" in opened.text
    assert "back at its level" in closed.text


def test_a_loss_that_doubles_for_long_is_critical_and_what_lasts_becomes_the_level() -> None:
    found = [a for a in alerts(worlds((4_000, 0.5, 0.1), (8_000, 0.5, 0.6))) if a.family == "loss"]
    assert found[0].severity == "warning"
    critical = next(alert for alert in found if alert.severity == "critical")
    assert critical.evidence.recent_count >= 250
    assert found[-1].state == "closed"
    assert "has stayed high" in found[-1].text
    assert 4_000 + 2_500 < found[-1].log_offset < 4_000 + 3_500


def test_what_moves_without_hurting_is_information() -> None:
    # The base rate and the scores move together, and the requests are no harder than before.
    rng = random.Random(4)
    events = []
    for number in range(8_000):
        score = 0.1 if (rng.random() < 0.8) == (number < 4_000) else 0.9
        events.append(Scored(score, rng.random() < score))
    found = alerts(events)
    assert {alert.family for alert in found} == {"drift"}
    assert {alert.severity for alert in found} == {"info"}


def test_labels_of_one_time_have_no_order() -> None:
    # A day's 40 labels come together, its wrong ones first or spread: the same is said.
    log = list(entries(worlds((8_000, 0.5, 0.15), seed=3)))

    def wrong_first(entry: Entry) -> bool:
        assert entry.prediction is not None
        assert entry.outcome is not None
        return entry.prediction.scores[0].label == entry.outcome.value

    days = [log[start : start + 40] for start in range(0, len(log), 40)]
    days = [[dataclasses.replace(each, ts=day[-1].ts) for each in day] for day in days]
    spread = reported(DriftFold(bench_task()), [each for day in days for each in day])
    sorted_ = reported(
        DriftFold(bench_task()), [each for day in days for each in sorted(day, key=wrong_first)]
    )
    assert loss_steps(spread) == loss_steps(sorted_) == []


@pytest.mark.parametrize("base", [0.05, 0.3, 0.5])
def test_a_calibrated_model_s_loss_opens_nothing(base: float) -> None:
    rng = random.Random(9)
    events = []
    for _ in range(40_000):
        odds = math.exp(rng.gauss(math.log(base / (1 - base)), 1.0))
        score = odds / (1 + odds)
        events.append(Scored(score, rng.random() < score))
    assert loss_steps(alerts(events, DriftRules(watches=()))) == []


def test_recovery_opens_nothing() -> None:
    found = alerts(worlds((4_000, 0.5, 0.4), (4_000, 0.5, 0.1)))
    assert openings(found) == []


def test_evidence_says_windows_sizes_statistic_and_threshold() -> None:
    found = alerts(worlds((4_000, 0.5, 0.1), (1_000, 0.5, 0.6)))
    first = next(alert for alert in found if alert.family == "drift")
    evidence = first.evidence
    assert evidence.reference_count + evidence.recent_count <= first.log_offset
    assert evidence.value is not None
    assert evidence.threshold is not None
    assert evidence.value > evidence.threshold > 0
    assert evidence.reference is not None
    assert evidence.recent == pytest.approx(evidence.reference + evidence.value)
    assert first.signal.replace("_", " ") in first.text


def test_a_moved_base_rate_is_not_called_a_drift_of_the_concept() -> None:
    rng = random.Random(8)
    events = []
    for number in range(14_000):
        score = rng.betavariate(1, 4)
        odds = score / (1 - score) * (1.0 if number < 7_000 else 2.5)
        events.append(Scored(score, rng.random() < odds / (1 + odds)))
    found = alerts(events)
    assert any("label mean" in alert.text for alert in found)
    assert "excess_log_loss" not in {alert.signal for alert in found}


def test_a_shadow_gets_nobody_up() -> None:
    task = dataclasses.replace(
        bench_task(), models=(Model("model", dummy.PriorClassifier), Model("other", dummy.PriorClassifier))
    )
    log = []
    for entry in entries(worlds((4_000, 0.5, 0.1), (1_000, 0.5, 0.7))):
        assert entry.prediction is not None
        assert entry.outcome is not None
        (bad,) = entry.prediction.scores
        right = bool(entry.outcome.value)
        good = Score("model", 1, 0, 0.9 if right else 0.1, right)
        shadow = dataclasses.replace(bad, model="other", revision=1, offset=0)
        prediction = dataclasses.replace(entry.prediction, scores=(good, shadow))
        log.append(dataclasses.replace(entry, prediction=prediction))
    found = reported(DriftFold(task), log)
    assert {alert.model for alert in found} == {"other"}
    assert {alert.severity for alert in found} == {"info"}


def test_a_new_revision_is_no_drift() -> None:
    log = []
    for number, entry in enumerate(entries(worlds((4_000, 0.5, 0.1), (4_000, 0.5, 0.6)))):
        assert entry.prediction is not None
        scores = tuple(
            dataclasses.replace(score, revision=1 if number < 4_000 else 2, offset=0)
            for score in entry.prediction.scores
        )
        log.append(
            dataclasses.replace(entry, prediction=dataclasses.replace(entry.prediction, scores=scores))
        )
    found = reported(DriftFold(bench_task()), log)
    assert {alert.family for alert in found} == {"loss"}, "but a release that answers worse costs something"
    assert found[0].version == "model.2@0"


def test_corrections_and_backfilled_examples_are_not_judged() -> None:
    log = list(entries(worlds((4_000, 0.5, 0.1), (2_000, 0.5, 0.6))))
    calm_log = log[:4_000]
    for entry in log[4_000:]:
        assert entry.outcome is not None
        before = not entry.outcome.value
        calm_log.append(dataclasses.replace(entry, kind="revised", previous=before, previous_kind="labelled"))
        calm_log.append(dataclasses.replace(entry, kind="backfill"))
    fold = DriftFold(bench_task())
    assert reported(fold, calm_log) == []
    assert {each.count for each in fold.measurements() if each.segment == "drift"} == {4_000}


# ---------------------------------------------------------------------- delays


def delays(task_delay: Callable[[int], int], count: int) -> list[Entry]:
    log = []
    rng = random.Random(4)
    for number in range(count):
        ts = number * MINUTE
        label = rng.random() < 0.5
        score = Score("model", 1, 0, 0.5, False)
        came = ts + int(task_delay(number) * rng.uniform(0.5, 1.5))
        log.append(
            Entry(
                *("e", "labelled", came),
                prediction=Prediction("r", ts, {}, (score,)),
                outcome=Outcome("r", came, label),
            )
        )
    return sorted(log, key=lambda entry: entry.ts)


def test_slower_outcomes_open_a_delay_episode_and_no_drift() -> None:
    found = reported(DriftFold(bench_task()), delays(lambda n: 30 * MINUTE * (1 if n < 6_000 else 3), 9_000))
    assert {alert.family for alert in found} == {"delay"}
    assert found[0].direction == "up"
    assert "slower" in found[0].text


def test_a_stream_that_has_just_begun_shows_short_delays_first_and_that_is_no_drift() -> None:
    assert reported(DriftFold(bench_task()), delays(lambda n: 5_000 * MINUTE, 12_000)) == []


# ---------------------------------------------------------------------- the outcome feed


def conversions(
    count: int, rate: float, dead: range, policy: Any, horizon: int = 100, seen: float = 0.3
) -> tuple[Task, list[Entry]]:
    """A conversion a minute; those of `dead` minutes are lost. Silence expires at the horizon (minutes)."""
    task = Task(
        name="conversions",
        question="Will it convert?",
        features=Dictionary(Number(name="x", unit="1")),
        horizon=timedelta(minutes=horizon),
        models=(Model("model", dummy.PriorClassifier, policy=policy),),
    )
    rng = random.Random(6)
    log = []
    for number in range(count):
        ts = number * MINUTE
        score = Score("model", 1, 0, seen, False)
        prediction = Prediction(f"r-{number}", ts, {}, (score,))
        came = ts + rng.randrange(horizon) * MINUTE
        if rng.random() < rate and came // MINUTE not in dead:
            log.append(Entry("e", "labelled", came, prediction=prediction, outcome=Outcome("r", came, True)))
        else:
            log.append(Entry("e", "expired", ts + horizon * MINUTE, prediction=prediction))
        progress = {"predictions": number + 1}
        log.append(Entry("t", "time", ts, progress=progress, partition=0))
    return task, sorted(log, key=lambda entry: entry.ts)


@pytest.mark.parametrize("policy", [DefaultAtHorizon(False), OnArrival()])
@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_a_dead_outcome_feed_opens_an_outage_and_no_drift(policy: Any, rate: float) -> None:
    task, log = conversions(16_000, rate, range(8_000, 10_000), policy, seen=rate)
    found = reported(DriftFold(task), log)
    assert [(alert.family, alert.state) for alert in found] == [("outage", "opened"), ("outage", "closed")]
    assert found[0].severity == "critical"
    assert 8_000 * MINUTE < found[0].ts < 9_000 * MINUTE
    assert 10_000 * MINUTE < found[1].ts < 11_000 * MINUTE


def test_falling_conversion_is_a_drift_and_no_outage() -> None:
    task, log = conversions(8_000, 0.3, range(0), DefaultAtHorizon(False))
    _, fewer = conversions(6_000, 0.1, range(0), DefaultAtHorizon(False))
    after = [
        dataclasses.replace(each, ts=each.ts + 8_000 * MINUTE) for each in fewer if each.progress is None
    ]
    found = reported(DriftFold(task), [*log, *after])
    assert {alert.family for alert in found} == {"drift"}
    assert found[0].signal == "label_mean"
    assert found[0].direction == "down"


def wrong(entry: Entry) -> Entry:
    """Let the model have been sure of the opposite."""
    assert entry.prediction is not None
    (score,) = entry.prediction.scores
    sure = (dataclasses.replace(score, score=0.01, label=False),)
    return dataclasses.replace(entry, prediction=dataclasses.replace(entry.prediction, scores=sure))


def test_an_open_episode_is_held_back_during_an_outage_and_says_so() -> None:
    task, log = conversions(12_000, 0.3, range(8_000, 9_000), OnArrival())
    flipped = [
        wrong(each) if each.outcome and 7_500 * MINUTE <= each.ts < 8_000 * MINUTE else each for each in log
    ]
    rules = DriftRules(warm_up=500, cool_down=100_000)
    found = reported(DriftFold(dataclasses.replace(task, drift=rules)), flipped)
    steps = [(alert.family, alert.state, alert.held_back) for alert in found if alert.family != "loss"]
    outage = steps.index(("outage", "opened", False))
    assert steps[0] == ("drift", "opened", False)
    assert steps[outage + 1] == ("drift", "updated", True)
    assert ("drift", "updated", False) in steps[outage + 2 :]


def test_outcomes_that_come_in_a_nightly_batch_are_no_outage() -> None:
    task, log = conversions(20_000, 0.1, range(0), DefaultAtHorizon(False), horizon=2_000)
    day = 1_440 * MINUTE
    batched = [
        dataclasses.replace(entry, ts=(entry.ts // day + 1) * day) if entry.outcome else entry
        for entry in log
    ]
    found = reported(DriftFold(task), sorted(batched, key=lambda entry: entry.ts))
    assert "outage" not in {alert.family for alert in found}


# ---------------------------------------------------------------------- the task file


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (DriftRules(watches=(Watch("accuracy"),)), "unknown signal"),
        (DriftRules(watches=(Watch("error"), Watch("error"))), "watched twice"),
        (DriftRules(watches=(Watch("error", drift.ADWIN, {"sigma": 1}),)), "detector(**parameters) failed"),
        (DriftRules(watches=(Watch("error", drift.ADWIN()),)), "not an instance"),  # type: ignore[arg-type]  # a mistake
        (DriftRules(watches=(Watch("score_mean", drift.binary.DDM),)), "accepts only 0 and 1"),
        (DriftRules(watches=(Watch("error", None, {"delta": 1}),)), "without a detector"),
        (DriftRules(watches=(Watch("error", severity="loud"),)), "severity='loud'"),  # type: ignore[arg-type]  # a mistake
        (DriftRules(watches=("error",)), "must be a tuple of Watch"),  # type: ignore[arg-type]  # a mistake
        (DriftRules(one_false_alarm_in=0), "whole number of at least 1"),
        ("error", "must be DriftRules"),
    ],
)
def test_a_mistake_in_the_rules_fails_when_the_task_is_loaded(rules: Any, said: str) -> None:
    with pytest.raises(TaskError) as error:
        bench_task(rules)
    assert said in str(error.value)
    assert "task 'bench'" in str(error.value)


def test_a_larger_budget_finds_no_less() -> None:
    strict = alerts(worlds((4_000, 0.5, 0.1), (900, 0.5, 0.2)), DriftRules(one_false_alarm_in=10_000_000))
    lax = alerts(worlds((4_000, 0.5, 0.1), (900, 0.5, 0.2)), DriftRules(one_false_alarm_in=10_000))
    assert openings(lax)
    assert not openings(strict) or openings(lax)[0] <= openings(strict)[0]
