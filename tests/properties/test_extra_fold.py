"""The task's own metrics are folds: a restart leaves no trace, and a correction takes back what it replaces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import metrics, stats

from schemas.records import Entry
from streams import MetricRules, Task
from streams.metrics.extra_metrics import ExtraMetrics
from streams.metrics.further import AtThreshold, DecisionCost, Residual, TopK
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest
from tests.properties.test_metrics import RULES, SAID, Said, final, log_of, role_of, task


class Wrong(metrics.base.BinaryMetric):
    """A metric of a user's own: its class is on no list."""

    @property
    def bigger_is_better(self) -> bool:
        return False

    def get(self) -> float:
        return float(10 * self.cm.false_negatives(True) + self.cm.false_positives(True))


EXTRA: dict[str, dict[str, Callable[[], Any]]] = {
    "binary": {
        "mcc": metrics.MCC,
        "area": metrics.ROCAUC,
        "wrong": Wrong,
        "at_40": lambda: AtThreshold(0.4, metrics.FBeta(2.0)),
        "cost": lambda: DecisionCost(1, 3),
    },
    "multiclass": {"kappa": metrics.CohenKappa, "top_2": lambda: TopK(2), "weighted": metrics.WeightedF1},
    "regression": {"smape": metrics.SMAPE, "bias": lambda: Residual(stats.Mean())},
}


def made(kind: str) -> Task:
    rules = MetricRules(
        segments=RULES.segments, levels=RULES.levels, least=1, revisions=2, rolling=5, extra=EXTRA[kind]
    )
    return replace(task(kind), metrics=rules)


def fold(kind: str, log: Sequence[Entry]) -> ExtraMetrics:
    own = made(kind)
    found = ExtraMetrics(own, own.models[0])
    for offset, entry in enumerate(log):
        found.apply(offset, entry)
    return found


@pytest.mark.parametrize("kind", [*EXTRA])
@settings(max_examples=40, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=14), st.permutations(range(7)), st.integers(0, 40))
def test_a_restart_anywhere_leaves_no_trace(kind: str, said: list[Said], order: list[int], cut: int) -> None:
    log = log_of(kind, said, order)
    whole, half, again = fold(kind, log), fold(kind, log[:cut]), fold(kind, [])
    again.restore(load(dump(half.snapshot()), again.snapshot()))
    for offset, entry in enumerate(log):
        again.apply(offset, entry)
    assert state_digest(again.snapshot()) == state_digest(whole.snapshot())
    assert list(again.measurements()) == list(whole.measurements())


@pytest.mark.parametrize("kind", [*EXTRA])
@settings(max_examples=40, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=14), st.permutations(range(7)))
def test_values_are_those_of_the_labels_that_stand(kind: str, said: list[Said], order: list[int]) -> None:
    log = log_of(kind, said, order)
    found, last = fold(kind, log), final(log)
    for role, scope in found.scopes.items():
        mine = [e for e in last.values() if e.prediction and role_of(e.prediction) == role]
        labelled = [e for e in mine if e.outcome and e.outcome.value is not None]
        assert scope.whole.n == len(labelled)
        assert not scope.whole.failed
        expected = {name: make() for name, make in EXTRA[kind].items()}
        for entry in labelled:
            assert entry.prediction
            assert entry.outcome
            score: Any = entry.prediction.scores[-1]
            given_: Any = {False: 1 - score.score, True: score.score} if kind == "binary" else score.score
            for metric in expected.values():
                wants = kind != "regression" and metric.requires_labels
                metric.update(entry.outcome.value, score.label if wants else given_)
        values = scope.whole.values()
        if not labelled:
            assert values == {}
            continue
        # Numbers up to 1e9 and down to 1e-9 are taken back here: River's means keep what rounding leaves.
        near = 1e-6 if kind == "regression" else 1e-9
        for name, metric in expected.items():
            assert values[name] == pytest.approx(metric.get(), rel=near, abs=near), name
