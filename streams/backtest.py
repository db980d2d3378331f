"""A backtest: the loop in memory over a file's events, and what it says of each model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from streams.datafile import Event
from streams.driver import MemoryDriver
from streams.report import Resolutions, ScoreBook
from streams.task import Model, Task


def backtest(
    task: Task,
    events: Sequence[Event],
    models: Sequence[Model] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Replay events through the loop in memory.

    Parameters
    ----------
    events
        In the order of their request times.
    models
        Those that compete; all of the task's by default.
    progress
        Called with the number of requests done, after each.

    Returns
    -------
    dict
        Plain data: `task`, `requests`, `resolutions` by kind, `coverage` (share of requests whose outcome
        came, in [0, 1]), `delay_days` (quantiles), `most_waiting`, and per model `n`, the metrics of its
        kind, for binary tasks the exact `roc_auc`, its `version` and the `digest` of its state.
    """
    chosen = tuple(models or task.models)
    books = [ScoreBook(model) for model in chosen]
    resolutions = Resolutions()
    driver = MemoryDriver(task, chosen, folds=[*books, resolutions], keep_log=False)
    asked = 0
    for asked, _ in enumerate(driver.run(events), start=1):
        if progress is not None:
            progress(asked)
    report: dict[str, Any] = {
        "task": task.name,
        "requests": asked,
        "resolutions": dict(sorted(resolutions.kinds.items())),
        "counters": dict(sorted(driver.join.counters.items())),
        "coverage": len(resolutions.delays) / asked if asked else 0.0,
        "delay_days": resolutions.delay_days(),
        "most_waiting": driver.join.most_waiting,
        "models": {},
    }
    for fold, served, book in zip(driver.models, driver.metrics, books, strict=True):
        one: dict[str, Any] = {"n": served.n, **served.get()}
        if task.kind == "binary":
            one["roc_auc"] = book.roc_auc()
        one |= {"most_waiting": driver.join.most_waiting, "version": str(fold.version), "digest": fold.digest}
        report["models"][fold.model.name] = one
    return report
