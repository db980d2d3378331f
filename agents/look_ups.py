"""What a task in a worker has in Redis, as its settings say; nothing is imported for a task without that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.settings import Settings
from infra.task.context import TaskContext
from infra.task.statistics import Statistics

if TYPE_CHECKING:
    from infra.features.serving import FeatureServing
    from infra.redis_client import Address
    from infra.shared.predictions import SharedPredictions


def feature_serving(
    context: TaskContext, settings: Settings, statistics: Statistics, owns: Callable[[], bool]
) -> FeatureServing | None:
    """Return the look-ups of a task; None where it has none."""
    task = context.task
    if not task.lookup:
        return None
    from infra.features.serving import FeatureServing, store_of  # noqa: PLC0415  only tasks with look-ups use it

    address = _address(settings)
    return FeatureServing(task, context.connection, store_of(task, address), owns, statistics.counts)


def shared_predictions(
    context: TaskContext, settings: Settings, statistics: Statistics
) -> SharedPredictions | None:
    """Return the predictions that all workers give back; None where they share no store."""
    address = _address(settings)
    if address is None or not settings.prediction_ttl_s:
        return None
    from infra.shared import predictions  # noqa: PLC0415  only workers with a store use it
    from infra.shared.redis_store import RedisPredictions  # noqa: PLC0415  as above

    def store(timeout_s: float) -> RedisPredictions:
        # The id of the log: another cluster, or a task that was made again, may have the same name.
        name, ttl_s = f"{context.task.name}:{context.log_topic_id}", settings.prediction_ttl_s
        return RedisPredictions(address, name, ttl_s, timeout_s)

    asks, writes = store(predictions.ASK_S), store(predictions.WRITE_S)
    return predictions.SharedPredictions(context, asks, writes, statistics.counts)


def _address(settings: Settings) -> Address | None:
    if not settings.feature_store:
        return None
    from infra.redis_client import Address  # noqa: PLC0415  only workers with a store use it

    return Address(settings.feature_store, settings.feature_store_password, settings.feature_store_project)
