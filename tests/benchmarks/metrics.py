"""What a task's monitors cost: `python -m tests.benchmarks.metrics`, µs per entry and model, in one run.

Beside them stand River's three cumulative metrics alone, updated with the same labels, which is what there was
before, and the whole of `measurements()`, which a worker works out once per cadence.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from river import dummy, stats

from schemas import Category, Dictionary, Number
from schemas.records import Entry, Outcome, Prediction, Score
from streams import Model, Task
from streams.metrics.kinds import REGISTRY
from streams.metrics.loop_health import LoopHealth
from streams.metrics.metric_rules import MetricRules
from streams.metrics.scope import metric_wants_labels
from streams.metrics.served import ServedMetrics

COUNT = 40_000
REPEATS = 5
MINUTE_MS = 60_000


def model() -> Any:
    """Give a model that is never asked."""
    return dummy.PriorClassifier()


def task(segments: tuple[str, ...]) -> Task:
    """Give a task with a horizon of 30 days."""
    return Task(
        name="cost",
        question="What does seeing cost?",
        features=Dictionary(Number(name="x"), Category(name="country"), Category(name="channel")),
        horizon=timedelta(days=30),
        models=(Model("lr", model),),
        metrics=MetricRules(segments=segments),
    )


def entries() -> list[Entry]:
    """Make a log of labels, one request a minute, some percent of them corrected."""
    rng = random.Random(1)
    made = []
    for n in range(COUNT):
        p = min(max(rng.betavariate(1, 8), 1e-6), 1 - 1e-6)
        ts = n * MINUTE_MS
        features: dict[str, Any] = {"x": p, "country": f"c{rng.randrange(30)}", "channel": rng.choice("abcd")}
        score = Score("lr", 1, n, p, p >= 0.5)
        prediction = Prediction(f"r{n}", ts, features, (score,))
        at = ts + int(rng.expovariate(1 / (3 * 86_400_000)))
        value = rng.random() < p
        outcome = Outcome(f"r{n}", at, value)
        made.append(Entry(f"e{n}", "labelled", at, arrived=at + 500, prediction=prediction, outcome=outcome))
        if n % 50 == 0:
            other = Outcome(f"r{n}", at + 1, not value, 1)
            fact: dict[str, Any] = {"corrects": f"e{n}", "previous": value, "previous_kind": "labelled"}
            made.append(Entry(f"e{n}r", "revised", at + 1, prediction=prediction, outcome=other, **fact))
    return made


class River:
    """River's cumulative metrics, as a fold."""

    def __init__(self) -> None:
        self.task = task(())
        self.metrics = [make() for make in REGISTRY["binary"].values()]

    def apply(self, offset: int, entry: Entry) -> None:
        """Score a label."""
        label = self.task.models[0].policy.label(entry)
        assert label is not None
        assert entry.prediction is not None
        score = entry.prediction.scores[0]
        for metric in self.metrics:
            answer: Any = score.label if metric_wants_labels(metric) else score.score
            if label.replaces is not None:
                metric.revert(label.replaces, answer)
            metric.update(label.value, answer)


def main() -> None:
    """Print the table."""
    log = entries()
    folds: dict[str, Callable[[], Any]] = {
        "River's three, cumulative": River,
        "ServedMetrics, default": lambda: ServedMetrics(task(()), task(()).models[0]),
        "ServedMetrics, 2 segments": lambda: ServedMetrics(task(("country", "channel")), task(()).models[0]),
        "LoopHealth, once per task": lambda: LoopHealth(task(())),
    }
    best = {name: stats.Min() for name in folds}
    said = {}
    for _ in range(REPEATS):
        for name, make in folds.items():
            fold = make()
            gc.collect()
            started = time.process_time()
            for offset, entry in enumerate(log):
                fold.apply(offset, entry)
            best[name].update((time.process_time() - started) / len(log) * 1e6)
            if hasattr(fold, "measurements"):
                started = time.process_time()
                count = len(list(fold.measurements()))
                said[name] = f"{count:4d} values in {(time.process_time() - started) * 1e3:6.2f} ms"
    first = best["River's three, cumulative"].get()
    for name, each in best.items():
        print(f"{name:28s} {each.get():6.2f} µs/entry {each.get() / first:5.2f}x  {said.get(name, '')}")


if __name__ == "__main__":
    main()
