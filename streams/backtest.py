"""A backtest: the loop in memory over a file's events, and what it says of each model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from streams.baselines import baselines
from streams.datafile import Event
from streams.driver import MemoryDriver
from streams.fold import Fold
from streams.leave_out import NOTHING, LeaveOut
from streams.metrics.extra_metrics import ExtraMetrics
from streams.metrics.kinds import REGISTRY
from streams.model import ModelFold
from streams.report import Resolutions, ScoreBook
from streams.task import Task
from streams.task_model import Model


def backtest(
    task: Task,
    events: Sequence[Event],
    models: Sequence[Model] | None = None,
    progress: Callable[[int], None] | None = None,
    leave_out: LeaveOut = NOTHING,
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
    leave_out
        What no model learns from; all of it is scored and measured.

    Returns
    -------
    dict
        Plain data: `task`, `requests`, `resolutions` by kind, `coverage` and `label_rate` as they are published
        live, None without requests, `left_out` (counts of what nothing is learned from), `delay_days`
        (quantiles), `most_waiting`, and per model `n`, the metrics of its kind, for binary tasks
        `roc_auc` and `pr_auc` as they are published and exact (`_exact`), the task's extra metrics, of classes the
        `confusion` (labels by outcome, then by decision) and the scores of each of the `classes`, its `version`,
        the `digest` of its state, its `failures` (None: it never failed), extra metrics that `stopped` and why, and
        all metrics `published` of all requests and of `segments`. NaN is a metric without a value. `baselines` has
        the same of models that know no feature.
    """
    chosen = tuple(models or task.models)
    report = _run(task, events, chosen, progress, leave_out)
    # On their own, since a version is a position in the log, and models of a task have the first ones.
    against = baselines(task, chosen)
    report["baselines"] = _run(task, events, against)["models"] if against else {}
    return report


def _run(
    task: Task,
    events: Sequence[Event],
    chosen: Sequence[Model],
    progress: Callable[[int], None] | None = None,
    leave_out: LeaveOut = NOTHING,
) -> dict[str, Any]:
    books = [ScoreBook(model, task.kind) for model in chosen]
    resolutions = Resolutions()
    extras = [ExtraMetrics(task, model) for model in chosen if task.metrics.extra]
    folds: list[Fold] = [*books, *extras, resolutions]
    driver = MemoryDriver(task, chosen, folds=folds, keep_log=False, leave_out=leave_out)
    asked = 0
    for asked, _ in enumerate(driver.run(events), start=1):
        if progress is not None:
            progress(asked)
    counters = driver.join.counters
    joined = counters["predictions"]
    report: dict[str, Any] = {
        "task": task.name,
        "requests": asked,
        "resolutions": dict(sorted(resolutions.kinds.items())),
        "counters": dict(sorted(driver.join.counters.items())),
        "coverage": (joined - driver.join.waiting) / joined if joined else None,
        "label_rate": len(resolutions.delays) / resolved if (resolved := resolutions.first) else None,
        "left_out": {
            "duplicates": counters["duplicate_prediction"],
            "outcomes_before_request": counters["outcome_before_request"],
            "never_labelled": joined - max(book.labels for book in books),
            "rejected": len(driver.rejected),
            "reasons": dict(Counter(bad.reason for _, bad in driver.rejected)),
        },
        "delay_days": resolutions.delay_days(),
        "most_waiting": driver.join.most_waiting,
        "models": {},
    }
    for number, (fold, served, book) in enumerate(zip(driver.models, driver.metrics, books, strict=True)):
        one: dict[str, Any] = {"n": served.n, **dict.fromkeys(REGISTRY[task.kind], math.nan), **served.get()}
        status = served.status()
        segments: dict[str, dict[str, float]] = status["segments"]
        published = status["windows"].get("all", {})
        if task.kind == "binary":
            one |= {name: published.get(name, math.nan) for name in ("roc_auc", "pr_auc")} | book.curves()
        if task.kind != "regression":
            one |= {name: status.get(name, {}) for name in ("confusion", "classes")}
        if extras:
            extra = extras[number]
            one |= dict.fromkeys(task.metrics.extra, math.nan) | extra.get()
            for segment, values in extra.segments().items():
                segments.get(segment, {}).update(values)
            one["stopped"] = extra.failed
        one |= {
            "most_waiting": driver.join.most_waiting,
            "version": str(fold.version),
            "digest": fold.digest,
            "failures": _failures(driver, fold),
            "published": {name: value for name, value in published.items() if name != "count"},
            "segments": segments,
        }
        report["models"][fold.model.name] = one
    return report


def _failures(driver: MemoryDriver, fold: ModelFold) -> dict[str, Any] | None:
    """Say how often a model failed to answer and to learn, and what it raised last when it learned."""
    learner, answers = fold.learner, driver.server.failures[fold.model.name]
    if not answers and not learner.skipped:
        return None
    return {
        "answers": answers,
        "skipped": learner.skipped,
        "stopped": learner.stopped is not None,
        "last": learner.newest[-1].exception if learner.newest else "",
    }
