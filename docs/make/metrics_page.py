"""The generated reference page of the metrics and the alerts, from their declarations and rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Final

from infra.notify.metrics import HOOK_METRICS
from infra.prometheus.rules import rules
from infra.worker_metric import WorkerMetric
from infra.worker_metrics import WORKER_METRICS
from streams.metrics.kinds import REGISTRY
from streams.metrics.metric_rules import COHORTS, PARTS
from streams.metrics.registry import EXTRA, METRICS, Declared

BETTER: Final = {"higher": "↑", "lower": "↓", "neither": ""}
PREFIX: Final = "riverloop_"
TASK: Final = "task"
Table = Callable[[Sequence[str], Sequence[Sequence[object]]], str]

SECTIONS: Final = (
    ("Binary and multiclass", ("binary", "multiclass")),
    ("Binary", ("binary",)),
    ("Regression", ("regression",)),
    ("All tasks", ()),
)


def metrics_page(table: Table) -> str:
    """Return the page; `table` makes Markdown of a head and rows."""
    sections = "".join(_sections(table, set()))
    of_river = {name for registry in REGISTRY.values() for name in registry}
    windows = [
        ("`all`", "all labels so far; also by segment and revision"),
        ("`last_N`", "the newest N labels, N being `rolling` (1,000)"),
        ("`waiting`", "predictions without a resolution: estimates only"),
        ("`window_SPAN`", "requests within `window` (a day) before stream time"),
        (
            ", ".join(f"`{name}`" for name, _ in zip(COHORTS, PARTS, strict=False)),
            "requests by age, as a share of the horizon",
        ),
        (f"`{COHORTS[-1]}`", "requests older than the horizon, over one window's span"),
    ]
    shared = [(action, names) for action, names in _actions().items() if len(names) > 1]
    of_process = [
        each.name.removeprefix(PREFIX) for each in WORKER_METRICS.values() if TASK not in each.labels
    ]
    alerted = " ".join(rule.expr for rule in rules("alerts.yml"))
    of_worker, of_hooks = (
        table(("metric", "meaning"), [(_named(each), _meaning(each, alerted)) for each in found])
        for found in (WORKER_METRICS.values(), HOOK_METRICS.values())
    )
    shared_rows = [(action, ", ".join(f"`{name}`" for name in _families(names))) for action, names in shared]
    return f"""# Metrics

The log's owner publishes metrics as [Metric](records.md#metric) records on `T.metrics`, every `metrics_every_ms`
while entries arrive, in the transaction that commits its offset of the log: `log_offset` is the last entry covered.
The same values are in `GET /tasks/T/status` and in Prometheus.

Each labelled resolution is scored once, with the score as served. A correction replaces the earlier label.
Null scores and backfilled examples are not scored. Undefined values are not published. ↑ means higher is
better, ↓ lower.

{sections}In window `all`, {", ".join(f"`{name}`" for name in sorted(of_river))} equal River's
`progressive_val_score`. `roc_auc` is within 1e-4 of the exact value for smooth scores, 1e-3 for a tree's.

## What to do

{table(("when one moves the wrong way", "metrics"), shared_rows)}

## Windows

`Task(metrics=MetricRules(rolling=…, window=…, segments=(…)))` sets them. `extra={{"mcc": metrics.MCC}}` there names
further metrics: any of River's, of the task file, or of `streams.metrics.further` (`TopK`, `AtThreshold`,
`DecisionCost`, `Residual`, `IntervalCoverage`, `IntervalWidth`). Measured in window `all`, also by segment,
in the unit `own`, and equal River's evaluator; one whose code raises stops. After a change of `extra` the log is
folded again. `riverloop backtest` has the areas also exact: `roc_auc_exact`, `pr_auc_exact`.

Windows and cohorts use the time of the *request*, rounded to a 240th of the window or horizon. Compare a young
cohort, which has only its quick outcomes, with earlier ones of the same age.

{table(("window", "covers"), windows)}

Values over all partitions are exact, quantiles of delays within 2.2 %. `last_N` cannot be added up.

## In Prometheus

`GET /metrics` exports the metrics above with the prefix `riverloop_` and the suffix `_ratio`, `_nats`,
`_seconds`, or `_total` for counters, from the log's owner only. Labels: task, window, segment; model and role for
metrics of models; monitor for episodes. Those of `extra` are `{EXTRA.exported}`, by the label metric. Counters
continue across owners. Versions are on `T.metrics`.

Every worker also exports these, with the same prefix, and Prometheus' usual `process_*`. Counters start with the
worker. All but {", ".join(f"`{name}`" for name in of_process)}
have the label `task`; further labels are in braces.

{of_worker}

[`riverloop hooks run`](../how-to/send-hooks.md) exports these:

{of_hooks}

## Alerts

Each alert links to its runbook; the time is how long its condition (`infra/prometheus/alerts.yml`) must hold.
Detectors write [alerts to a topic](../how-to/read-metrics-and-alerts.md).

{table(("severity", "alerts, with the prefix `Riverloop`"), _alerts())}
"""


def _named(declared: WorkerMetric) -> str:
    labels = ", ".join(label for label in declared.labels if label != TASK)
    return f"`{declared.name.removeprefix(PREFIX)}{f'{{{labels}}}' if labels else ''}`"


def _meaning(declared: WorkerMetric, alerted: str) -> str:
    """Return what a metric is, and what to do about it where no alert's runbook says so."""
    known = declared.name.removesuffix("_total") in alerted
    return declared.description if known else f"{declared.description} {declared.action}"


def _alerts() -> list[tuple[str, str]]:
    """Return the alerts by severity, each with its runbook and how long its condition must hold."""
    found: dict[str, list[str]] = {}
    for each in rules("alerts.yml"):
        link = f"[{each.name.removeprefix('Riverloop')}](../{each.page.removeprefix('docs/')})"
        found.setdefault(each.severity, []).append(f"{link} {each.waits}".rstrip())
    return [(severity, ", ".join(found[severity])) for severity in ("critical", "warning", "info")]


def _sections(table: Table, sources: set[str]) -> Iterator[str]:
    for title, kinds in SECTIONS:
        rows = [
            (f"`{each.name}` {each.unit}{BETTER[each.better]}", _formula(each, sources))
            for each in METRICS
            if each.kinds == kinds and not each.counter
        ]
        yield f"## {title}\n\n{table(('metric and unit', 'value'), rows)}\n\n"
    counters = [(f"`{each.name}`", _formula(each, sources)) for each in METRICS if each.counter]
    yield f"## Counters\n\n{table(('metric', 'counts'), counters)}\n\n"


def _formula(declared: Declared, named: set[str]) -> str:
    """Return the formula, with its source if no earlier metric has named it, and an action of its own."""
    source = "" if declared.source in ("", "River", *named) else f" ({declared.source})"
    named.add(declared.source)
    own = f". {declared.action}" if len(_actions()[declared.action]) == 1 else ""
    return declared.formula + source + own


@cache
def _actions() -> dict[str, list[str]]:
    """Return the metrics that share each action."""
    found: dict[str, list[str]] = {}
    for each in METRICS:
        found.setdefault(each.action, []).append(each.name)
    return found


def _families(names: Sequence[str]) -> list[str]:
    """Shorten `gate_low`, `gate_high` to `gate_…` where the names of a family are all there."""
    found = []
    for name in names:
        for family in (name.partition("_")[0], *names):
            members = {each.name for each in METRICS if each.name.startswith(family)}
            if name.startswith(family) and len(members) > 1 and members <= set(names):
                found.append(f"{family}…")
                break
        else:
            found.append(name)
    return list(dict.fromkeys(found))
