"""The task that every contender does: eight numbers, a scaler and a logistic regression."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

from river import base, linear_model, preprocessing

from schemas import Dictionary, Number
from streams import Model, Task

FEATURES: Final = tuple(f"x{number}" for number in range(8))


def pipeline() -> base.Estimator:
    """Make the pipeline, in River's own defaults.

    Examples
    --------
    >>> list(pipeline().steps)
    ['StandardScaler', 'LogisticRegression']
    """
    made: base.Estimator = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    return made


def bench_task(name: str) -> Task:
    """Make the task under a name, of which its topics are named."""
    return Task(
        name=name,
        question="Is the weighted sum of eight numbers, and some noise, above zero?",
        features=Dictionary(*(Number(name=each) for each in FEATURES)),
        horizon=timedelta(days=1),
        models=(Model("lr", pipeline),),
    )


def write_task(folder: Path, name: str) -> str:
    """Write a task file for one run; gives the reference that a worker takes."""
    file = folder / "task.py"
    file.write_text(f"from tests.benchmarks.compare.task import bench_task\n\nbench = bench_task({name!r})\n")
    return f"{file}:bench"
