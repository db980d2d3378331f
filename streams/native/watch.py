"""The monitors of the log, folded for many entries at once, as they fold them one by one.

The core takes what is common: first labels and silence of a binary task, in time, while no outage is suspected.
It goes from the state of the monitors to the state of the monitors, so that snapshots, measurements and all other
entries know nothing of it. It ends before the entry at which anything would be reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Any, Final, NamedTuple

from schemas.records import Entry
from streams import native
from streams.drift.adwin import DirectionalAdwin
from streams.drift.fold import DriftFold
from streams.drift.signals import Error, ExcessLogLoss, LabelMean, ScoreMean
from streams.drift.watching import ModelWatch
from streams.episodes import Episodes
from streams.fold import Monitor
from streams.metrics.binary import Seen
from streams.metrics.loop_health import LoopHealth, Resolved
from streams.metrics.scope import Scope, level_of
from streams.metrics.served import ServedMetrics
from streams.metrics.shadow_comparison import Pair, ShadowComparison
from streams.metrics.slices import Rolling
from streams.metrics.waiting import PREFIX, Waiting
from streams.policies import is_plain, silent
from streams.task import Task

SIGNALS: Final = {ExcessLogLoss: 0, Error: 1, LabelMean: 2, ScoreMean: 3}
"""As `monitors.hpp` numbers them."""
LEAST: Final = 12
"""Entries below which Python is as fast."""
WIDEST: Final = 1 << 26
"""Numbers of a detector's window, up to which products of its parts are exact."""
MOST_MODELS: Final = 64


LABELS: Final = {"binary": bool, "regression": float}
"""By kind of task: the type of a label that the core knows."""


def is_scanned(task: Task) -> bool:
    """Whether entries of a task's log give labels that the core knows."""
    kinds, policies = {LABELS.get(task.kind), type(None)}, [each.policy for each in task.models]
    return (
        task.kind in LABELS
        and all(is_plain(each) and type(silent(each)) in kinds for each in policies)
        and all(isfinite(float(silent(each) or 0)) for each in policies)
    )


def is_watched(task: Task) -> bool:
    """Whether the core folds entries of a task's log into its monitors."""
    return task.kind == "binary" and len(task.models) <= MOST_MODELS and is_scanned(task)


class NativeWatch:
    """Folds entries into the monitors of a task.

    Parameters
    ----------
    task
        The task.
    monitors
        Its monitors, as `streams.monitors.monitors` makes them.
    """

    def __init__(self, task: Task, monitors: Sequence[Monitor[Entry]]) -> None:
        self.task, self.monitors = task, monitors
        module = None if native.chosen() == "python" else native.log_module()
        further = [ShadowComparison] if task.models[1:] else []
        wanted = [*[ServedMetrics] * len(task.models), *further, Waiting, LoopHealth, DriftFold]
        fits = is_watched(task) and [*map(type, monitors)] == wanted
        self._folding: Any = None
        if module is not None and fits:
            self._folding = module.Folding(tuple(task.metrics.segments), self._level)

    def _level(self, place: int, value: Any) -> str:
        """Return the level of a value of the feature at a place among the segments."""
        feature = self.task.features.by_name[self.task.metrics.segments[place]]
        return level_of({feature.name: value}, feature)

    def fold(self, facts: Any, start: int, end: int, offsets: Sequence[int]) -> int:
        """Fold entries of a run that was scanned, from one of them on; gives how many.

        Parameters
        ----------
        facts
            Entries that follow on each other, as `streams.native.turn.facts_of` scans them.
        start, end
            The run's, in `facts`.
        offsets
            Of all in `facts`.
        """
        if self._folding is None or end - start < LEAST:
            return 0
        if offsets[start] < max(each.next_offset for each in self.monitors):
            return 0
        bound = Bound(self.task, self.monitors)
        if not bound.is_calm():
            return 0
        most = bound.most()
        end = end if most is None else min(end, start + most)
        taken: int = self._folding.fold(facts, start, end, LEAST, bound)
        if taken:
            for each in self.monitors:
                each.next_offset = offsets[start + taken - 1] + 1
        return taken


class BoundModel(NamedTuple):
    """What entries change that have a score of one model."""

    name: str
    revision: int
    """Of the scores that the core takes; -1: of none."""
    silent: object
    """What silence teaches; None: nothing."""
    served: ServedMetrics
    scopes: tuple[Scope | None, Scope | None]
    """By role: served, shadow."""
    tallies: tuple[Any, Any]
    """Of the revision."""
    watch: ModelWatch
    signals: list[tuple[int, Any, Any]]
    """Number, signal and detector."""


class Bound:
    """The parts of the monitors that entries change."""

    def __init__(self, task: Task, monitors: Sequence[Any]) -> None:
        count = len(task.models)
        self._served: Sequence[ServedMetrics] = monitors[:count]
        self.waiting: Waiting
        self.loop: LoopHealth
        self.drift: DriftFold
        *versus, self.waiting, self.loop, self.drift = monitors[count:]
        self.sums: dict[Pair, Any] = versus[0]._sums if versus else {}
        """Of the comparison with shadows."""
        pairs = zip(task.models, self._served, self.drift.models, strict=True)
        self.models = [_bound(silent(model.policy), served, watch) for model, served, watch in pairs]
        policies = [model.policy for model in task.models]
        self.pairs = [
            [
                Pair(f"{one.name}.{one.revision}", f"{other.name}.{other.revision}", other.name)
                if at != to and policies[at] == policies[to]
                else None
                for to, other in enumerate(self.models)
            ]
            for at, one in enumerate(self.models)
        ]
        """By served and other model: what is compared."""

    @property
    def served_time(self) -> int:
        """The stream time of all models' metrics (ms)."""
        return self._served[0].stream_time

    def is_calm(self) -> bool:
        """Whether the state is one from which the core goes on."""
        drift, cost, panes = self.drift, self.drift.cost, self.loop.cohorts
        widths = {(panes.width_ms, panes.keep_ms)}
        widths |= {(each.panes.width_ms, each.panes.keep_ms) for each in self._scopes()}
        if (
            len(widths) > 1
            or len({each.stream_time for each in self._served}) > 1
            or drift._kept
            or drift.outage.lead is not None
            or any(each.state != "live" for each in drift.feeds.values())
            or (cost is not None and cost.watch._worse != (cost.episodes.lead is not None))
        ):
            return False
        for model in self.models:
            if len(model.signals) < len(model.watch._pairs):
                return False
            for _, made, detector in model.signals:
                if not is_fit(detector) or (isinstance(made, ScoreMean) and made._follow.pending is not None):
                    return False
        return drift.delay is None or is_fit(drift.delay.detector)

    def _scopes(self) -> Iterator[Scope]:
        return (scope for each in self._served for scope in each.scopes.values())

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

    def advance(self, stream_time: int, turned: int) -> None:
        """Set the stream time, and drop the panes that had grown too old when the newest one began.

        Parameters
        ----------
        turned
            When it began (ms); -1: before.
        """
        for each in self._served:
            each.stream_time = stream_time
        for scope in self._scopes() if turned >= 0 else ():
            scope.panes.advance(turned)

    def roll(self, rolling: Rolling, rows: Any) -> None:
        """Give labels to a rolling window."""
        rolling.give(GivenRows(rows))

    def counter(self, model: int, group: int) -> str:
        """Return the name of a model's counter of scores in a group."""
        return f"{PREFIX}{self.models[model].name} {group}"

    def cohorts(self, counts: Iterable[tuple[int, int, int]]) -> None:
        """Count first resolutions by cohort, and those with an outcome."""
        cohorts = self.loop.cohorts
        for number, count, labelled in counts:
            if number >= cohorts.first:
                cohort = cohorts.panes.get(number)
                if cohort is None:
                    cohort = cohorts.panes[number] = Resolved()
                cohort.n += count
                cohort.labelled += labelled


class GivenRows:
    """Labels that the core has counted, for a rolling window."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, start: int) -> Iterator[tuple[str, Seen]]:
        """Yield request ids and labels, from one of them on."""
        return ((request_id, Seen(*values)) for request_id, values in self._rows.rows(start))


def _bound(silence: object, served: ServedMetrics, watch: ModelWatch) -> BoundModel:
    name = served.model.name
    prefix, _, number = watch._revision.rpartition(".")
    revision = int(number) if prefix == name else -1
    scopes = served.scopes.get("served"), served.scopes.get("shadow")
    tallies = [
        None if scope is None or revision < scope.revisions._oldest else scope.revisions.tallies.get(revision)
        for scope in scopes
    ]
    signals = [
        (SIGNALS[type(made)], made, detector) for _, made, detector in watch._pairs if type(made) in SIGNALS
    ]
    return BoundModel(name, revision, silence, served, scopes, (tallies[0], tallies[1]), watch, signals)


def is_fit(detector: object) -> bool:
    """Whether the core has a detector."""
    return type(detector) is DirectionalAdwin and detector._width < WIDEST
