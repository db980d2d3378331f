"""The monitors of the log, folded for many labelled entries at once, as they fold them one by one.

The core takes what is common: first labels of a binary task with one model, in time, while no outage is
suspected. It goes from the state of the monitors to the state of the monitors, so that snapshots, measurements and
all other entries know nothing of it. It ends before the entry at which anything would be reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from schemas.records import Entry
from streams.drift.adwin import DirectionalAdwin
from streams.drift.fold import DriftFold
from streams.drift.signals import Error, ExcessLogLoss, LabelMean, ScoreMean
from streams.episodes import Episodes
from streams.fold import Monitor
from streams.metrics.binary import Seen
from streams.metrics.loop_health import LoopHealth, Resolved
from streams.metrics.scope import Scope
from streams.metrics.served import ServedMetrics
from streams.metrics.waiting import PREFIX, Waiting
from streams.native.turn import module
from streams.policies import DefaultAtHorizon, OnArrival
from streams.task import Task

SIGNALS: Final = {ExcessLogLoss: 0, Error: 1, LabelMean: 2, ScoreMean: 3}
"""As `monitors.hpp` numbers them."""
LEAST: Final = 12
"""Entries below which Python is as fast."""
WIDEST: Final = 1 << 26
"""Numbers of a detector's window, up to which products of its parts are exact."""


def is_plain(policy: object) -> bool:
    """Whether a first label in time is the outcome's value."""
    return type(policy) in {OnArrival, DefaultAtHorizon}


class NativeWatch:
    """Folds labelled entries into the monitors of a task.

    Parameters
    ----------
    task
        The task.
    monitors
        Its monitors, as `streams.monitors.monitors` makes them.
    """

    def __init__(self, task: Task, monitors: Sequence[Monitor[Entry]]) -> None:
        self.monitors = monitors
        self._module: Any = module()
        kinds = [type(each) for each in monitors]
        fits = (
            self._module is not None
            and task.kind == "binary"
            and len(task.models) == 1
            and kinds == [ServedMetrics, Waiting, LoopHealth, DriftFold]
            and is_plain(task.models[0].policy)
            and not task.metrics.segments
        )
        self._parts: tuple[Any, ...] | None = tuple(monitors) if fits else None

    def fold(self, facts: list[Any], start: int, offsets: Sequence[int]) -> int:
        """Fold entries that were scanned, from one of them on; gives how many.

        Parameters
        ----------
        facts
            `ScannedFact`s of entries that follow on each other.
        offsets
            Of the entries.
        """
        if self._parts is None or len(facts) - start < LEAST:
            return 0
        bound = Bound(*self._parts)
        most = bound.most()
        behind = offsets[start] < max(each.next_offset for each in self.monitors)
        if most == 0 or behind or not bound.is_calm(facts[start]):
            return 0
        taken: int = self._module.watch(facts if most is None else facts[: start + most], start, bound)
        if taken:
            for each in self.monitors:
                each.next_offset = offsets[start + taken - 1] + 1
        return taken


class Bound:
    """The parts of the monitors that a labelled entry changes."""

    def __init__(self, served: ServedMetrics, waiting: Waiting, loop: LoopHealth, drift: DriftFold) -> None:
        self.served, self.waiting, self.loop, self.drift = served, waiting, loop, drift
        self.watch = drift.models[0]
        self.signals: list[tuple[int, Any, Any]] = []
        """Number, signal and detector."""

    @property
    def scope(self) -> Scope:
        """What was served."""
        return self.served.scopes["served"]

    def is_calm(self, fact: Any) -> bool:
        """Whether the state is one from which the core goes on, for an entry like a given one."""
        served, drift, watch = self.served, self.drift, self.watch
        scope = served.scopes.get("served")
        name = served.model.name
        if (
            scope is None
            or served.role != "served"
            or fact.model != name
            or fact.revision not in scope.revisions.tallies
            or fact.revision < scope.revisions._oldest
            or watch._revision != f"{name}.{fact.revision}"
            or (scope.panes.width_ms, scope.panes.keep_ms)
            != (self.loop.cohorts.width_ms, self.loop.cohorts.keep_ms)
        ):
            return False
        feeds, cost = drift.feeds.values(), drift.cost
        if (
            drift._kept
            or drift.outage.lead is not None
            or any(each.state != "live" for each in feeds)
            or (cost is not None and cost.watch._worse != (cost.episodes.lead is not None))
        ):
            return False
        for _, made, detector in watch._pairs:
            kind = SIGNALS.get(type(made))
            if kind is None or not is_fit(detector):
                return False
            if isinstance(made, ScoreMean) and made._follow.pending is not None:
                return False
            self.signals.append((kind, made, detector))
        return drift.delay is None or is_fit(drift.delay.detector)

    def open_episodes(self) -> list[Episodes]:
        """Return the open episodes that close after a number of labels."""
        return [each for each in (self.drift.drift, self.drift.delays) if each.lead is not None]

    def most(self) -> int | None:
        """How many entries may be taken before one that closes an episode; None: any number."""
        left = [
            each.cool_down - 1 - each.quiet for each in self.open_episodes() if each.cool_down is not None
        ]
        return max(0, min(left)) if left else None

    # ------------------------------------------------------------------ what the core leaves to Python

    def pane(self, number: int) -> Any:
        """Return a new pane."""
        tally = self.scope.panes.panes[number] = self.scope.panes._make()
        return tally

    def advance(self, stream_time: int) -> None:
        """Drop the panes that have grown too old."""
        for scope in self.served.scopes.values():
            scope.panes.advance(stream_time)

    def roll(self, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """Give labels to the rolling window."""
        rolling = self.scope.rolling
        seen = rolling._seen
        for request_id, values in rows:
            seen.pop(request_id, None)
            rolling._given += 1
            seen[request_id] = rolling._given, Seen(*values)
        oldest = rolling._given - rolling.size
        while seen and next(iter(seen.values()))[0] <= oldest:
            seen.popitem(last=False)

    def resolved(self, model: str, version: str, groups: Iterable[tuple[int, int, int]]) -> None:
        """Count resolutions and labels by group of the score."""
        waiting = self.waiting
        waiting._versions[model] = version
        for group, count, positive in groups:
            counter = f"{PREFIX}{model} {group}"
            waiting._resolved[counter] += count
            n, positives = waiting._labels.get(counter, (0, 0))
            waiting._labels[counter] = n + count, positives + positive

    def cohorts(self, counts: Iterable[tuple[int, int]]) -> None:
        """Count first resolutions by cohort."""
        cohorts = self.loop.cohorts
        for number, count in counts:
            if number >= cohorts.first:
                cohort = cohorts.panes.get(number)
                if cohort is None:
                    cohort = cohorts.panes[number] = Resolved()
                cohort.n += count
                cohort.labelled += count


def is_fit(detector: object) -> bool:
    """Whether the core has a detector."""
    return type(detector) is DirectionalAdwin and detector._width < WIDEST
