"""A slow model holds up a worker for one record at a time, also where the core reads and writes around it."""

from __future__ import annotations

import random
import time
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from river import linear_model

from infra.kafka.intake import BUDGET_S, WithinBudget
from infra.task.fact_runs import FactRuns
from infra.turns import TURN_S
from streams import native
from streams.task_model import Model
from tests.properties.test_native_serving import Loop, label_of, make_task, plain
from tests.unit.test_fact_runs import Reader, log_of, task_of

pytestmark = pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")
SLOW_S = 0.02


class Slow(linear_model.LogisticRegression):
    """Takes longer than a turn for an example."""

    def __init__(self) -> None:
        super().__init__()

    def predict_proba_one(self, x: Any) -> Any:  # type: ignore[override]  # as River calls it
        time.sleep(SLOW_S)
        numbers = {name: value for name, value in x.items() if isinstance(value, float)}
        return super().predict_proba_one(numbers)  # type: ignore[no-untyped-call]  # River's

    def learn_one(self, x: Any, y: Any) -> None:  # type: ignore[override]  # as River calls it
        super().learn_one({name: value for name, value in x.items() if isinstance(value, float)}, y)


def test_a_transaction_takes_as_many_requests_as_a_slow_model_answers_in_its_time() -> None:
    assert SLOW_S > TURN_S
    loop, rng = Loop(make_task("binary", (Model("slow", Slow),), "none")), random.Random(4)
    written = loop.play([loop.message(loop.codec.encode(plain(n, rng)), 0, n) for n in range(2)])
    loop.learn(written, label_of("binary"))
    messages = [loop.message(loop.codec.encode(plain(n, rng)), 0, n) for n in range(100, 160)]
    items = WithinBudget(loop.decoders[1].many(messages))
    before, began = loop.answered, time.monotonic()
    found = [*chain.from_iterable(loop.serves[1].process(items))]
    assert items.count <= BUDGET_S / SLOW_S + 2, f"{items.count} in {time.monotonic() - began:.2f} s"
    assert loop.answered - before == items.count, "the core writes them"
    assert sum(each.topic == loop.topics.predictions for each in found) == items.count


def test_a_slow_model_learns_one_entry_in_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, taken = log_of(task_of(Slow), 60), list[int]()
    reader, take = Reader(task_of(Slow), tmp_path, as_bytes=True), FactRuns.take
    learner = reader.fold.models[0].learner

    def counted(runs: FactRuns, *about: Any) -> int:
        before = learner.learned
        count = take(runs, *about)
        taken.append(learner.learned - before)
        return count

    monkeypatch.setattr(FactRuns, "take", counted)
    steps = sum(step is None for step in reader.fold._steps(log))
    assert steps == len(log)
    assert set(taken) <= {0, 1}  # the first is read
    assert sum(taken) > 40
