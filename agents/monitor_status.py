"""What the monitors in a worker give, for its status document and its exporter."""

from __future__ import annotations

import time
from typing import Any

from agents.publisher import Publisher
from schemas.records import Entry
from schemas.tally import Tally
from streams.fold import Measurement, Monitor, by_name
from streams.metrics.loop_health import LoopHealth
from streams.metrics.served import ServedMetrics


class MonitorStatus:
    """Values of the monitors of a task's log and tallies, as far as this worker owns them.

    Parameters
    ----------
    log, tallies
        Their publishers.
    """

    def __init__(self, log: Publisher[Entry], tallies: Publisher[Tally]) -> None:
        self._log, self._tallies = log, tallies
        self._lately: dict[str, tuple[int, float, dict[str, Any]]] = {}
        """By publisher: its values, with the offset that they are of, and when they were taken (s, monotonic)."""

    def measurements(self) -> list[Measurement]:
        """Give the current values of all monitors."""
        return [*self._log.measurements(), *self._tallies.measurements()]

    def status(self) -> dict[str, Any]:
        """Give the values: the models' part by name under `models`, else by the monitor's name.

        Worked out at most once per cadence of the metrics, except for the cumulative metrics.
        """
        tallied = self._values(self._tallies)
        if not self._log.held:
            return {"models": {}} | tallied
        values = self._values(self._log)
        served = [each for each in self._log.monitors if isinstance(each, ServedMetrics)]
        models = {
            each.name: {
                "metrics": each.get() if each.n else {},
                "n": each.n,
                "quality": values.get(each.name, {}),
            }
            for each in served
        }
        others = {name: value for name, value in values.items() if name not in models}
        return {"models": models, LoopHealth.name: {}} | others | tallied

    def _values(self, publisher: Publisher[Any]) -> dict[str, Any]:
        if not publisher.held:
            return {}
        offset, at, values = self._lately.get(publisher.name, (-1, 0.0, {}))
        now, every_s = time.monotonic(), publisher.loop.context.settings.metrics_every_ms / 1000
        if offset != publisher.next_offset and now - at >= every_s:
            values = {each.name: _values_of(each) for each in publisher.monitors}
            self._lately[publisher.name] = (publisher.next_offset, now, values)
        return values


def _values_of(monitor: Monitor[Any]) -> dict[str, Any]:
    return monitor.status() if isinstance(monitor, ServedMetrics) else by_name(monitor.measurements())
