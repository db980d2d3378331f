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
    from infra.shared.asks import ThreadAsks  # noqa: PLC0415  only workers with a store use it
    from infra.shared.predictions import ASK_S, WRITE_S, SharedPredictions  # noqa: PLC0415  as above
    from infra.shared.redis_asks import RedisAsks  # noqa: PLC0415  as above
    from infra.shared.redis_store import Layout, RedisPredictions  # noqa: PLC0415  as above

    # The id of the log: another cluster, or a task that was made again, may have the same name.
    name, ttl_s = f"{context.task.name}:{context.log_topic_id}", settings.prediction_ttl_s
    layout = Layout(address.project, name, ttl_s)
    clustered = "+cluster" in address.url
    asks = ThreadAsks(RedisPredictions(address, layout, ASK_S)) if clustered else RedisAsks(address, layout)
    return SharedPredictions(context, asks, RedisPredictions(address, layout, WRITE_S), statistics.counts)


def _address(settings: Settings) -> Address | None:
    if not settings.feature_store:
        return None
    from infra.redis_client import Address  # noqa: PLC0415  only workers with a store use it

    return Address(settings.feature_store, settings.feature_store_password, settings.feature_store_project)
