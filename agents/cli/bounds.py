"""Bounds on metrics, at which a backtest fails."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from schemas.errors import UsageError
from streams.metrics.registry import METRICS

BETTER: Final = {each.name: each.better for each in METRICS}
BOUND: Final = re.compile(
    r"(?:(?P<model>[a-z][a-z0-9-]*)\.)?(?P<metric>\w+)(?:@(?P<segment>[^=]+=.+?))?=(?P<bound>[^=]+)"
)
NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?", re.IGNORECASE)
MARGIN: Final = re.compile(rf"(?P<model>[a-z][a-z0-9-]*?)(?P<margin>[+-]{NUMBER.pattern})?", re.IGNORECASE)

EXACT: Final[Mapping[str, str]] = {"roc_auc_exact": "higher", "pr_auc_exact": "higher"}
"""Metrics of a binary task that a backtest alone has, and which way they are better."""
OF_LOOP: Final = ("coverage", "label_rate")
"""Metrics of the loop that a backtest has: of every model the same."""

Found = Mapping[str, Mapping[tuple[str, str], tuple[float, int]]]
"""By model, metric and segment (empty: all): the value, and the labels that it rests on."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on a metric of one model.

    Parameters
    ----------
    text
        As it was given.
    side
        On which side of the bound the backtest fails.
    model, metric, segment
        Of what; an empty segment: of all requests.
    other
        The model whose metric the bound is relative to; empty: none.
    bound
        The bound, or what is added to the other model's metric.
    """

    text: str
    side: Literal["below", "above"]
    model: str
    metric: str
    segment: str
    other: str
    bound: float

    def failure(self, found: Found, least: int) -> str:
        """Say why the metric is out of bounds; empty when it is not.

        Parameters
        ----------
        found
            The metrics.
        least
            Labels below which a metric counts for nothing.
        """
        value, why = self._value(found, self.model, least)
        if why:
            return why
        bound, said = self.bound, f"{self.bound:g}"
        if self.other:
            other, why = self._value(found, self.other, least)
            if why:
                return why
            bound, said = other + self.bound, f"{self.other} with {other:.6f}{self.bound:+g}"
        if (value >= bound) if self.side == "below" else (value <= bound):
            return ""
        return f"{self._name(self.model)} is {value:.6f}, {self.side} the bound {said}"

    def _value(self, found: Found, model: str, least: int) -> tuple[float, str]:
        value, labels = found[model].get((self.metric, self.segment), (math.nan, 0))
        name = self._name(model)
        if not math.isfinite(value):
            return value, f"{name} has no value"
        if labels < least:
            return value, f"{name} rests on {labels:,} label(s), --min-labels wants {least:,}"
        return value, ""

    def _name(self, model: str) -> str:
        return f"{model}.{self.metric}" + (f"@{self.segment}" if self.segment else "")


def parse_bounds(
    side: Literal["below", "above"],
    texts: Sequence[str],
    models: Sequence[str],
    kind: str,
    extra: Mapping[str, str] = EXACT,
) -> list[Bound]:
    """Read the bounds of an option.

    Parameters
    ----------
    side
        Which option it is.
    texts
        Each `[MODEL.]METRIC[@FEATURE=LEVEL]=BOUND`; the bound is a number, or another model with or without a
        margin: `lr`, `lr-0.01`.
    models
        Names of the models; the first is the default.
    kind
        Of the task.
    extra
        Metrics that only a backtest has, and which way each is better: `higher` or `lower`.

    Raises
    ------
    UsageError
        When one cannot be read, or bounds a metric on its better side.
    """
    more = {name: way for name, way in extra.items() if kind == "binary" or name not in EXACT}
    return [_bound(side, text, models, kind, more) for text in texts]


def _bound(
    side: Literal["below", "above"], text: str, models: Sequence[str], kind: str, extra: Mapping[str, str]
) -> Bound:
    option = f"--fail-{side} {text}"
    match = BOUND.fullmatch(text)
    if not match:
        raise UsageError(
            f"{option}: must be [MODEL.]METRIC[@FEATURE=LEVEL]=BOUND, such as accuracy=0.7 or lr.log_loss=0.5"
        )
    model, metric = match["model"] or models[0], match["metric"]
    known = [each.name for each in METRICS if kind in each.kinds and "_gain" not in each.name]
    known += [*OF_LOOP, *extra]
    if metric not in known:
        raise UsageError(f"{option}: a {kind} task has no metric {metric!r}; it has {', '.join(known)}")
    wrong = {"below": "lower", "above": "higher"}[side]
    if {**BETTER, **extra}[metric] == wrong:
        right = {"below": "above", "above": "below"}[side]
        raise UsageError(f"{option}: {metric} is better when it is {wrong}; use --fail-{right}")
    other, bound = _limit(option, match["bound"], models)
    for name in (model, other):
        if name and name not in models:
            raise UsageError(f"{option}: there is no model {name!r}; there are {', '.join(models)}")
    return Bound(text, side, model, metric, match["segment"] or "", other, bound)


def _limit(option: str, text: str, models: Sequence[str]) -> tuple[str, float]:
    if NUMBER.fullmatch(text):
        return "", float(text)
    if text in models:
        return text, 0.0
    relative = MARGIN.fullmatch(text)
    if not relative:
        raise UsageError(
            f"{option}: the bound {text!r} is no number, and no model with a margin such as lr-0.01"
        )
    return relative["model"], float(relative["margin"] or 0)


def found_in(report: Mapping[str, Any]) -> Found:
    """Return a backtest's metrics for its bounds: of all requests, and of each segment."""
    found: dict[str, dict[tuple[str, str], tuple[float, int]]] = {}
    for model, figures in (report["models"] | report["baselines"]).items():
        mine = found[model] = {}
        for name, value in (figures["published"] | figures).items():
            if isinstance(value, float):
                mine[name, ""] = (value, figures["n"])
        for name in OF_LOOP:
            if report[name] is not None:
                mine[name, ""] = (report[name], report["requests"])
        classes = {f"class={name}": each for name, each in figures.get("classes", {}).items()}
        for segment, values in [*figures["segments"].items(), *classes.items()]:
            for name, value in values.items():
                mine[name, segment] = (value, int(values["count"]))
    return found
