"""WaveformDrift2: how soon drift of features is seen without labels, and what a model gains by that.

The protocol of Lukats, Zielinski, Hahn and Stahl, A benchmark and survey of fully unsupervised concept drift
detectors on real-world data streams, International Journal of Data Science and Analytics, 2024: River's Waveform
stream, whose three base waves change at every so many events to one of three other forms; a Hoeffding tree learns
each event after answering it, and is thrown away at every alarm. Its accuracy is the figure: there UDetect
reached 0.8018 and SPLL 0.8015. Length, spacing and seeds are arguments here, so compare rows of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

import numpy as np
from river.datasets import synth
from river.drift import ADWIN
from river.tree import HoeffdingTreeClassifier

from schemas.dictionary import Dictionary, Number
from schemas.records import Request
from streams.quality.edge import EdgeCounter
from streams.quality.monitor import QualityMonitor
from streams.quality.quality_rules import QualityRules

FEATURES: Final = 21
CELL: Final = 20
"""Events a minute of our counters."""
Watch = Callable[[Mapping[str, float]], bool]
"""Takes the next event's features; returns whether they have drifted."""


@dataclass(frozen=True, slots=True)
class Row:
    """One watch on one kind of stream, over all seeds."""

    watch: str
    drifts: int
    """That happened."""
    found: int
    """Of these: with an alarm before the next one."""
    delay: float
    """Mean events from a drift to its first alarm; NaN when none is found."""
    false_alarms: int
    """Further alarms."""
    per_10k: float
    """False alarms per 10,000 events."""
    accuracy: float
    """Of the tree that is thrown away at every alarm; NaN where no tree was asked."""


class Waves(synth.Waveform):
    """River's Waveform with the forms of WaveformDrift2.

    Parameters
    ----------
    spacing
        Events between two drifts; None: no drift.
    seed
        Of events and drifts.
    """

    def __init__(self, spacing: int | None, seed: int) -> None:
        super().__init__(seed=seed)
        self.spacing = spacing
        base = np.array(synth.Waveform._H_FUNCTION)
        self.forms = [each.tolist() for each in (base, base + 6, 6 - base, -base)]

    def __iter__(self) -> Iterator[tuple[dict[str, float], int]]:
        rng, form = np.random.default_rng(self.seed), 0
        self._H_FUNCTION = self.forms[0]
        for number, (x, y) in enumerate(super().__iter__()):  # type: ignore[no-untyped-call]  # River's
            yield {f"x{name}": value for name, value in x.items()}, y
            if self.spacing and (number + 1) % self.spacing == 0:
                form = (form + 1 + int(rng.integers(3))) % 4
                self._H_FUNCTION = self.forms[form]


def ours() -> Watch:
    """Make the watch that the owner of the tallies runs, with a reference of 500 events, taken anew at an alarm."""
    dictionary = Dictionary(*(Number(name=f"x{number}") for number in range(FEATURES)))
    rules = QualityRules(reference=500, window=200, grace_ms=0)
    number, monitor = 0, QualityMonitor("waves", dictionary, rules)
    counter = EdgeCounter(dictionary, "bench")

    def watch(x: Mapping[str, float]) -> bool:
        nonlocal number, monitor
        counter.answered(0, Request(str(number), number * 60_000 // CELL, x))
        number += 1
        if number % CELL:
            return False
        for tally in counter.tallies():
            monitor.apply(number, tally)
        counter.commit()
        if not any(each.state == "opened" and each.family == "features" for each in monitor.alerts()):
            return False
        monitor = QualityMonitor("waves", dictionary, rules)
        return True

    return watch


def adwins(delta: float) -> Watch:
    """Make one ADWIN per feature, each with this delta; all begin anew at an alarm."""
    detectors = [ADWIN(delta) for _ in range(FEATURES)]

    def watch(x: Mapping[str, float]) -> bool:
        nonlocal detectors
        for detector, value in zip(detectors, x.values(), strict=True):
            detector.update(value)
        if not any(each.drift_detected for each in detectors):
            return False
        detectors = [ADWIN(delta) for _ in range(FEATURES)]
        return True

    return watch


def every(events: int) -> Watch:
    """Make the dummy that alarms at every so many events and looks at nothing."""
    number = 0

    def watch(x: Mapping[str, float]) -> bool:
        nonlocal number
        number += 1
        return number % events == 0

    return watch


WATCHES: Final[Mapping[str, Callable[[], Watch]]] = {
    "features of riverloop": ours,
    "ADWIN per feature, 0.002/21": lambda: adwins(0.002 / FEATURES),
    "ADWIN per feature, 0.002 (River's default)": lambda: adwins(0.002),
    "every 1,000 events": lambda: every(1000),
    "never": lambda: lambda x: False,
}


def rows(
    seeds: int = 5, length: int = 20_000, spacing: int | None = 5_000, *, trees: bool = True
) -> Iterator[Row]:
    """Run every watch; `spacing=None` gives the report on streams without drift.

    Parameters
    ----------
    seeds
        Streams, with the seeds 0, 1, …
    length
        Events of each.
    spacing
        Events between drifts.
    trees
        Whether a tree is asked and thrown away; without, it is faster.
    """
    for name, make in WATCHES.items():
        runs = [_run(make(), Waves(spacing, seed), length, trees) for seed in range(seeds)]
        drifts = list(range(spacing, length, spacing)) if spacing else []
        delays, false = [], 0
        for alarms, _ in runs:
            for start, end in zip([0, *drifts], [*drifts, length], strict=True):
                inside = [at for at in alarms if start <= at < end]
                if start and inside:
                    delays.append(inside[0] - start)
                    inside = inside[1:]
                false += len(inside)
        yield Row(
            name,
            len(drifts) * seeds,
            len(delays),
            fmean(delays) if delays else float("nan"),
            false,
            false / (seeds * length) * 10_000,
            fmean(accuracy for _, accuracy in runs),
        )


def _run(watch: Watch, stream: Waves, length: int, trees: bool) -> tuple[list[int], float]:
    tree, right, alarms = HoeffdingTreeClassifier(), 0, []
    x: Any
    for number, (x, y) in enumerate(stream.take(length)):
        if trees:
            right += tree.predict_one(x) == y
        if watch(x):
            alarms.append(number)
            tree = HoeffdingTreeClassifier()
        if trees:
            tree.learn_one(x, y)
    return alarms, right / length if trees else float("nan")
