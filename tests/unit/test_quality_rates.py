"""Chance raises hardly any alarm: rates on streams without drift, with fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.dictionary import Category, Dictionary, Integer, Number
from schemas.records import Request
from streams.quality import divergence
from streams.quality.monitor import QualityMonitor
from streams.quality.quality_rules import QualityRules
from streams.quality.replay import replay
from streams.quality.volume import student

BINS = 10
RUNS = 4000


def samples(n: int, seed: int, reference: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shares = [1 / BINS] * BINS
    return rng.multinomial(reference, shares, RUNS), rng.multinomial(n, shares, RUNS)


@pytest.mark.parametrize("n", [100, 500, 1000, 10_000])
def test_the_null_mean_and_the_limit_are_those_of_samples_without_drift(n: int) -> None:
    first, second = samples(n, seed=n, reference=2000)
    for measure in (divergence.psi, divergence.jensen_shannon):
        found = [measure(a, b, 0.001) for a, b in zip(first, second, strict=True)]
        values = np.array([each.value for each in found])
        assert values.mean() == pytest.approx(found[0].mean, rel=0.08)
        assert values.var() == pytest.approx(2 * found[0].mean ** 2 / (BINS - 1), rel=0.2)
        assert np.mean(values > found[0].limit) <= 0.0025


def test_the_plain_rule_cries_wolf_where_ours_is_quiet() -> None:
    first, second = samples(100, seed=1, reference=100)
    found = [divergence.psi(a, b, 0.001) for a, b in zip(first, second, strict=True)]
    plain = np.mean([each.value > 0.1 for each in found])
    ours = np.mean([each.excess > 0.25 and each.value > each.limit for each in found])
    assert plain > 0.7  # both windows have 100 events: 9 * (1/100 + 1/100) = 0.18 on average
    assert ours <= 0.0025


@pytest.mark.parametrize(("n", "share"), [(100, 0.0), (100, 0.02), (500, 0.05), (1000, 0.2), (10_000, 0.001)])
def test_rising_shares_alarm_less_often_than_promised(n: int, share: float) -> None:
    rng = np.random.default_rng(n)
    base, recent = rng.binomial(2000, share, RUNS * 5), rng.binomial(n, share, RUNS * 5)
    alarms = [divergence.rise(int(b), n, int(a), 2000) < 0.001 for a, b in zip(base, recent, strict=True)]
    assert np.mean(alarms) <= 0.001


# Upper quantiles by degrees of freedom and probability, from SciPy's `chi2.isf` and `t.isf`.
TABLE = [
    (3, 0.05, 7.8147, 3.18245),
    (3, 1e-5, 25.9017, 60.3968),
    (7, 1e-3, 24.3219, 5.40788),
    (7, 1e-5, 35.2585, 11.2148),
    (30, 1e-3, 59.7031, 3.64596),
]


@pytest.mark.parametrize(("freedom", "alpha", "chi_square", "student_t"), TABLE)
def test_quantiles_are_those_of_the_tables(
    freedom: int, alpha: float, chi_square: float, student_t: float
) -> None:
    assert divergence.chi_square(1 - alpha, freedom) == pytest.approx(chi_square, rel=0.06)
    assert student(alpha, freedom) == pytest.approx(student_t, rel=1e-4)


DICTIONARY = Dictionary(
    *(Number(name=f"n{number}", low=-6, high=6, optional=True) for number in range(8)),
    Integer(name="count"),
    Integer(name="rare"),
    *(Category(name=f"c{number}") for number in range(4)),
    Category(name="open"),
)


def stream(n: int, seed: int, drift_at: int | None = None) -> list[Request]:
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(n, 8))
    if drift_at is not None:
        numbers[drift_at:, 0] += 1.0
    counts, rare = rng.poisson(2, n), (rng.random(n) < 0.01).astype(int)
    levels = rng.choice(["a", "b", "c", "d"], p=[0.6, 0.3, 0.09, 0.01], size=(n, 4))
    tail = np.minimum(rng.zipf(1.6, n), 10**6)
    gone = rng.random((n, 8)) < 0.02
    return [
        Request(
            f"r-{at}",
            at * 1000,
            {f"n{k}": float(numbers[at, k]) for k in range(8) if not gone[at, k]}
            | {"count": int(counts[at]), "rare": int(rare[at])}
            | {f"c{k}": str(levels[at, k]) for k in range(4)}
            | {"open": f"o{tail[at]}"},
        )
        for at in range(n)
    ]


@pytest.mark.parametrize("window", [100, 500, 1000, 10_000])
def test_streams_without_drift_raise_no_alert(window: int) -> None:
    rules = QualityRules(window=window)
    for seed in range(2 if window < 10_000 else 1):
        monitor = QualityMonitor("t", DICTIONARY, rules)
        alerts = list(replay(monitor, stream(32_000, seed)))
        assert monitor.judged_at >= 2
        assert [each.text for each in alerts] == []


def test_a_shift_by_one_deviation_is_found_within_a_window() -> None:
    found = []
    for seed in range(3):
        monitor = QualityMonitor("t", DICTIONARY)
        alerts = list(replay(monitor, stream(6_000, seed, drift_at=4_000)))
        opened = [each for each in alerts if each.state == "opened"]
        assert [each.feature for each in opened] == ["n0"]
        found.append(opened[0].ts / 1000 - 4_000)
    assert all(0 < delay < 800 for delay in found)
