"""What a task may say about its metrics: windows, segments, how much is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from schemas.codec.checks import TaskKind
from schemas.dictionary import Boolean, Category, Dictionary
from schemas.errors import TaskError
from streams.metrics.extra import problems

PARTS: Final = ((0, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2), (1 / 2, 1))
"""Cohorts by request age, as parts of the horizon; older ones are mature."""
COHORTS: Final = ("age_0-12%", "age_12-25%", "age_25-50%", "age_50-100%", "age_mature")
MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRules:
    """How the served predictions are measured.

    Parameters
    ----------
    segments
        Categorical or boolean features by whose levels the metrics are split.
    rolling
        Size of the rolling window, in resolutions.
    window
        Span of the window in event time: requests made within this span before stream time.
    revisions
        Revisions of a model measured separately; older ones are measured together.
    levels
        Levels per segment that are followed: the first to appear; the others are `other`.
    top
        Levels per segment that are shown: those with most labels; the others are `other`.
    least
        Labels that a level needs to be shown on its own.
    extra
        By name: further metrics of River's, or of the task file, as classes or functions that make them, such as
        `{"mcc": metrics.MCC}`. They are folded from the log: another one is folded from its beginning.
    """

    segments: tuple[str, ...] = ()
    rolling: int = 1000
    window: timedelta = timedelta(days=1)
    revisions: int = 10
    levels: int = 50
    top: int = 10
    least: int = 30
    extra: Mapping[str, Callable[[], Any]] = field(default_factory=dict, repr=False, hash=False)

    @property
    def window_ms(self) -> int:
        """The window's span in ms."""
        return self.window // MS

    def pane_ms(self, horizon_ms: int) -> int:
        """Width of a pane, in ms: a 240th of the window or of the horizon, whichever is longer."""
        return max(1, self.window_ms // 240, horizon_ms // 240)

    def cohorts(self, now: int, horizon_ms: int) -> Iterator[tuple[str, int, int]]:
        """Return each cohort's name and the times between which its panes begin, [start, end) in ms.

        A horizon of less than eight panes is not split: then there is the mature cohort only.
        """
        width = self.pane_ms(horizon_ms)
        if horizon_ms >= 8 * width:
            for name, (young, old) in zip(COHORTS, PARTS, strict=False):
                # The youngest has all that is as young or, on another partition, ahead of stream time.
                end = now - int(young * horizon_ms) if young else now + width
                yield name, now - int(old * horizon_ms), end
        # A pane is mature when its youngest request is.
        mature = now - horizon_ms - width + 1
        yield COHORTS[-1], mature - self.window_ms, mature

    @property
    def window_name(self) -> str:
        """The event-time window's name.

        Examples
        --------
        >>> MetricRules(window=timedelta(hours=36)).window_name
        'window_36h'
        """
        seconds = self.window_ms // 1000
        for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
            if seconds and seconds % size == 0:
                return f"window_{seconds // size}{unit}"
        return f"window_{self.window_ms / 1000:g}s"

    @property
    def rolling_name(self) -> str:
        """The rolling window's name."""
        return f"last_{self.rolling}"


def check_metrics(rules: object, kind: TaskKind, features: Dictionary, where: str) -> None:
    """Reject rules that do not fit a task.

    Parameters
    ----------
    where
        Begins the messages.

    Raises
    ------
    TaskError
        Naming the parameter, and what is wrong with it.
    """
    if not isinstance(rules, MetricRules):
        raise TaskError(f"{where} must be MetricRules(...), not {type(rules).__name__}")
    for name in ("rolling", "revisions", "levels", "top", "least"):
        number = getattr(rules, name)
        if type(number) is not int or number < 1:
            raise TaskError(f"{where}MetricRules({name}={number!r}) must be a whole number of at least 1")
    window: object = rules.window
    if not isinstance(window, timedelta) or window < timedelta(seconds=1):
        raise TaskError(
            f"{where}MetricRules(window={rules.window!r}) must be a timedelta of a second or more"
        )
    for problem in problems(rules.extra, kind):
        raise TaskError(f"{where}MetricRules: {problem}")
    for name in rules.segments:
        feature = features.by_name.get(name)
        if feature is None or not isinstance(feature, Category | Boolean):
            raise TaskError(f"{where}MetricRules: segment {name!r} is not a category or boolean of the task")
        if feature.personal_data != "none":
            raise TaskError(
                f"{where}MetricRules: segment {name!r} is personal data, which metrics must not show"
            )
