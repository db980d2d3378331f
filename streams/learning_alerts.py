"""Alerts on entries that a model has not learned, and on the end of its learning."""

from __future__ import annotations

from collections.abc import Iterator

from schemas.alert import Alert
from streams.learning_steps import alert_of
from streams.model import ModelFold


def alerts_of(fold: ModelFold, revision: int, since: int = 0) -> Iterator[Alert]:
    """Give the alerts in the order of their entries.

    All that a state holds, which are the newest: the same in every replica and refold.

    Parameters
    ----------
    revision
        Which revision of the model the log opened for this fold.
    since
        Only what entries from this log offset on have raised.
    """
    task, name = fold.task, fold.model.name
    served = fold.roles.role(name).share > 0
    for step in fold.learner.steps.newest:
        if step.offset >= since:
            yield alert_of(step, task.name, name, revision, served, task.max_skipped)
