"""What scoring and learning cost in River and in the kernel: `python -m tests.benchmarks.fused`.

Processor time of one prediction and one learned example, by turns on the same examples: River alone; a model's fold
with River and with the kernel, one call each; and the kernel with batches of 1,000.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from infra.taskfile import load_task
from schemas.dictionary import Dictionary
from schemas.event_time import EPOCH
from streams import Model, Task, native
from streams.examples import synthetic_examples
from streams.model import ModelFold
from streams.native.plan import plan_of
from tests.fused import PIPELINES, Fusable

TURN = 1_000
"""Examples that one of them takes before it is the other's turn."""
SHOWN = ("scaled", "scaled numbers", "encoded", "everything", "huber")
FILES = ("hotel_bookings/task.py:cancellation", "online_shoppers/task.py", "online_retail/task.py")
Examples = list[tuple[dict[str, Any], Any]]


def of_file(reference: str) -> Fusable:
    """Give the first model of an example's task."""
    task = load_task(str(Path(__file__).parents[2] / "docs" / "examples" / reference)).task
    return Fusable(task.models[0].make, task.features, task.kind)


def river(make: Callable[[], Any], kind: str) -> Callable[[Examples], None]:
    """River alone."""
    model = make()
    ask = model.predict_one if kind == "regression" else model.predict_proba_one

    def turn(examples: Examples) -> None:
        for x, y in examples:
            ask(x)
            model.learn_one(x, y)

    return turn


def fold(make: Callable[[], Any], dictionary: Dictionary, kind: str, core: str) -> Callable[[Examples], None]:
    """A model's fold, whose examples are learned wholly or not at all."""
    task = Task(
        name="bench",
        question="What does it cost?",
        features=dictionary,
        kind=kind,  # type: ignore[arg-type]  # one of them
        horizon=timedelta(seconds=1),
        earliest=EPOCH,
        models=(Model("model", make),),
    )
    made = ModelFold(task, task.models[0], core=core)
    made.prepare()
    learner = made.learner

    def turn(examples: Examples) -> None:
        for number, (x, y) in enumerate(examples):
            made.predict(x)
            learner.learn(number, 0, "", x, y)

    return turn


def batches(make: Callable[[], Any], dictionary: Dictionary, kind: str) -> Callable[[Examples], None]:
    """The kernel by itself."""
    kernel = native.built().Kernel(plan_of(make(), dictionary, kind).plan)

    def turn(examples: Examples) -> None:
        xs, ys = [x for x, _ in examples], [y for _, y in examples]
        kernel.predict_many(xs)
        assert len(kernel.learn_many(xs, ys)) == len(xs)

    return turn


def measure(fusable: Fusable, count: int) -> list[float]:
    """Give microseconds per example of each."""
    make, dictionary, kind = fusable
    ways = [
        river(make, kind),
        fold(make, dictionary, kind, "python"),
        fold(make, dictionary, kind, "native"),
        batches(make, dictionary, kind),
    ]
    examples = list(synthetic_examples(dictionary, kind, count, seed=1))
    for way in ways:
        way(examples[:TURN])
    spent = [0.0] * len(ways)
    for start in range(0, count, TURN):
        for number, way in enumerate(ways):
            began = time.process_time()
            way(examples[start : start + TURN])
            spent[number] += time.process_time() - began
    return [1e6 * each / count for each in spent]


@click.command()
@click.option("--examples", default=20_000, help="Examples of each pipeline.")
def main(examples: int) -> None:
    """Print the table."""
    native.choose("native")
    print(
        "| pipeline | River, µs | fold with River, µs | fold with the kernel, µs | batch, µs | events/s | times |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, fusable in {**{n: PIPELINES[n] for n in SHOWN}, **{f: of_file(f) for f in FILES}}.items():
        alone, python, kernel, batch = measure(fusable, examples)
        rates = f"{1e6 / python:,.0f} → {1e6 / kernel:,.0f} | {python / kernel:.1f}"
        print(f"| {name} | {alone:.1f} | {python:.1f} | {kernel:.2f} | {batch:.2f} | {rates} |", flush=True)


if __name__ == "__main__":
    main()
