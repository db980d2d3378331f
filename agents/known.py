"""What the owners in a worker know, for its status document and its exporter."""

from __future__ import annotations

import time
from typing import Any

from agents.owner import Owner
from schemas.records import Entry
from schemas.tally import Tally
from streams.fold import Measurement, Monitor, by_name
from streams.metrics.loop import LoopHealth
from streams.metrics.served import ServedMetrics


class Known:
    """What the owners of a task's log and tallies know, as far as they are in this worker.

    Parameters
    ----------
    log, tallies
        The owners.
    """

    def __init__(self, log: Owner[Entry], tallies: Owner[Tally]) -> None:
        self._log, self._tallies = log, tallies
        self._told: dict[str, tuple[int, float, dict[str, Any]]] = {}
        """By owner: what was told last, with the offset then, and when (s, monotonic)."""

    def measurements(self) -> list[Measurement]:
        """Give the current values of all monitors whose owner is here."""
        return [*self._log.measurements(), *self._tallies.measurements()]

    def status(self) -> dict[str, Any]:
        """Give what the monitors know: the models' part by name under `models`, else by the monitor's name.

        Worked out at most once per cadence of the metrics, except for the cumulative metrics.
        """
        tallied = self._lately(self._tallies)
        if not self._log.held:
            return {"models": {}} | tallied
        told = self._lately(self._log)
        served = [each for each in self._log.monitors if isinstance(each, ServedMetrics)]
        models = {
            each.name: {
                "metrics": each.get() if each.n else {},
                "n": each.n,
                "quality": told.get(each.name, {}),
            }
            for each in served
        }
        others = {name: value for name, value in told.items() if name not in models}
        return {"models": models, LoopHealth.name: {}} | others | tallied

    def _lately(self, owner: Owner[Any]) -> dict[str, Any]:
        """Give what an owner's monitors tell, by their names; nothing while it is none."""
        if not owner.held:
            return {}
        offset, at, told = self._told.get(owner.owned.name, (-1, 0.0, {}))
        now = time.monotonic()
        if offset != owner.next_offset and (now - at) * 1000 >= owner.loop.settings.metrics_every_ms:
            told = {each.name: _told(each) for each in owner.monitors}
            self._told[owner.owned.name] = (owner.next_offset, now, told)
        return told


def _told(monitor: Monitor[Any]) -> dict[str, Any]:
    return monitor.status() if isinstance(monitor, ServedMetrics) else by_name(monitor.measurements())
