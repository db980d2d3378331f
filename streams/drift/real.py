"""Do the episodes of a real stream mean something? Each is held against the loss that the labels show.

The loss is that of the served scores as the metrics have it, and not as the detectors see it. An episode pages
when it is more than information. It coincides with a worse loss when the labels that came from the event time at
which it opened to that at which it closed have a higher mean loss than those before. A week is missed when no
paging episode was open in it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.alert import Alert
from schemas.records import Entry, Request
from streams.datafile import Event
from streams.drift.fold import DriftFold
from streams.driver import MemoryDriver
from streams.metrics.shadow_comparison import LOSSES
from streams.quality.monitor import QualityMonitor
from streams.quality.replay import replay
from streams.task import Task

WEEK_MS: Final = 7 * 24 * 3_600_000
BEFORE: Final = 2_000
"""Labels before an episode with which it is compared."""
LEAST: Final = 50
"""Labels of a week that is judged."""
WORST: Final = 10
"""Weeks of which none may be missed."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode, and the loss while it was open and before."""

    episode: str
    family: str
    severity: str
    opened_ts: int
    closed_ts: int
    """Event times; of one that is open, that of the newest label."""
    is_open: bool
    loss: float | None
    """Mean over the labels that came while it was open; None: there were none."""
    before: float | None
    """Mean over the `BEFORE` labels before it."""
    text: str

    @property
    def pages(self) -> bool:
        """Whether it is more than information."""
        return self.severity != "info"

    @property
    def worse(self) -> bool:
        """Whether the loss was higher while it was open than before."""
        return self.loss is not None and self.before is not None and self.loss > self.before


@dataclass(frozen=True, slots=True)
class Week:
    """One week of event time."""

    ts: int
    labels: int
    loss: float
    paged: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What the episodes of one stream say."""

    task: str
    labels: int
    episodes: tuple[Episode, ...]
    worst: tuple[Week, ...]
    """The weeks with the highest mean loss, the worst first."""
    shaded: float
    """Share of the labels that came while an episode that pages was open."""

    @property
    def paged(self) -> tuple[Episode, ...]:
        """Those that are more than information."""
        return tuple(each for each in self.episodes if each.pages)

    @property
    def worse(self) -> int:
        """Paging episodes with a worse loss."""
        return sum(each.worse for each in self.paged)

    @property
    def missed(self) -> tuple[Week, ...]:
        """The worst weeks in which nothing paged."""
        return tuple(each for each in self.worst if not each.paged)

    @property
    def met(self) -> bool:
        """At least half of the paging episodes have a worse loss, and none of the worst weeks is missed."""
        return 2 * self.worse >= len(self.paged) and not self.missed


class Losses:
    """A fold that keeps the loss of each first label of what was served."""

    def __init__(self, task: Task) -> None:
        self._policies = {model.name: model.policy for model in task.models}
        self._loss = LOSSES[task.kind][2]
        self.next_offset = 0
        self.ts: list[int] = []
        self.sums = [0.0]

    def apply(self, offset: int, entry: Entry) -> None:
        """See `Fold.apply`."""
        if entry.prediction is None or entry.kind == "backfill" or not entry.prediction.scores:
            return
        served = entry.prediction.scores[0]
        policy = self._policies.get(served.model)
        label = policy.label(entry) if policy else None
        if label is None or label.value is None or label.replaces is not None:
            return
        loss = self._loss(served, label.value)
        if loss is not None:
            self.ts.append(entry.ts)
            self.sums.append(self.sums[-1] + loss)

    def mean(self, start: int, end: int) -> float | None:
        """Return the mean loss of the labels from one to before another; None for none."""
        return (self.sums[end] - self.sums[start]) / (end - start) if end > start else None

    def snapshot(self) -> Any:
        """See `Fold.snapshot`; this one is not stored."""

    def restore(self, state: Any) -> None:
        """See `Fold.restore`."""


def play(task: Task, events: Sequence[Event]) -> Report:
    """Play a stream in memory and hold its episodes against its loss."""
    losses, fold = Losses(task), DriftFold(task)
    driver = MemoryDriver(task, folds=[losses, fold], keep_log=False)
    for _ in driver.run(events):
        pass
    quality = QualityMonitor(task.name, task.features, task.quality)
    requests: list[Request] = [event.request for event in events]
    alerts = [*fold.alerts(), *replay(quality, requests)]
    return judge(task, losses, alerts)


def judge(task: Task, losses: Losses, alerts: Iterable[Alert]) -> Report:
    """Hold alerts against losses."""
    steps: dict[str, list[Alert]] = {}
    for alert in alerts:
        steps.setdefault(alert.episode, []).append(alert)
    found = [_episode(each, losses) for each in steps.values()]
    found.sort(key=lambda each: (each.opened_ts, each.family))
    spans = [(each.opened_ts, each.closed_ts) for each in found if each.pages]
    weeks = list(_weeks(losses, task.drift.warm_up, spans))
    weeks.sort(key=lambda week: -week.loss)
    shaded = sum(any(start <= ts <= end for start, end in spans) for ts in losses.ts)
    labels = len(losses.ts)
    return Report(task.name, labels, tuple(found), tuple(weeks[:WORST]), shaded / max(labels, 1))


def _episode(steps: Sequence[Alert], losses: Losses) -> Episode:
    first, last = steps[0], steps[-1]
    is_open = last.state != "closed"
    end_ts = max(losses.ts[-1], last.ts) if is_open else last.ts
    start, end = bisect_left(losses.ts, first.ts), bisect_right(losses.ts, end_ts)
    return Episode(
        first.episode,
        first.family,
        last.severity,
        first.ts,
        end_ts,
        is_open,
        losses.mean(start, end),
        losses.mean(max(start - BEFORE, 0), start),
        first.text,
    )


def _weeks(losses: Losses, warm_up: int, spans: Sequence[tuple[int, int]]) -> Iterable[Week]:
    """Return the weeks that have labels enough and end after the warm-up."""
    start = 0
    while start < len(losses.ts):
        week = losses.ts[start] // WEEK_MS
        end = bisect_left(losses.ts, (week + 1) * WEEK_MS)
        mean = losses.mean(start, end)
        if end - start >= LEAST and end > warm_up and mean is not None:
            first, last = losses.ts[start], losses.ts[end - 1]
            yield Week(week * WEEK_MS, end - start, mean, any(a <= last and b >= first for a, b in spans))
        start = end
