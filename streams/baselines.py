"""Models that know no feature: what a model must beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from river import base, dummy, stats

from streams.task import Task
from streams.task_model import Model


def _mean() -> base.Estimator:
    return dummy.StatisticRegressor(stats.Mean())


def _last() -> base.Estimator:
    return dummy.StatisticRegressor(stats.Shift(0))


_CLASSES: Final[Mapping[str, Callable[[], base.Estimator]]] = {
    "base-rate": dummy.PriorClassifier,
    "last-value": dummy.NoChangeClassifier,
}
BASELINES: Final[Mapping[str, Mapping[str, Callable[[], base.Estimator]]]] = {
    "binary": _CLASSES,
    "multiclass": _CLASSES,
    "regression": {"mean": _mean, "last-value": _last},
}
"""By kind of task. `base-rate` scores with the classes' shares so far and decides for the majority; `last-value`
repeats the newest label."""


def baselines(task: Task, models: Sequence[Model]) -> tuple[Model, ...]:
    """Return the baselines of a task's kind, with the policy of the first model; none whose name a model has.

    Examples
    --------
    >>> from datetime import timedelta
    >>> from schemas import Dictionary, Number
    >>> model = Model("mean", _mean)
    >>> task = Task(
    ...     name="t", question="?", kind="regression", features=Dictionary(Number(name="x")),
    ...     horizon=timedelta(days=1), models=(model,),
    ... )
    >>> [each.name for each in baselines(task, task.models)]
    ['last-value']
    """
    taken = {model.name for model in (*task.models, *models)}
    made = BASELINES[task.kind]
    return tuple(
        Model(name, build, policy=models[0].policy) for name, build in made.items() if name not in taken
    )
