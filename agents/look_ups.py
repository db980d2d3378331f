"""The look-ups of a task in a worker, as its settings say; nothing is imported for a task without look-ups."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.settings import Settings
from infra.task.context import TaskContext
from infra.task.statistics import Statistics

if TYPE_CHECKING:
    from infra.features.serving import FeatureServing


def feature_serving(
    context: TaskContext, settings: Settings, statistics: Statistics, owns: Callable[[], bool]
) -> FeatureServing | None:
    """Return the look-ups of a task; None where it has none."""
    task = context.task
    if not task.lookup:
        return None
    from infra.features.redis_store import Address  # noqa: PLC0415  only tasks with look-ups use it
    from infra.features.serving import FeatureServing, store_of  # noqa: PLC0415  as above

    password, project = settings.feature_store_password, settings.feature_store_project
    address = Address(settings.feature_store, password, project) if settings.feature_store else None
    return FeatureServing(task, context.connection, store_of(task, address), owns, statistics.counts)
