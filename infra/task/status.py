"""The status of a task in this worker: its joins, its monitors, and how far it lags behind its topics."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from infra.kafka.consumer import BatchConsumer
from infra.kafka.offsets import end_offsets
from infra.lag import EndTimes
from infra.task.context import TaskContext
from infra.task.join import JoinAgent
from infra.task.log_fold import LogFold
from infra.task.log_publisher import LogPublisher
from infra.task.publisher import Publisher
from infra.worker_views import Lag, LocalState
from schemas.errors import BrokerError
from schemas.tally import Tally
from streams.fold import Measurement, Monitor, by_name
from streams.metrics.extra_metrics import ExtraMetrics
from streams.metrics.loop_health import LoopHealth
from streams.metrics.served import ServedMetrics
from streams.metrics.waiting import PREFIX
from streams.positions import Place

log = logging.getLogger(__name__)


class TaskStatus:
    """The status of one task, for its status page and the exporter.

    Attributes
    ----------
    lag
        The lag as `fetch_lag` found it last.
    """

    def __init__(
        self,
        context: TaskContext,
        join: JoinAgent,
        fold: LogFold,
        publisher: LogPublisher,
        tallies: Publisher[Tally],
    ) -> None:
        self._context, self._join, self._fold = context, join, fold
        self._publisher, self._tallies = publisher, tallies
        self.lag = Lag()
        self._ends = EndTimes()
        self._lately: dict[str, tuple[int, float, dict[str, Any]]] = {}
        """By publisher: its values, with the offset that they are of, and when they were taken (s, monotonic)."""

    def local_state(self) -> LocalState:
        """Return the parts of the task that this worker has."""
        joins = [at.join for at in self._join.partitions.values()]
        owner = self._publisher.is_owner
        asked_s = self._publisher.desk.asked_s() if owner else None
        waiting = sum(join.waiting for join in joins)
        return LocalState(owner, len(joins), waiting, asked_s, self._fold.answering.warming.left)

    def measurements(self) -> list[Measurement]:
        """Return the current values of all monitors: a new owner restores their state, so no counter jumps."""
        return [*self._publisher.measurements(), *self._tallies.measurements()]

    def details(self) -> dict[str, Any]:
        """Return the state of the joins and of the log's owner here; values of models by name under `models`."""
        joins = [at.join for at in self._join.partitions.values()]
        counters: Counter[str] = Counter()
        for join in joins:
            counters.update(join.counters)
        return self._monitors() | {
            "owner": self._publisher.is_owner,
            "warming": self._fold.answering.warming.data(),
            "published_offset": self._publisher.published if self._publisher.is_owner else 0,
            "partitions": sorted(self._join.partitions),
            "waiting": sum(join.waiting for join in joins),
            "most_waiting": sum(join.most_waiting for join in joins),
            # Counters of scores are named by the writers of predictions, and are for the log.
            "join": {name: n for name, n in sorted(counters.items()) if not name.startswith(PREFIX)},
        }

    # ------------------------------------------------------------------ monitors

    def _monitors(self) -> dict[str, Any]:
        """Return the values of the monitors: those of models under `models`, the others by the monitor's name.

        They are computed at most once per cadence of the metrics, except for the cumulative metrics.
        """
        tallied = self._values(self._tallies)
        if not self._publisher.is_owner:
            return {"models": {}} | tallied
        values = self._values(self._publisher)
        served = [each for each in self._publisher.monitors if isinstance(each, ServedMetrics)]
        models: dict[str, dict[str, Any]] = {
            each.name: {
                "metrics": each.get(),
                "n": each.n,
                "n_other_role": each.n_other_role,
                "quality": values.get(each.name, {}),
            }
            for each in served
        }
        extras = [each for each in self._publisher.monitors if isinstance(each, ExtraMetrics)]
        for each in extras:
            models[each.model.name]["metrics"] |= each.get()
            models[each.model.name]["stopped_metrics"] = each.failed
        names = models.keys() | {each.name for each in extras}
        others = {name: value for name, value in values.items() if name not in names}
        return {"models": models, LoopHealth.name: {}} | others | tallied

    def _values(self, publisher: Publisher[Any]) -> dict[str, Any]:
        if not publisher.is_owner:
            return {}
        offset, at, values = self._lately.get(publisher.name, (-1, 0.0, {}))
        now, every_s = time.monotonic(), publisher.metrics_every_ms / 1000
        if offset != publisher.next_offset and now - at >= every_s:
            values = {each.name: _values_of(each) for each in publisher.monitors}
            self._lately[publisher.name] = (publisher.next_offset, now, values)
        return values

    # ------------------------------------------------------------------ lag

    def _published_to(self) -> int | None:
        """Return the log offset up to which all is published here; None while another worker owns the log."""
        if not self._publisher.is_owner:
            return None
        published, reader = self._publisher.published, self._fold.reader
        # The end of the log lies behind the marks of transactions, where the offset after an entry never gets.
        all_folded = reader is not None and not reader.waiting and published >= self._fold.next_offset
        return max(published, reader.position) if reader is not None and all_folded else published

    async def fetch_lag(self, consumers: Iterable[BatchConsumer]) -> None:
        """Ask the cluster how far this worker lags behind the task's topics, and where the log ends.

        A number that the cluster does not report now is missing: an old one would look like a good one.

        Parameters
        ----------
        consumers
            The members of the groups that read the task's topics, and the topics outside that the task reads.
        """
        topics, published = self._context.topics, self._published_to()
        lag: Counter[str] = Counter()
        lag_s: dict[str, float] = {}
        mine = {topics.requests, topics.predictions, topics.outcomes, topics.quality}
        mine |= set(self._context.task.foreign_topics)

        def note(partition: Place, next_offset: int, end: int, now_s: float) -> None:
            topic, _ = partition
            self._ends.note(partition, now_s, end)
            lag[topic] += end - next_offset
            lag_s[topic] = max(lag_s.get(topic, 0.0), self._ends.age_s(partition, next_offset, now_s))

        for consumer in consumers:
            found, now_s = await consumer.progress.extents(), time.monotonic()
            for partition, (next_offset, end) in found.items():
                if partition.topic in mine:
                    note(partition, next_offset, end, now_s)
        try:
            end, stable = await asyncio.get_running_loop().run_in_executor(None, self._log_ends)
        except BrokerError as error:
            log.info("%s: the end of the log is unknown: %s", self._context.task.name, error)
            self.lag = Lag(lag, lag_s)
            return
        if published is not None:
            note((topics.log, 0), min(published, end), end, time.monotonic())
        self.lag = Lag(lag, lag_s, end, stable)

    def _log_ends(self) -> tuple[int, int]:
        place, connection = (self._context.topics.log, 0), self._context.connection
        # The stable end first: asked for the other way round, it could lie beyond the end.
        stable = end_offsets(connection, [place])[place]
        return end_offsets(connection, [place], committed=False)[place], stable


def _values_of(monitor: Monitor[Any]) -> dict[str, Any]:
    if isinstance(monitor, ExtraMetrics):
        return {}  # they stand with the metrics of their models
    return monitor.status() if isinstance(monitor, ServedMetrics) else by_name(monitor.measurements())
