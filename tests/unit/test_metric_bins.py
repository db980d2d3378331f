"""AUC and calibration from bins: how near to the exact figures, and what bins of their own for 0 and 1 are for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from river import metrics

from schemas.records import Score
from streams.metrics.binary import BinaryTally, observe
from streams.metrics.bins import BINS, bin_of
from streams.metrics.estimated import estimate
from streams.metrics.multiclass import MulticlassTally
from streams.metrics.slices import Newest, Panes
from streams.report import roc_auc


def tally_of(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> BinaryTally:
    tally = BinaryTally()
    for p, y in zip(scores.tolist(), labels.tolist(), strict=True):
        seen = observe(Score("m", 1, 0, p, p >= 0.5), y)
        assert seen is not None
        tally.add(seen)
    return tally


def smooth(n: int, rate: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < rate
    logit = rng.normal(np.where(labels, 1.0, -0.5), 1.2) + math.log(rate / (1 - rate))
    return 1 / (1 + np.exp(-logit)), labels


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.03])
def test_auc_from_bins_is_within_1e_4_of_the_exact_one_for_smooth_scores(rate: float) -> None:
    scores, labels = smooth(150_000, rate, 1)
    found = dict(tally_of(scores, labels).values())["roc_auc"]
    assert abs(found - roc_auc(scores, labels)) < 1e-4


def test_auc_of_some_hundred_positives_is_within_3e_4_of_the_exact_one() -> None:
    for seed in range(5):
        scores, labels = smooth(20_000, 0.03, seed)
        found = dict(tally_of(scores, labels).values())["roc_auc"]
        assert abs(found - roc_auc(scores, labels)) < 3e-4


def test_auc_of_a_trees_few_scores_is_within_1e_3_of_the_exact_one() -> None:
    rng = np.random.default_rng(7)
    leaves = rng.random(12)
    scores = leaves[rng.integers(0, 12, 20_000)]
    labels = rng.random(20_000) < scores * 0.4
    found = dict(tally_of(scores, labels).values())["roc_auc"]
    assert abs(found - roc_auc(scores, labels)) < 1e-3


def test_zero_and_one_are_reported_apart_from_what_is_near_them() -> None:
    assert bin_of(0.0) < bin_of(1e-12) < bin_of(0.5) < bin_of(1 - 1e-12) < bin_of(1.0) == BINS - 1
    scores = np.array([0.0, 1e-9, 1 - 1e-9, 1.0] * 5)
    labels = np.array([False, True, False, True] * 5)
    assert dict(tally_of(scores, labels).values())["roc_auc"] == roc_auc(scores, labels) == 0.75


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, 0.0), (1.0, 0.7)])
def test_recalibration_finds_how_scores_were_bent(slope: float, intercept: float) -> None:
    rng = np.random.default_rng(5)
    logit = rng.normal(-1, 1.5, 60_000)
    labels = rng.random(60_000) < 1 / (1 + np.exp(-(intercept + slope * logit)))
    found = dict(tally_of(1 / (1 + np.exp(-logit)), labels).values())
    assert found["calibration_slope"] == pytest.approx(slope, abs=0.03)
    assert found["calibration_intercept"] == pytest.approx(intercept, abs=0.04)


def test_expected_calibration_error_is_that_of_its_definition() -> None:
    scores, labels = smooth(5000, 0.2, 4)
    scores = scores**1.5
    group = np.minimum((scores * 10).astype(int), 9)
    parts = [(group == g) for g in range(10)]
    wanted = sum(abs(scores[p].sum() - labels[p].sum()) for p in parts) / len(scores)
    assert dict(tally_of(scores, labels).values())["ece"] == pytest.approx(wanted, abs=1e-12)


def test_accuracy_and_f1_have_the_digits_of_rivers() -> None:
    scores, labels = smooth(3000, 0.3, 9)
    accuracy, f1, loss = metrics.Accuracy(), metrics.F1(), metrics.LogLoss()
    for n in range(1, len(scores)):
        y, p = bool(labels[n]), float(scores[n])
        accuracy.update(y, p >= 0.5)
        f1.update(y, p >= 0.5)
        loss.update(y, p)
    found = dict(tally_of(scores[1:], labels[1:]).values())
    assert found["accuracy"] == accuracy.get()
    assert found["f1"] == f1.get()
    assert found["log_loss"] == pytest.approx(loss.get(), abs=1e-12)


def test_no_value_is_made_up_for_a_slice_of_one_class() -> None:
    found = dict(tally_of(np.array([0.2, 0.3]), np.array([False, False])).values())
    assert math.isnan(found["roc_auc"])
    assert math.isnan(found["calibration_slope"])
    assert math.isnan(found["recall"])
    assert found["base_rate"] == 0.0


def test_the_estimate_follows_a_shift_of_requests_and_needs_no_labels() -> None:
    scores, labels = smooth(40_000, 0.3, 11)
    rng = np.random.default_rng(0)
    labels = rng.random(len(scores)) < scores  # calibrated: P(label | score) = score
    reference = tally_of(scores[:30_000], labels[:30_000])
    hard = np.abs(scores[30_000:] - 0.5) < 0.25  # a shift: only the doubtful requests come now
    later, truth = scores[30_000:][hard], labels[30_000:][hard]
    hidden = tally_of(later, np.zeros(len(later), bool))
    found = estimate(hidden.counts, reference)
    realised = dict(tally_of(later, truth).values())
    assert realised["accuracy"] < 0.7 < dict(reference.values())["accuracy"]
    assert found["estimated_accuracy"] == pytest.approx(realised["accuracy"], abs=0.03)
    assert found["estimated_roc_auc"] == pytest.approx(realised["roc_auc"], abs=0.04)


def test_too_few_labels_give_no_estimate() -> None:
    scores, labels = smooth(150, 0.3, 1)
    assert estimate(tally_of(scores, labels).counts, tally_of(scores, labels)) == {}


def _loss(value: float) -> MulticlassTally:
    made = MulticlassTally()
    made.add((("a", "a"), value))
    return made


def test_a_sum_of_panes_or_revisions_has_the_same_bits_after_a_restart() -> None:
    """Requests and revisions come out of order; floats added up in another order differ in their last bits."""
    assert 0.3 + 0.2 + 0.1 != 0.1 + 0.2 + 0.3
    panes, newest = Panes(MulticlassTally, 1, 100), Newest(MulticlassTally, 5)
    for number in (3, 2, 1):
        pane = panes.at(number)
        assert pane is not None
        pane.merge(_loss(number / 10))
        newest.at(number).merge(_loss(number / 10))
    again, restored = Panes(MulticlassTally, 1, 100), Newest(MulticlassTally, 5)
    again.restore(panes.snapshot())
    restored.restore(newest.snapshot())
    assert again.between(0, 10).loss == panes.between(0, 10).loss
    assert restored.total().loss == newest.total().loss
