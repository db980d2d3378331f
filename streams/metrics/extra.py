"""Further metrics of River's that a task names for its backtests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from river import metrics

from streams.metrics.registry import METRICS

NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")
Extra = Mapping[str, Callable[[], Any]]
"""By name: what makes a metric with nothing seen."""
Row = tuple[Any, bool | str | None, Any]
"""A score, its label, and the true outcome."""
_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "binary": (metrics.base.BinaryMetric, metrics.base.MultiClassMetric),
    "multiclass": (metrics.base.MultiClassMetric,),
    "regression": (metrics.base.RegressionMetric,),
}
_FIGURES: Final = frozenset(
    {"n", "pr_auc", "confusion", "version", "digest", "failures", "segments", "published"}
)
_TAKEN: Final = _FIGURES | {each.name for each in METRICS} | {"most_waiting", "count"}


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


def better(extra: Extra) -> dict[str, str]:
    """Give which way each metric is better: `higher` or `lower`."""
    return {name: "higher" if make().bigger_is_better else "lower" for name, make in extra.items()}


def measure(extra: Extra, kind: str, rows: Iterable[Row]) -> dict[str, float]:
    """Give each metric's value over scored outcomes; in a binary task a score is the probability of True."""
    made = {name: make() for name, make in extra.items()}
    for score, label, value in rows:
        for metric in made.values():
            if kind == "regression":
                metric.update(value, score)
            elif metric.requires_labels:
                metric.update(value, label)
            elif kind == "binary":
                metric.update(value, {False: 1.0 - score, True: score})
            else:
                metric.update(value, dict(score))
    return {name: float(metric.get()) for name, metric in made.items()}
