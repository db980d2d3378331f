"""The board of what comes in: is it what the models were made for."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as models

from docs.make.grafana.boards.marks import EPISODES
from docs.make.grafana.parts import (
    NATS,
    PER_SECOND,
    RATIO,
    Column,
    Limits,
    Query,
    Row,
    board,
    lines,
    rows_of,
)
from streams.quality.judge import LARGE, MODERATE


def _feature(name: str) -> str:
    return f'max by (segment) (riverloop_feature_{name}{{task="$task"}})'


REQUESTS = Row(
    "Requests",
    [
        lines(
            "Requests",
            "Requests answered, rejected, repeated, out of order, and counted late. Rejected records are on "
            "T.dead-letters.",
            PER_SECOND,
            *(
                Query(f'sum(rate(riverloop_{name}_total{{task="$task"}}[$__rate_interval]))', legend)
                for name, legend in (
                    ("requests", "answered"),
                    ("requests_rejected", "rejected"),
                    ("requests_repeated", "repeated"),
                    ("requests_disordered", "out of order"),
                    ("requests_counted_late", "counted late"),
                )
            ),
            least=0,
        ),
        lines(
            "Dead letters by reason",
            "Per second, the five most frequent reasons. docs/reasons.md explains how to correct them.",
            PER_SECOND,
            Query(
                'topk(5, max by (reason) (task_reason:riverloop_dead_letters:rate5m{task="$task"}))',
                "{{reason}}",
            ),
            least=0,
        ),
    ],
)
FEATURES = Row(
    "Features, last window",
    [
        rows_of(
            "All features",
            "Shares of the last window; PSI and Jensen-Shannon divergence against the reference, minus "
            "their expectation without drift. Empty: too few values.",
            "segment",
            "feature",
            Column("missing", RATIO, _feature("missing_ratio")),
            Column("outside its range", RATIO, _feature("outside_ratio"), Limits(bad=0.01)),
            Column("of unseen levels", RATIO, _feature("unseen_ratio"), Limits(0.01, 0.1)),
            Column("PSI", NATS, _feature("psi_nats"), Limits(MODERATE, LARGE)),
            Column("Jensen-Shannon", NATS, _feature("js_nats")),
        ),
        lines(
            "Missing",
            "Share of requests without the feature, the eight highest. Compare with max_missing in the task "
            "file; check the source of the feature.",
            RATIO,
            Query(f"topk(8, {_feature('missing_ratio')})", "{{segment}}"),
            least=0,
            width=8,
        ),
        lines(
            "Outside the range",
            "Share of values outside the dictionary's range, the eight highest.",
            RATIO,
            Query(f"topk(8, {_feature('outside_ratio')})", "{{segment}}"),
            least=0,
            width=8,
        ),
        lines(
            "Unseen levels",
            "Share of values with a level unknown to the reference, the eight highest.",
            RATIO,
            Query(f"topk(8, {_feature('unseen_ratio')})", "{{segment}}"),
            least=0,
            width=8,
        ),
    ],
)
LOOKUPS = Row(
    "Look-ups",
    [
        lines(
            "Look-ups",
            "Look-ups per second, one for each view of a request. None: the task has no look-ups.",
            PER_SECOND,
            Query('max(task:riverloop_lookups:rate5m{task="$task"})', "look-ups"),
            least=0,
        ),
        lines(
            "Without features",
            "Share of look-ups that give no features. Late: the store did not answer in time, or refused; "
            "invalid: a value that the dictionary rejects; missing: no row, or an old one. Alerts above 1 % of "
            "late and invalid ones, and above 50 % of missing ones.",
            RATIO,
            *(
                Query(
                    f'sum(rate(riverloop_lookups_{name}_total{{task="$task"}}[$__rate_interval])) / '
                    'sum(rate(riverloop_lookups_total{task="$task"}[$__rate_interval]))',
                    name,
                )
                for name in ("late", "invalid", "missing")
            ),
            least=0,
        ),
    ],
)


def data_quality() -> models.Dashboard:
    """Make the board."""
    says = "Quality of requests: features against their reference, look-ups, and rejected records."
    return board("Data quality", says, [REQUESTS, FEATURES, LOOKUPS], [EPISODES])
