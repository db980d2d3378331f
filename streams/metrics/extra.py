"""Further metrics of River's that a task names: which may be, and their values over some labels."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from river import metrics

from schemas.errors import NotReproducible, SnapshotError
from schemas.records import Score, Value
from streams.failures import describe, is_own
from streams.metrics.further import IntervalMetric, IntervalWidth, Residual
from streams.metrics.registry import METRICS
from streams.snapshot import dump

NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
Extra = Mapping[str, Callable[[], Any]]
"""By name: what makes a metric with nothing seen."""
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "binary": (metrics.base.BinaryMetric, metrics.base.MultiClassMetric),
    "multiclass": (metrics.base.MultiClassMetric,),
    "regression": (metrics.base.RegressionMetric,),
}
_FIGURES: Final = frozenset(
    {"n", "roc_auc_exact", "pr_auc_exact", "version", "digest", "failures", "segments", "classes", "stopped"}
)
_TAKEN: Final = _FIGURES | {each.name for each in METRICS} | {"most_waiting", "count", "published", "extra"}


def problems(extra: object, kind: str) -> Iterator[str]:
    """Yield what is wrong with a task's further metrics, each with a cure."""
    if not isinstance(extra, Mapping):
        yield f"extra= must be a dict of metrics by name, not {type(extra).__name__}"
        return
    for name, make in extra.items():
        if not isinstance(name, str) or not NAME.match(name) or name in _TAKEN:
            yield f"extra={{{name!r}: ...}}: a name has lower-case letters, digits and _, and is not taken already"
            continue
        if not callable(make):
            yield f"extra={{{name!r}: ...}} must be a class or function that makes a metric, such as metrics.MCC"
            continue
        try:
            made = make()
            fits = isinstance(made, _KINDS[kind])
            if fits:
                float(made.get())
        except Exception as error:
            yield f"extra={{{name!r}: ...}} gives no number: {type(error).__name__}: {error}"
            continue
        if not fits:
            wanted = " or ".join(each.__name__ for each in _KINDS[kind])
            yield f"extra={{{name!r}: ...}} makes a {type(made).__name__}; kind={kind!r} takes a {wanted} of River"
            continue
        try:
            dump({name: made})
        except (SnapshotError, NotReproducible) as error:
            yield f"extra={{{name!r}: ...}} cannot be stored in a snapshot: {error}"


def better(extra: Extra) -> dict[str, str]:
    """Give which way each metric is better: `higher`, `lower` or `neither`."""
    return {name: _better(make()) for name, make in extra.items()}


def _better(made: Any) -> str:
    if isinstance(made, Residual | IntervalWidth):
        return "neither"
    return "higher" if made.bigger_is_better else "lower"


class ExtraTally:
    """River's objects of the further metrics, over some labels.

    A metric whose code raises has no value from then on: the exception would come again wherever the log is read.

    Parameters
    ----------
    extra, kind
        The metrics by name, and the task's kind.
    """

    __slots__ = ("_extra", "_kind", "_takes", "failed", "metrics", "n")

    def __init__(self, extra: Extra, kind: str) -> None:
        self._extra, self._kind = extra, kind
        self.n = 0
        """Scored labels that count now."""
        self.failed: dict[str, str] = {}
        """By metric that has stopped: what it raised."""
        self._begin()

    def _begin(self) -> None:
        self.metrics: dict[str, Any] = {
            name: make() for name, make in self._extra.items() if name not in self.failed
        }
        self._note()

    def _note(self) -> None:
        self._takes = {name: _wants(metric, self._kind) for name, metric in self.metrics.items()}

    def add(self, score: Score, value: Value, replaces: Value) -> None:
        """Count a label, or a correction of one."""
        if replaces is not None and self.n == 1:
            # Nothing is left once it is taken back: what River computes then is rounding.
            self._begin()
            self.n, replaces = 0, None
        answers = _answers(score, self._kind)
        for name in tuple(self.metrics):
            answer = answers[self._takes[name]]
            if answer is None:
                continue  # the model has learned nothing, and gives no interval
            try:
                if replaces is not None:
                    self.metrics[name].revert(replaces, answer)
                if value is not None:
                    self.metrics[name].update(value, answer)
            except BaseException as error:
                if not is_own(error):
                    raise
                self.failed[name] = describe(error)
                del self.metrics[name]
        self.n += (value is not None) - (replaces is not None)

    def values(self) -> dict[str, float]:
        """Return the metrics that have a value: none does without labels."""
        found = {name: _value(metric) for name, metric in self.metrics.items()} if self.n else {}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def snapshot(self) -> dict[str, Any]:
        """Return the state: River's objects, and plain values."""
        return {"n": self.n, "metrics": self.metrics, "failed": self.failed}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `snapshot` gave."""
        self.n, self.metrics, self.failed = state["n"], state["metrics"], state["failed"]
        self._note()


def _wants(metric: Any, kind: str) -> str:
    """Return what a metric takes of an answer."""
    if kind == "regression":
        return "interval" if isinstance(metric, IntervalMetric) else "score"
    return "label" if metric.requires_labels else "score"


def _answers(score: Score, kind: str) -> dict[str, Any]:
    """Return an answer as River's evaluator gives it to a metric."""
    given: Any = score.score
    if kind == "binary":
        given = {False: 1.0 - given, True: given}
    elif kind == "multiclass":
        given = dict(given)
    return {"label": score.label, "score": given, "interval": score.interval}


def _value(metric: Any) -> float:
    try:
        return float(metric.get())
    except BaseException as error:
        if not is_own(error):
            raise
        return math.nan
