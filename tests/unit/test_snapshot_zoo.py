"""Every public estimator of River: the load check says what the page of estimators says of it.

What it accepts is stored and restored, and goes on in the same bits.
"""

from __future__ import annotations

from typing import Any

import pytest

from docs.make.models_check import FEATURES, Trial, estimators, tried, why_refused
from docs.make.models_page import record
from streams.examples import synthetic_examples
from streams.learning_time import learn, wants_time
from streams.snapshot import dump, load
from streams.snapshot.digest import state_digest

RECORD = record()
BEFORE, AFTER = 150, 100
"""Examples learned before the state is stored, and after it."""


def test_the_page_has_every_estimator_of_the_installed_river() -> None:
    assert list(RECORD) == list(estimators()), "run: python -m docs.make.models_check"
    assert len(RECORD) > 140
    assert sum("refused" in each for each in RECORD.values()) < 40


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("name", RECORD)
def test_an_estimator_is_restored_or_refused_as_its_page_says(name: str) -> None:
    said = RECORD[name]
    trial = Trial(name, said["kinds"][0], said["features"], said["with"])
    seen = tried(trial)
    why = why_refused(seen, seen)
    assert bool(why) == ("refused" in said), why
    if why:
        assert said["refused"] in why
        return
    features, kind = FEATURES[trial.features], trial.kind
    live, restored = trial.make(), trial.make()
    ts = 1_700_000_000_000 if wants_time(live) else None

    def asked(model: Any, x: dict[str, Any]) -> str:
        return repr(model.predict_one(dict(x)) if kind == "regression" else model.predict_proba_one(dict(x)))

    for number, (x, y) in enumerate(synthetic_examples(features, kind, BEFORE + AFTER, 3)):
        if number == BEFORE:
            restored = load(dump(live), restored)
            assert state_digest(restored) == state_digest(live)
        if number >= BEFORE:
            assert asked(restored, x) == asked(live, x)
            learn(restored, dict(x), y, ts)
        learn(live, dict(x), y, ts)
    assert state_digest(restored) == state_digest(live)
