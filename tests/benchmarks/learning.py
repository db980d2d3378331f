"""What it costs that a model learns an example wholly or not at all: `python -m tests.benchmarks.learning`.

Processor time, River alone and `Learner` by turns on the same examples; the copy of the state and making it again
after a failure, at the end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from river import base, forest, linear_model, preprocessing, tree

from streams.learner import Learner
from streams.state_copy import StateCopy

TURN = 500
"""Examples that one of the two learns before it is the other's turn."""


def examples(count: int) -> list[tuple[dict[str, float], bool]]:
    """Make examples with eight numbers and a concept that a tree can find."""
    rng = random.Random(1)
    found = []
    for _ in range(count):
        x = {f"f{n}": rng.gauss(0, 1) for n in range(8)}
        found.append((x, x["f0"] + x["f1"] * x["f2"] + rng.gauss(0, 0.5) > 0))
    return found


def logistic_regression() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def hoeffding_tree() -> Any:
    return tree.HoeffdingTreeClassifier(grace_period=50, max_depth=10)


def adaptive_forest() -> Any:
    return forest.ARFClassifier(n_models=10, seed=1)


def measure(make: Callable[[], base.Estimator], count: int) -> list[float]:
    """Give microseconds per example, alone and with `Learner`, and milliseconds of a copy and of a rebuild."""
    alone: Any = make()
    learner = Learner(make, "binary", 10)
    spent = [0.0, 0.0]
    rows = examples(count)
    for start in range(0, count, TURN):
        began = time.process_time()
        for x, y in rows[start : start + TURN]:
            alone.learn_one(x, y)
        between = time.process_time()
        for number, (x, y) in enumerate(rows[start : start + TURN], start):
            learner.learn(number, 0, "", x, y)
        spent[0] += between - began
        spent[1] += time.process_time() - between
    began = time.process_time()
    taken = StateCopy(learner.estimator)
    copied = time.process_time()
    taken.made(make)
    made = time.process_time()
    return [1e6 * each / count for each in spent] + [1e3 * (copied - began), 1e3 * (made - copied)]


def main() -> None:
    """Print the table."""
    print(
        "| model | examples | River alone, µs | learned wholly or not, µs | times | copy, ms | made again, ms |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for make, count in ((logistic_regression, 20_000), (hoeffding_tree, 20_000), (adaptive_forest, 10_000)):
        alone, ours, copy_ms, made_ms = measure(make, count)
        figures = f"{alone:.1f} | {ours:.1f} | {ours / alone:.2f} | {copy_ms:.1f} | {made_ms:.1f} |"
        print(f"| {make.__name__} | {count:,} | {figures}", flush=True)


if __name__ == "__main__":
    main()
