"""What a task file says about drift: what is watched, with which detector, at which rate of false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from schemas.codec.checks import TaskKind
from schemas.errors import SnapshotError
from streams.drift import budget
from streams.drift.adwin import CLOCK, DirectionalAdwin
from streams.drift.detector import Detector, Worse
from streams.drift.river_detector import RiverDetector
from streams.drift.signals import NAMES, signal
from streams.episodes import SEVERITIES, Severity
from streams.snapshot import dump

DELAY: Final = "delay"
OUTAGE: Final = "label_outage"
LOSS: Final = "loss"
WATCHED: Final = (*NAMES, DELAY)
"""Signals that a detector can watch, the most telling first."""
HASTY: Final = frozenset({"excess_log_loss", "error"})
UNHURRIED: Final = 32
"""Clock of the other signals: they explain more than they warn, and this costs a quarter."""
BY_MEANS: Final = 2
"""Clock of delays, which come as means of several."""
WORSE: Final[Mapping[str, Worse]] = {
    "excess_log_loss": "up",
    "error": "up",
    "label_mean": "both",
    "score_mean": "both",
    DELAY: "both",
}
SEVERITY: Final[Mapping[str, Severity]] = {OUTAGE: "critical"}
"""Signals whose alarm is more than information. What has moved is information; what it costs, the loss says."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One signal and what watches it.

    Parameters
    ----------
    signal
        `excess_log_loss`, `error`, `label_mean`, `score_mean` (of each model) or `delay` (of the task).
    detector
        A class of `river.drift` or `river.drift.binary`, or a function that makes such a detector from
        `parameters`; None for directional ADWIN, at a delta that keeps the task's budget of false alarms.
    worse
        Which way of going alarms: `up`, `down` or `both`; by default what is bad for the signal.
    severity
        `info`, `warning` or `critical`; by default `info`: an episode of the loss says what a move costs.
    """

    signal: str
    detector: Callable[..., Any] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    worse: Worse | None = None
    severity: Severity | None = None

    @property
    def direction(self) -> Worse:
        """Which way of going alarms."""
        return self.worse or WORSE[self.signal]

    def make(self, rate: float, hush: int, span: float) -> Detector:
        """Make the detector.

        Parameters
        ----------
        rate
            False alarms per event that it may raise; a detector that the task file names has its own.
        """
        if self.detector is not None:
            return RiverDetector(self.detector, self.parameters, self.direction, hush, span)
        delta = budget.delta(self.signal, rate, self.direction)
        clock = CLOCK if self.signal in HASTY else BY_MEANS if self.signal == DELAY else UNHURRIED
        return DirectionalAdwin(delta, self.direction, hush=hush, span=span, clock=clock)

    def describe(self) -> str:
        """Return the watch as text that is the same in every process."""
        name = getattr(self.detector, "__qualname__", "")
        settings = sorted(self.parameters.items())
        return f"{self.signal} {name} {settings!r} {self.direction} {self.severity}"


@dataclass(frozen=True, slots=True)
class DriftRules:
    """How drift is watched.

    Parameters
    ----------
    watches
        What is watched. All signals that the task's kind has, by default; none: no drift is watched.
    one_false_alarm_in
        Events in which the task allows one false alarm, over all signals of all its models.
    warm_up
        First resolutions of each model that are not judged, since it still learns what it is about.
    cool_down
        Resolutions without an alarm after which an episode closes.
    outage
        Whether a dead feed of outcomes opens an episode, and holds the others back.
    loss
        Whether a loss above its own recent level opens an episode.
    """

    watches: tuple[Watch, ...] = tuple(Watch(name) for name in WATCHED)
    one_false_alarm_in: int = 100_000
    warm_up: int = 1_000
    cool_down: int = 1_000
    outage: bool = True
    loss: bool = True

    def describe(self) -> str:
        """Return the rules as text that is the same in every process."""
        watches = "; ".join(each.describe() for each in self.watches)
        return (
            f"{watches}; {self.one_false_alarm_in} {self.warm_up} {self.cool_down} {self.outage} {self.loss}"
        )

    def problems(self, kind: TaskKind) -> Iterator[str]:
        """Say what is wrong with the rules, for a task of this kind."""
        for name, least in (("one_false_alarm_in", 1), ("warm_up", 0), ("cool_down", 1)):
            number = getattr(self, name)
            if type(number) is not int or number < least:
                yield f"{name}={number!r} must be a whole number of at least {least}"
        watches: object = self.watches
        if not isinstance(watches, tuple | list) or not all(isinstance(each, Watch) for each in watches):
            yield "watches= must be a tuple of Watch(...)"
            return
        names = [watch.signal for watch in self.watches]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{name} is watched twice"
        for watch in self.watches:
            yield from _problems(watch, kind)


def _problems(watch: Watch, kind: TaskKind) -> Iterator[str]:
    where = f"Watch({watch.signal!r})"
    if watch.signal not in WATCHED:
        yield f"{where}: unknown signal; the signals are {', '.join(WATCHED)}"
        return
    if watch.worse not in (None, *get_args(Worse)):
        yield f"{where}: worse={watch.worse!r} must be up, down or both"
    if watch.severity not in (None, *SEVERITIES):
        yield f"{where}: severity={watch.severity!r} must be {', '.join(SEVERITIES)}"
    if watch.detector is None:
        if watch.parameters:
            yield f"{where}: parameters= without a detector="
        return
    if not callable(watch.detector):
        yield f"{where}: detector={watch.detector!r} must be a class of river.drift, not an instance"
        return
    try:
        made = RiverDetector(watch.detector, watch.parameters, watch.direction, 1)
        made.update(0.0)
        made.update(1.0)
        dump(made.snapshot())
    except SnapshotError as error:
        yield f"{where}: the detector cannot be stored in a snapshot: {error}"
        return
    except Exception as error:
        yield f"{where}: detector(**parameters) failed: {type(error).__name__}: {error}"
        return
    yes_or_no = kind != "regression" and watch.signal in {"error", "label_mean"}
    if made.takes_errors and not yes_or_no:
        yield f"{where}: {made!r} accepts only 0 and 1, but this signal of a {kind} task has other values"


def exists(name: str, kind: TaskKind) -> bool:
    """Whether a task of this kind has a signal."""
    return name == DELAY or signal(name, kind) is not None
