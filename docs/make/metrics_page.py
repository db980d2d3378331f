"""The generated reference page of the metrics and the alerts, from their declarations and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from infra.own_metrics import OWN
from infra.prometheus.rules import rules
from streams.metrics.registry import METRICS, REGISTRY
from streams.metrics.rules import COHORTS, PARTS

ROOT: Final = Path(__file__).resolve().parents[2]
ALERTS_HEAD: Final = (
    "alert, and what to do",
    "severity",
    "fires when this gives something",
    "for",
    "keeps",
    "what it means",
)


def metrics_page(table: Callable[[Sequence[str], Sequence[Sequence[object]]], str]) -> str:
    """Give the page; `table` makes Markdown of a head and rows."""
    river: dict[str, set[str]] = {name: set() for registry in REGISTRY.values() for name in registry}
    for registry in REGISTRY.values():
        for name, make in registry.items():
            river[name].add(f"`river.metrics.{type(make()).__name__}`")
    rows = [
        (
            f"`{each.name}`",
            ", ".join(each.kinds) or "the loop",
            each.unit,
            each.formula,
            each.better,
            ", ".join(sorted(river.get(each.name, ()))) or each.source,
            each.do,
        )
        for each in METRICS
    ]
    exported = [(f"`{each.name}`", f"`{each.exported}`", ", ".join(each.labels)) for each in METRICS]
    own = [(f"`{each.name}`", ", ".join(each.labels), each.says, each.do) for each in OWN.values()]
    recorded = [(f"`{each.name}`", f"`{each.expr}`") for each in rules("recording.yml")]
    alerts = [
        (
            f"[{each.name}](../{each.page.removeprefix('docs/')})",
            each.severity,
            f"`{each.expr}`",
            each.waits or "at once",
            each.keeps or "not",
            first_sentence(each.page),
        )
        for each in rules("alerts.yml")
    ]
    windows = [
        (
            "`all`",
            "All labels so far, by River where the table names it; by `segment` and by revision, too.",
        ),
        ("`last_N`", "The newest N labels that were given, N being `rolling`; 1,000 by default."),
        ("`waiting`", "Predictions that have no resolution yet; of these there is an estimate only."),
        ("`window_SPAN`", "Requests made within `window` before stream time; a day by default."),
        *(
            (f"`{name}`", f"Requests whose age is {young:.1%} to {old:.1%} of the horizon.")
            for name, (young, old) in zip(COHORTS, PARTS, strict=False)
        ),
        (
            f"`{COHORTS[-1]}`",
            "Requests of one window's span that are older than the horizon: all have resolved.",
        ),
    ]
    return f"""# Metrics

Each resolution that has a label under the model's policy is scored once, with the score that was served. A
later correction takes back the label that it replaces, in every slice, without a trace: sums are whole numbers
in fixed point. A null score and a backfilled example are not scored. What a model served is kept apart from
what it would have served as a shadow. A value that does not exist (precision without a positive decision) is
not published.

The values lie on `T.metrics` as [Metric](records.md#metric) records, every `metrics_every_ms` while entries
come, keyed by the model, or `loop`. They are written in the transaction that commits the owner's offset of the
log, so `log_offset` tells which entries they cover, and a change of owner repeats none. The log's owner tells
them in `GET /tasks/T/status`, too.

{table(("metric", "kind of task", "unit", "formula", "better", "source", "when it moves the wrong way"), rows)}

`outcome` means the unit of the task's outcome. `riverloop backtest` gives an exact `roc_auc`, ties counted half,
since it has all scores at hand; here it is off by less than 1e-4 for smooth scores, and by up to 1e-3 for a
tree's few distinct ones.

## Windows

`Task(metrics=MetricRules(rolling=…, window=…, segments=(…)))` sets them.

{table(("window", "what it covers"), windows)}

Windows of event time and cohorts go by the time of the *request*, to the width of a pane (a 240th of the window
or of the horizon, whichever is longer; a horizon below eight panes has the mature cohort only).
A young cohort has its quick outcomes only: compare it with what the same cohort looked like at that age, never
with a mature one.

## What can be added up

| what | over partitions and workers |
| --- | --- |
| counts, sums, confusion, calibration table, AUC's and delays' bins | exact: one owner folds all of the log |
| `all`, windows, cohorts, revisions | exact, from those |
| quantiles of delays | from the merged bins, within 2.2 % |
| `last_N` | not to be added up: it depends on the log's order |
| join health | exact at the last entry of each join's batch; a join without entries tells the log once a minute |
| `freshness_s` in the status | of each worker since it started: add up buckets |

## In Prometheus

`GET /metrics` of a worker gives what that worker knows; the metrics above come from the worker that owns the log
(of requests and features: the tallies), and from no other. Their counters are state that a new owner restores, so
neither a replay nor a change of owner makes them jump; take the rate first and add up then. A version is no
label: the revisions in force are `riverloop_model_info`, and an older revision's own values lie on `T.metrics`.
A segment that is no longer among the most frequent ends as a series.

{table(("metric", "in Prometheus", "labels"), exported)}

Every worker tells of itself:

{table(("in Prometheus", "labels", "what it says", "when it is not as it should be"), own)}

Those with `_total` count from the worker's start. Beside them stand Prometheus' usual `process_*`: memory,
processor time, open files, and the start time, which counts restarts.

## Recording rules

[infra/prometheus](../operations/prometheus.md) has them, named `level:metric:operation`: what alerts and
[dashboards](../operations/grafana.md) rest on.

{table(("recorded", "formula"), recorded)}

## Alerts

Each has a page that says what it costs and what to do, in order. `for`: so long its expression must give something
before it fires; `keeps`: so long it fires beyond its end.

{table(ALERTS_HEAD, alerts)}

Beside these stand the alerts of the detectors themselves: [Alert](records.md#alert) records on `T.alerts`, with the
evidence. [Read metrics and alerts](../how-to/read-metrics-and-alerts.md) says how to act on them.
"""


def first_sentence(page: str) -> str:
    """Give what an alert's page says first: what the alert means."""
    return (ROOT / page).read_text("utf-8").split("\n\n")[1]
