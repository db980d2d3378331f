"""The generated reference page of the metrics and the alerts, from their declarations and rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from infra.prometheus.rules import rules
from infra.worker_metrics import WORKER_METRICS
from streams.metrics.kinds import REGISTRY
from streams.metrics.metric_rules import COHORTS, PARTS
from streams.metrics.registry import METRICS, Declared

BETTER: Final = {"higher": "↑", "lower": "↓", "neither": ""}
Table = Callable[[Sequence[str], Sequence[Sequence[object]]], str]

SECTIONS: Final = (
    ("Binary and multiclass", ("binary", "multiclass")),
    ("Binary", ("binary",)),
    ("Regression", ("regression",)),
    ("All tasks", ()),
)


def metrics_page(table: Table) -> str:
    """Return the page; `table` makes Markdown of a head and rows."""
    of_river = {name for registry in REGISTRY.values() for name in registry}
    windows = [
        ("`all`", "all labels so far; also by segment and revision"),
        ("`last_N`", "the newest N labels, N being `rolling` (1,000)"),
        ("`waiting`", "predictions without a resolution: estimates only"),
        ("`window_SPAN`", "requests within `window` (a day) before stream time"),
        *(
            (f"`{name}`", f"requests aged {young:.1%} to {old:.1%} of the horizon")
            for name, (young, old) in zip(COHORTS, PARTS, strict=False)
        ),
        (f"`{COHORTS[-1]}`", "requests older than the horizon, over one window's span"),
    ]
    actions: dict[str, list[str]] = {}
    for each in METRICS:
        actions.setdefault(each.action, []).append(f"`{each.name}`")
    of_worker = [
        (
            f"`{each.name.removeprefix('riverloop_')}`",
            ", ".join(each.labels),
            f"{each.description} {each.action}",
        )
        for each in WORKER_METRICS.values()
    ]
    alerts = [
        (
            f"[{each.name}](../{each.page.removeprefix('docs/')})",
            each.severity,
            each.waits or "0",
            _plain(each.summary),
        )
        for each in rules("alerts.yml")
    ]
    return f"""# Metrics

The log's owner publishes metrics as [Metric](records.md#metric) records on `T.metrics`, every `metrics_every_ms`
while entries arrive, in the transaction that commits its offset of the log: `log_offset` is the last entry covered.
The same values are in `GET /tasks/T/status` and in Prometheus.

Each labelled resolution is scored once, with the score as served. A correction replaces the earlier label.
Null scores and backfilled examples are not scored. Undefined values are not published. ↑ means higher is
better, ↓ lower.

{"".join(_sections(table))}In window `all`, {", ".join(f"`{name}`" for name in sorted(of_river))} equal River's
metrics of `progressive_val_score`. `roc_auc` is within 1e-4 of the exact value for smooth scores, 1e-3 for a
tree's.

## What to do

{table(("when it moves the wrong way", "metrics"), [(do, ", ".join(names)) for do, names in actions.items()])}

## Windows

`Task(metrics=MetricRules(rolling=…, window=…, segments=(…)))` sets them. Windows and cohorts use the time of the
*request*, rounded to a 240th of the window or horizon. A young cohort has only its quick outcomes: compare it with
earlier cohorts of the same age.

{table(("window", "covers"), windows)}

Values over all partitions are exact, quantiles of delays within 2.2 %. `last_N` cannot be added up.

## In Prometheus

`GET /metrics` exports the metrics above with the prefix `riverloop_` and the suffix `_ratio`, `_nats`,
`_seconds`, or `_total` for counters, from the log's owner only. Labels: task, window, segment; model and role for
metrics of models; monitor for episodes. Counters continue across owners. Versions are on `T.metrics`.

Every worker also exports these, with the same prefix, and Prometheus' usual `process_*`. Counters start with the
worker.

{table(("metric", "labels", "meaning"), of_worker)}

## Recording rules

`infra/prometheus/recording.yml` has the rules, named `level:metric:operation`, for alerts and
[dashboards](../operations/grafana.md).

## Alerts

Conditions are in `infra/prometheus/alerts.yml`; each alert links to its runbook. `for` is how long its condition
must hold. Detectors write [Alert](records.md#alert) records to `T.alerts`:
[read metrics and alerts](../how-to/read-metrics-and-alerts.md).

{table(("alert", "severity", "for", "summary"), alerts)}
"""


def _sections(table: Table) -> Iterator[str]:
    for title, kinds in SECTIONS:
        rows = [
            (f"`{each.name}`", "counter" if each.counter else each.unit + BETTER[each.better], _formula(each))
            for each in METRICS
            if each.kinds == kinds
        ]
        yield f"## {title}\n\n{table(('metric', 'unit', 'value'), rows)}\n\n"


def _formula(declared: Declared) -> str:
    source = "" if declared.source in ("", "River") else f" ({declared.source})"
    return declared.formula + source


def _plain(summary: str) -> str:
    """Replace the template's parts of a summary by their names.

    Examples
    --------
    >>> _plain("{{ $labels.task }} has a lag of {{ $value | humanizeDuration }} on {{ $labels.topic }}.")
    'TASK has a lag of N on TOPIC.'
    """
    named = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: found[1].upper(), summary)
    return re.sub(r"\{\{ \$value[^}]*\}\}", "N", named)
