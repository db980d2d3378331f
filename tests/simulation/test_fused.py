"""Each fused pipeline equals River in each bit of every score and state, over 200,000 steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.taskfile import load_task
from streams import native
from streams.native.proof import Run, examples
from tests.fused import PIPELINES, Fusable

EXAMPLES = {
    "hotel bookings": "hotel_bookings/task.py:cancellation",
    "online shoppers": "online_shoppers/task.py",
    "online retail": "online_retail/task.py",
}
FOLDER = Path(__file__).parents[2] / "docs" / "examples"
RUNS, STEPS = 100, 2_000


def fusable(name: str) -> Fusable:
    if name in PIPELINES:
        return PIPELINES[name]
    task = load_task(str(FOLDER / EXAMPLES[name])).task
    return Fusable(task.models[0].make, task.features, task.kind)


@pytest.mark.skipif(native.chosen() == "python", reason="the core is set to Python")
@pytest.mark.parametrize("name", [*PIPELINES, *EXAMPLES])
def test_two_hundred_thousand_steps_are_equal_in_every_bit(name: str) -> None:
    make, dictionary, kind = fusable(name)
    learned = 0
    for seed in range(RUNS):
        run = Run(make, dictionary, kind, native.built().Kernel)
        assert run.over(examples(dictionary, kind, STEPS, 1000 + seed), STEPS) == ""
        learned += run.learned
    assert learned > 0.4 * RUNS * STEPS
