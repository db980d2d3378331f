"""The state of the loop itself, as far as the log tells it: join health, coverage, delays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from schemas.records import Entry
from streams.fold import BaseMonitor, Measurement, by_name
from streams.metrics.counts import ratio
from streams.metrics.delays import Delays
from streams.metrics.registry import UNITS
from streams.metrics.slices import Panes
from streams.task import Task

QUANTILES: Final = (0.5, 0.9, 0.99)
COUNTED: Final = {
    "predictions": "predictions",
    "outcomes": "outcomes",
    "labelled": "labelled",
    "expired": "expired",
    "late": "late",
    "revised": "revised",
    "unavailable": "unavailable",
    "early": "early",
    "orphan": "unknown_or_forgotten",
    "duplicate_prediction": "duplicate_prediction",
    "duplicate_outcome": "duplicate_outcome",
    "stale_revision": "stale_revision",
}
"""Metrics by the join's counter; see `Entry.progress`."""


class Resolved:
    """First resolutions of requests, and how many of them have an outcome."""

    __slots__ = ("labelled", "n")

    def __init__(self) -> None:
        self.n = 0
        self.labelled = 0

    def merge(self, other: Resolved) -> None:
        """Add another's."""
        self.n += other.n
        self.labelled += other.labelled

    def snapshot(self) -> tuple[int, int]:
        """Return the counts."""
        return (self.n, self.labelled)

    def restore(self, state: tuple[int, int]) -> None:
        """Take over what `snapshot` gave."""
        self.n, self.labelled = state


class LoopHealth(BaseMonitor[Entry]):
    """Join health of all partitions, from the counters that the joins write into the log.

    The joins run on several workers. Each tells its partition's counters with the last entry of a batch, in the
    log's order, so they come from state everywhere: no replay and no change of owner makes them jump, and the
    sum over partitions is exact at each such entry.
    """

    name = "loop"

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self._horizon_ms = task.horizon // timedelta(milliseconds=1)
        window_ms, width_ms = task.metrics.window_ms, task.metrics.pane_ms(self._horizon_ms)
        self.stream_time = 0
        self.progress: dict[int, dict[str, int]] = {}
        """By partition: the newest counters of its join."""
        self.outcome_delay = Delays()
        self.report_delay = Delays()
        self.cohorts = Panes(Resolved, width_ms, self._horizon_ms + window_ms + 2 * width_ms)

    @property
    def spec(self) -> str:
        """See `Monitor.spec`."""
        return f"{self.task.horizon} {self.task.metrics.window}"

    def _apply(self, offset: int, entry: Entry) -> None:
        if entry.kind in {"backfill", "command"}:
            return
        if entry.progress is not None and entry.partition is not None:
            self.progress[entry.partition] = dict(entry.progress)
        if entry.ts > self.stream_time:
            self.stream_time = entry.ts
            self.cohorts.advance(entry.ts)
        prediction, outcome = entry.prediction, entry.outcome
        if prediction is None or entry.kind == "opened":
            return
        first = entry.corrects is None
        if outcome is not None:
            if first or entry.previous_kind == "expired":
                self.outcome_delay.add(outcome.ts - prediction.ts)
            if entry.arrived is not None:
                self.report_delay.add(entry.arrived - outcome.ts)
        cohort = self.cohorts.at(prediction.ts)
        if cohort is not None:
            cohort.n += first
            cohort.labelled += entry.kind == "labelled" or (
                entry.kind == "late" and entry.previous_kind == "expired"
            )

    # ------------------------------------------------------------------ values

    def counters(self) -> Counter[str]:
        """Add up the joins' counters over the partitions."""
        total: Counter[str] = Counter()
        for progress in self.progress.values():
            total.update(progress)
        return total

    def measurements(self) -> Iterator[Measurement]:
        """See `Monitor.measurements`."""
        if self.progress:
            yield from self._join()
        for name, delays in (("outcome_delay", self.outcome_delay), ("report_delay", self.report_delay)):
            for q in QUANTILES if delays.n else ():
                value = delays.quantile(q) / 1000
                yield Measurement(name, value, "seconds", delays.n, window="all", segment=f"p{q * 100:g}")
        for window, resolved in self._by_age():
            if resolved.n:
                share = ratio(resolved.labelled, resolved.n)
                yield Measurement("label_rate", share, "ratio", resolved.n, window=window)

    def _join(self) -> Iterator[Measurement]:
        total = self.counters()
        asked = total["predictions"]
        for name, counter in COUNTED.items():
            yield Measurement(name, float(total[counter]), UNITS[name], asked)
        yield Measurement("waiting", float(total["waiting"]), "count", asked)
        if asked:
            yield Measurement("coverage", ratio(asked - total["waiting"], asked), "ratio", asked)
        times = [each["stream_time"] for each in self.progress.values() if "stream_time" in each]
        if times:
            yield Measurement("watermark_lag", (max(times) - min(times)) / 1000, "seconds", asked)
        ages = [
            each["stream_time"] - each["oldest_waiting"]
            for each in self.progress.values()
            if "oldest_waiting" in each and "stream_time" in each
        ]
        yield Measurement("oldest_waiting", max(ages, default=0) / 1000, "seconds", total["waiting"])

    def _by_age(self) -> Iterator[tuple[str, Resolved]]:
        for name, start, end in self.task.metrics.cohorts(self.stream_time, self._horizon_ms):
            yield name, self.cohorts.between(start, end)

    def status(self) -> dict[str, Any]:
        """Return what a page shows of the loop."""
        return by_name(self.measurements())

    # ------------------------------------------------------------------ state

    def snapshot(self) -> dict[str, Any]:
        """See `Fold.snapshot`."""
        return {
            "next_offset": self.next_offset,
            "stream_time": self.stream_time,
            "progress": {number: self.progress[number] for number in sorted(self.progress)},
            "outcome_delay": self.outcome_delay.snapshot(),
            "report_delay": self.report_delay.snapshot(),
            "cohorts": self.cohorts.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See `Fold.restore`."""
        self.next_offset, self.stream_time = state["next_offset"], state["stream_time"]
        self.progress = {number: dict(each) for number, each in state["progress"].items()}
        self.outcome_delay.restore(state["outcome_delay"])
        self.report_delay.restore(state["report_delay"])
        self.cohorts.restore(state["cohorts"])
